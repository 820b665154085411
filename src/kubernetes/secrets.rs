//! The pull Secrets over the API: read and written one by one, watched by their metadata alone.
//!
//! Answers that hold a Secret are parsed here and not by kube, which logs what it cannot parse.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::BoxFuture;
use hyper::Request as HttpRequest;
use kube::Client;
use kube::api::{DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request;
use kube::core::request::Error as RequestError;
use secrecy::{ExposeSecret, SecretSlice};
use serde::Deserialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::errors::Action;
use super::managed_fields::{TokenField, data_writer};
use super::watch::{Kind, Pace, Watch};
use super::wire::ObjectMeta;
use crate::clock::Clock;
use crate::namespace::is_valid_name;
use crate::secret::{
    DATA_KEY, DataWriter, EXPIRES_ANNOTATION, FIELD_MANAGER, OWNER_LABEL, SECRET_TYPE,
    STATE_ANNOTATION, SecretContent, SecretMetadata, SecretStore, StoreError, StoreErrorKind,
    StoredSecret,
};
use crate::watch::Mirror;

/// For one call. An admission has about 4.5 seconds for everything.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// The pull Secrets in the API server. Wants `get`, `patch` and `delete` on Secrets of its one name, and `create`.
#[derive(Clone)]
pub struct KubeSecretStore {
    client: Client,
    name: Arc<str>,
    /// What errors call it.
    object: Arc<str>,
    timeout: Duration,
}

impl KubeSecretStore {
    /// A store of the Secrets called `name`, one a namespace.
    pub fn new(client: Client, name: &str) -> Self {
        Self {
            client,
            name: name.into(),
            object: format!("Secret \"{name}\"").into(),
            timeout: CALL_TIMEOUT,
        }
    }

    /// The same store with another limit for each call.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    fn action<'a>(&'a self, verb: &'static str, namespace: &'a str) -> Action<'a> {
        Action {
            verb,
            object: &self.object,
            namespace,
        }
    }

    /// Sends a request and returns the answer's text, which may hold a Secret.
    async fn send(
        &self,
        namespace: &str,
        verb: &'static str,
        build: impl FnOnce(Request) -> Result<HttpRequest<Vec<u8>>, RequestError>,
    ) -> Result<Zeroizing<String>, StoreError> {
        let action = self.action(verb, namespace);
        // Not a name that the API server could know, and not one to put into a URL.
        if !is_valid_name(namespace) {
            let cause = "that is no name of a namespace";
            return Err(action.error(StoreErrorKind::NamespaceMissing, cause));
        }
        let call = async {
            let request = build(Request::new(format!(
                "/api/v1/namespaces/{namespace}/secrets"
            )))
            .map_err(kube::Error::BuildRequest)?;
            self.client.request_text(request).await
        };
        action.within(self.timeout, call).await.map(Zeroizing::new)
    }

    fn read(&self, namespace: &str, text: &str) -> Result<StoredSecret, StoreError> {
        serde_json::from_str::<WireSecret>(text)
            .map_err(kube::Error::SerdeError)
            .map(StoredSecret::from)
            .map_err(|error| self.action("read", namespace).failed(&error))
    }

    async fn get(&self, namespace: &str) -> Result<Option<StoredSecret>, StoreError> {
        let text = self
            .send(namespace, "read", |secrets| {
                secrets.get(&self.name, &GetParams::default())
            })
            .await;
        match text {
            Ok(text) => self.read(namespace, &text).map(Some),
            Err(StoreError {
                kind: StoreErrorKind::NotFound | StoreErrorKind::NamespaceMissing,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn create(
        &self,
        namespace: &str,
        content: &SecretContent,
    ) -> Result<StoredSecret, StoreError> {
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let metadata = json!({
            "name": &*self.name,
            "labels": {OWNER_LABEL.0: OWNER_LABEL.1},
            "annotations": annotations(content),
        });
        let text = self
            .send(namespace, "create", |secrets| {
                let body = serde_json::to_vec(&whole(&metadata, content));
                secrets.create(&params, body.map_err(RequestError::SerializeBody)?)
            })
            .await?;
        self.read(namespace, &text)
    }

    async fn update(
        &self,
        namespace: &str,
        current: &SecretMetadata,
        content: &SecretContent,
    ) -> Result<StoredSecret, StoreError> {
        let mut metadata = json!({
            "uid": current.uid,
            "resourceVersion": current.resource_version,
            "annotations": annotations(content),
        });
        let text = self
            .send(namespace, "update", |secrets| {
                if current.data_writer == DataWriter::Untracked {
                    // Only this starts the tracking again once somebody has cleared managedFields.
                    metadata["name"] = json!(*self.name);
                    metadata["labels"] = json!({OWNER_LABEL.0: OWNER_LABEL.1});
                    let patch = Patch::Apply(whole(&metadata, content));
                    let params = PatchParams::apply(FIELD_MANAGER).force();
                    return secrets.patch(&self.name, &params, &patch);
                }
                let patch = json!({"metadata": metadata, "data": data(content)});
                let params = PatchParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                secrets.patch(&self.name, &params, &Patch::Merge(patch))
            })
            .await?;
        self.read(namespace, &text)
    }

    async fn delete(&self, namespace: &str, current: &SecretMetadata) -> Result<(), StoreError> {
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(current.uid.clone()),
            resource_version: Some(current.resource_version.clone()),
        });
        self.send(namespace, "delete", |secrets| {
            secrets.delete(&self.name, &params)
        })
        .await
        .map(drop)
    }
}

fn annotations(content: &SecretContent) -> serde_json::Value {
    json!({STATE_ANNOTATION: content.state, EXPIRES_ANNOTATION: content.expires_at})
}

fn data(content: &SecretContent) -> serde_json::Value {
    json!({DATA_KEY: BASE64_STANDARD.encode(content.docker_config.expose_secret())})
}

fn whole(metadata: &serde_json::Value, content: &SecretContent) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": SECRET_TYPE,
        "metadata": metadata,
        "data": data(content),
    })
}

