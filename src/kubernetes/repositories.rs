//! Argo CD's repository Secrets over the API, and the annotation that asks for them.

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
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::errors::Action;
use super::managed_fields::TokenField;
use super::secrets::project;
use super::watch::{Kind, Pace, Watch};
use super::wire::ObjectMeta;
use crate::clock::Clock;
use crate::repository::{
    ANNOTATION, RepositoryContent, RepositoryStore, StoredRepository, TYPE_LABEL,
};
use crate::secret::{
    DataWriter, EXPIRES_ANNOTATION, FIELD_MANAGER, OWNER_LABEL, STATE_ANNOTATION, SecretMetadata,
    StoreError, StoreErrorKind,
};
use crate::token::USERNAME;
use crate::watch::Mirror;

/// For one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Repository Secrets in the API server. Wants `get`, `patch` and `delete` on them by name, and `create`.
#[derive(Clone)]
pub struct KubeRepositories {
    client: Client,
}

impl KubeRepositories {
    /// Those of this client's cluster.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Sends a request and returns the answer's text, which may hold a password.
    async fn send(
        &self,
        verb: &'static str,
        (namespace, name): (&str, &str),
        build: impl FnOnce(Request) -> Result<HttpRequest<Vec<u8>>, RequestError>,
    ) -> Result<Zeroizing<String>, StoreError> {
        let object = format!("Secret \"{name}\"");
        let action = Action {
            verb,
            object: &object,
            namespace,
        };
        let call = async {
            let path = format!("/api/v1/namespaces/{namespace}/secrets");
            let request = build(Request::new(path)).map_err(kube::Error::BuildRequest)?;
            self.client.request_text(request).await
        };
        action.within(CALL_TIMEOUT, call).await.map(Zeroizing::new)
    }

    async fn read(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<StoredRepository>, StoreError> {
        let text = self.send("read", (namespace, name), |secrets| {
            secrets.get(name, &GetParams::default())
        });
        let text = match text.await {
            Ok(text) => text,
            Err(StoreError {
                kind: StoreErrorKind::NotFound | StoreErrorKind::NamespaceMissing,
                ..
            }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let read = serde_json::from_str::<WireRepository>(&text);
        read.map(|secret| Some(secret.into())).map_err(|error| {
            let object = format!("Secret \"{name}\"");
            let action = Action {
                verb: "read",
                object: &object,
                namespace,
            };
            action.failed(&kube::Error::SerdeError(error))
        })
    }
}

/// All that we write, under the identity that `metadata` holds already.
fn whole(metadata: &Value, content: &RepositoryContent) -> Value {
    let encode = |text: &str| BASE64_STANDARD.encode(text);
    let mut metadata = metadata.clone();
    metadata["labels"] = json!({OWNER_LABEL.0: OWNER_LABEL.1, TYPE_LABEL.0: TYPE_LABEL.1});
    metadata["annotations"] =
        json!({STATE_ANNOTATION: content.state, EXPIRES_ANNOTATION: content.expires_at});
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": metadata,
        "data": {
            "type": encode(KIND),
            "enableOCI": encode(TRUE),
            "url": encode(&content.url),
            "username": encode(USERNAME),
            "password": encode(content.password.expose_secret()),
        },
    })
}

const KIND: &str = "helm";
const TRUE: &str = "true";

impl RepositoryStore for KubeRepositories {
    fn get<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredRepository>, StoreError>> {
        Box::pin(self.read(namespace, name))
    }

    fn create<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        content: &'a RepositoryContent,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let params = PostParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PostParams::default()
            };
            let secret = whole(&json!({"name": name}), content);
            let created = self.send("create", (namespace, name), |secrets| {
                let body = serde_json::to_vec(&secret).map_err(RequestError::SerializeBody)?;
                secrets.create(&params, body)
            });
            created.await.map(drop)
        })
    }

    fn update<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        current: &'a SecretMetadata,
        content: &'a RepositoryContent,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let identity = json!({
                "name": name,
                "uid": current.uid,
                "resourceVersion": current.resource_version,
            });
            let secret = whole(&identity, content);
            let updated = self.send("update", (namespace, name), |secrets| {
                if current.data_writer == DataWriter::Untracked {
                    // Only this starts the tracking again once somebody has cleared managedFields.
                    let params = PatchParams::apply(FIELD_MANAGER).force();
                    return secrets.patch(name, &params, &Patch::Apply(&secret));
                }
                let params = PatchParams {
                    field_manager: Some(FIELD_MANAGER.to_owned()),
                    ..PatchParams::default()
                };
                let patch = json!({"metadata": secret["metadata"], "data": secret["data"]});
                secrets.patch(name, &params, &Patch::Merge(patch))
            });
            updated.await.map(drop)
        })
    }

    fn delete<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        current: &'a SecretMetadata,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let params = DeleteParams::default().preconditions(Preconditions {
                uid: Some(current.uid.clone()),
                resource_version: Some(current.resource_version.clone()),
            });
            let deleted = self.send("delete", (namespace, name), |secrets| {
                secrets.delete(name, &params)
            });
            deleted.await.map(drop)
        })
    }
}

/// A watch of one namespace that feeds `mirror` with its annotation, keyed by the namespace; empty where there is none.
/// Wants `list` and `watch` on namespaces.
pub fn watch_repository_annotation(
    client: Client,
    namespace: &str,
    mirror: Arc<dyn Mirror<String>>,
    clock: Clock,
    pace: Pace,
) -> Watch<String> {
    let kind = Kind {
        path: "/api/v1/namespaces".into(),
        field_selector: Some(format!("metadata.name={namespace}")),
        whole: false,
        where_unknown: None,
        key: |metadata| metadata.name.as_str().into(),
        project: |object| {
            let value = object.metadata.annotation(ANNOTATION);
            value.unwrap_or_default().to_owned()
        },
    };
    Watch::new(client, kind, mirror, clock, pace)
}

/// A repository Secret as the API server writes it. No `Debug`; the password is skipped while parsing.
#[derive(Deserialize)]
struct WireRepository {
    metadata: ObjectMeta,
    #[serde(default)]
    data: Option<WireData>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireData {
    r#type: String,
    #[serde(rename = "enableOCI")]
    enable_oci: String,
    url: String,
    username: String,
}

impl From<WireRepository> for StoredRepository {
    fn from(secret: WireRepository) -> Self {
        let data = secret.data.unwrap_or_default();
        let is = |field: &str, expected: &str| field == BASE64_STANDARD.encode(expected);
        let sound = is(&data.r#type, KIND)
            && is(&data.enable_oci, TRUE)
            && is(&data.username, USERNAME)
            && secret.metadata.label(TYPE_LABEL.0) == Some(TYPE_LABEL.1);
        let url = BASE64_STANDARD.decode(&data.url).ok();
        let url = url.and_then(|url| String::from_utf8(url).ok());
        Self {
            url: url.filter(|_| sound),
            metadata: project(secret.metadata, TokenField::Password),
        }
    }
}
