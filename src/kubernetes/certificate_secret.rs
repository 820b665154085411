//! The one Secret of self-managed certificates, over the API. Wants `get`, `patch`, `list` and `watch` on it by name, and
//! `create`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::BoxFuture;
use hyper::Request as HttpRequest;
use kube::Client;
use kube::api::{GetParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::core::request::Error as RequestError;
use secrecy::{ExposeSecret, SecretSlice};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use super::errors::Action;
use super::watch::Watch;
use super::watch_one::watch_one;
use super::wire::ObjectMeta;
use crate::certificate::managed::state::KEYS;
use crate::certificate::managed::{CertificateStore, SecretData, StoredCertificate};
use crate::clock::Clock;
use crate::secret::{FIELD_MANAGER, OWNER_LABEL, StoreError, StoreErrorKind};

/// The type of the Secret. It demands the keys `tls.crt` and `tls.key`, and allows more.
const SECRET_TYPE: &str = "kubernetes.io/tls";
/// For one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// The certificate Secret in the API server.
#[derive(Clone)]
pub struct KubeCertificateStore {
    client: Client,
    namespace: String,
    name: String,
    /// What errors call it.
    object: String,
}

impl KubeCertificateStore {
    /// The Secret `name` in `namespace`.
    pub fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            object: format!("Secret \"{name}\""),
        }
    }

    /// Sends a request and returns the answer's text, which holds keys.
    async fn send(
        &self,
        verb: &'static str,
        build: impl FnOnce(Request) -> Result<HttpRequest<Vec<u8>>, RequestError>,
    ) -> Result<Zeroizing<String>, StoreError> {
        let path = collection(&self.namespace);
        let call = async {
            let request = build(Request::new(path)).map_err(kube::Error::BuildRequest)?;
            self.client.request_text(request).await
        };
        let text = self.action(verb).within(CALL_TIMEOUT, call).await?;
        Ok(Zeroizing::new(text))
    }

    fn action(&self, verb: &'static str) -> Action<'_> {
        Action {
            verb,
            object: &self.object,
            namespace: &self.namespace,
        }
    }

    async fn get(&self) -> Result<Option<StoredCertificate>, StoreError> {
        let text = self
            .send("read", |secrets| {
                secrets.get(&self.name, &GetParams::default())
            })
            .await;
        let text = match text {
            Ok(text) => text,
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        serde_json::from_str::<WireSecret>(&text)
            .map(|secret| Some(secret.into()))
            .map_err(|error| self.action("read").failed(&kube::Error::SerdeError(error)))
    }
}

fn collection(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets")
}

/// The keys that we write; one that is not in `data` is removed.
fn encode(data: &SecretData) -> Value {
    let encode = |value: &SecretSlice<u8>| json!(BASE64_STANDARD.encode(value.expose_secret()));
    let all = KEYS.iter();
    let all = all.map(|&key| (key.to_owned(), data.get(key).map_or(Value::Null, encode)));
    Value::Object(all.collect())
}

impl CertificateStore for KubeCertificateStore {
    fn read(&self) -> BoxFuture<'_, Result<Option<StoredCertificate>, StoreError>> {
        Box::pin(self.get())
    }

    fn create<'a>(&'a self, data: &'a SecretData) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async {
            let params = PostParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PostParams::default()
            };
            let mut data = encode(data);
            if let Some(data) = data.as_object_mut() {
                data.retain(|_, value| !value.is_null());
            }
            let secret = json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "type": SECRET_TYPE,
                "metadata": {"name": self.name, "labels": {OWNER_LABEL.0: OWNER_LABEL.1}},
                "data": data,
            });
            self.send("create", |secrets| {
                let body = serde_json::to_vec(&secret).map_err(RequestError::SerializeBody)?;
                secrets.create(&params, body)
            })
            .await
            .map(drop)
        })
    }

    fn update<'a>(
        &'a self,
        version: &'a str,
        data: &'a SecretData,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let params = PatchParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let patch = json!({"metadata": {"resourceVersion": version}, "data": encode(data)});
            self.send("update", |secrets| {
                secrets.patch(&self.name, &params, &Patch::Merge(patch))
            })
            .await
            .map(drop)
        })
    }
}

/// A watch of the Secret's metadata that notifies `changed`.
pub fn watch_certificate_secret(
    client: Client,
    namespace: &str,
    name: &str,
    changed: Arc<Notify>,
    clock: Clock,
) -> Watch<()> {
    watch_one(client, collection(namespace), name, changed, clock)
}

/// The Secret as the API server writes it. No `Debug`: it holds keys.
#[derive(Deserialize)]
struct WireSecret {
    metadata: ObjectMeta,
    #[serde(default, rename = "type")]
    secret_type: String,
    #[serde(default)]
    immutable: Option<bool>,
    #[serde(default)]
    data: Option<BTreeMap<String, WireValue>>,
}

struct WireValue(SecretSlice<u8>);

impl<'de> Deserialize<'de> for WireValue {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let encoded = Option::<String>::deserialize(reader)?.map(Zeroizing::new);
        let encoded = encoded.unwrap_or_default();
        BASE64_STANDARD
            .decode(encoded.as_bytes())
            .map(|decoded| Self(decoded.into()))
            // The cause would quote a byte of the Secret.
            .map_err(|_| serde::de::Error::custom("data is not base64"))
    }
}

impl From<WireSecret> for StoredCertificate {
    fn from(secret: WireSecret) -> Self {
        let data = secret.data.unwrap_or_default().into_iter();
        Self {
            owned: secret.metadata.label(OWNER_LABEL.0) == Some(OWNER_LABEL.1),
            writable: secret.secret_type == SECRET_TYPE && secret.immutable != Some(true),
            version: secret.metadata.resource_version,
            data: data.map(|(key, value)| (key, value.0)).collect(),
        }
    }
}