impl SecretStore for KubeSecretStore {
    fn get<'a>(
        &'a self,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredSecret>, StoreError>> {
        Box::pin(self.get(namespace))
    }

    fn create<'a>(
        &'a self,
        namespace: &'a str,
        content: &'a SecretContent,
    ) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(self.create(namespace, content))
    }

    fn update<'a>(
        &'a self,
        namespace: &'a str,
        current: &'a SecretMetadata,
        content: &'a SecretContent,
    ) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(self.update(namespace, current, content))
    }

    fn delete<'a>(
        &'a self,
        namespace: &'a str,
        current: &'a SecretMetadata,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.delete(namespace, current))
    }
}

/// A watch of the metadata of all Secrets called `name` that feeds `mirror`, keyed by namespace. Wants `list` and
/// `watch` on Secrets of that name.
pub fn watch_secrets(
    client: Client,
    name: &str,
    mirror: Arc<dyn Mirror<SecretMetadata>>,
    clock: Clock,
    pace: Pace,
) -> Watch<SecretMetadata> {
    let kind = Kind {
        path: "/api/v1/secrets".into(),
        // RBAC allows a list and a watch of a resourceName only with exactly this selector.
        field_selector: Some(format!("metadata.name={name}")),
        whole: false,
        where_unknown: None,
        key: |metadata| metadata.namespace.as_str().into(),
        project: |object| project(object.metadata, TokenField::DockerConfig),
    };
    Watch::new(client, kind, mirror, clock, pace)
}

pub(super) fn project(mut metadata: ObjectMeta, field: TokenField) -> SecretMetadata {
    let managers = metadata.managed_fields.as_deref().unwrap_or_default();
    SecretMetadata {
        data_writer: data_writer(managers, field),
        owned: metadata.label(OWNER_LABEL.0) == Some(OWNER_LABEL.1),
        state: metadata
            .annotations
            .as_mut()
            .and_then(|annotations| annotations.remove(STATE_ANNOTATION)),
        uid: metadata.uid,
        resource_version: metadata.resource_version,
    }
}

/// A Secret as the API server writes it. No `Debug`: it holds tokens.
#[derive(Deserialize)]
struct WireSecret {
    metadata: ObjectMeta,
    #[serde(default, rename = "type")]
    secret_type: String,
    #[serde(default)]
    immutable: Option<bool>,
    #[serde(default)]
    data: Option<WireData>,
}

#[derive(Deserialize)]
struct WireData {
    #[serde(default, rename = ".dockerconfigjson", deserialize_with = "base64")]
    docker_config: Option<SecretSlice<u8>>,
}

fn base64<'de, D: serde::Deserializer<'de>>(
    reader: D,
) -> Result<Option<SecretSlice<u8>>, D::Error> {
    let encoded = Option::<String>::deserialize(reader)?.map(Zeroizing::new);
    encoded
        .map(|encoded| BASE64_STANDARD.decode(encoded.as_bytes()))
        .transpose()
        .map(|decoded| decoded.map(SecretSlice::from))
        // The cause would quote a byte of the Secret.
        .map_err(|_| serde::de::Error::custom("data is not base64"))
}

impl From<WireSecret> for StoredSecret {
    fn from(secret: WireSecret) -> Self {
        Self {
            writable: secret.secret_type == SECRET_TYPE && secret.immutable != Some(true),
            docker_config: secret.data.and_then(|data| data.docker_config),
            metadata: project(secret.metadata, TokenField::DockerConfig),
        }
    }
}
