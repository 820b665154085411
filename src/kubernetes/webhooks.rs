//! Our two webhook configurations, over the API: their `caBundle` is read and written, and nothing else of them. Wants
//! `get`, `patch`, `list` and `watch` on them by name.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::{BoxFuture, try_join_all};
use kube::Client;
use kube::api::{GetParams, Patch, PatchParams};
use kube::core::Request;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::errors::Action;
use super::watch::Watch;
use super::watch_one::watch_one;
use super::wire::ObjectMeta;
use crate::certificate::managed::{Configuration, WebhookConfigurations};
use crate::clock::Clock;
use crate::secret::{FIELD_MANAGER, StoreError, StoreErrorKind};

/// For one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// A kind of webhook configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigurationKind {
    /// `MutatingWebhookConfiguration`.
    Mutating,
    /// `ValidatingWebhookConfiguration`.
    Validating,
}

impl ConfigurationKind {
    const ALL: [Self; 2] = [Self::Mutating, Self::Validating];

    const fn title(self) -> &'static str {
        match self {
            Self::Mutating => "MutatingWebhookConfiguration",
            Self::Validating => "ValidatingWebhookConfiguration",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Mutating => "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
            Self::Validating => {
                "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
            }
        }
    }
}

/// The mutating and the validating configuration of one name.
#[derive(Clone)]
pub struct KubeWebhookConfigurations {
    client: Client,
    name: String,
}

impl KubeWebhookConfigurations {
    /// Those called `name`.
    pub fn new(client: Client, name: &str) -> Self {
        Self {
            client,
            name: name.to_owned(),
        }
    }

    async fn get(&self, kind: ConfigurationKind) -> Result<Option<Configuration>, StoreError> {
        let title = self.title(kind);
        let action = action("read", &title);
        let call = async {
            let request = Request::new(kind.path()).get(&self.name, &GetParams::default());
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request_text(request).await
        };
        let text = match action.within(CALL_TIMEOUT, call).await {
            Ok(text) => text,
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let read: WireConfiguration = serde_json::from_str(&text)
            .map_err(|error| action.failed(&kube::Error::SerdeError(error)))?;
        Ok(Some(Configuration {
            handle: kind as usize,
            version: read.metadata.resource_version,
            bundles: read.webhooks.into_iter().map(WireWebhook::bundle).collect(),
            title,
        }))
    }

    fn title(&self, kind: ConfigurationKind) -> String {
        format!("{} \"{}\"", kind.title(), self.name)
    }

    async fn patch(&self, configuration: &Configuration, bundle: &str) -> Result<(), StoreError> {
        let action = action("write the caBundle of", &configuration.title);
        let Some(kind) = ConfigurationKind::ALL.get(configuration.handle) else {
            return Err(action.error(StoreErrorKind::NotFound, "it is none of ours"));
        };
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let call = async {
            let patch = Patch::Json::<()>(patch(configuration, bundle)?);
            let request = Request::new(kind.path()).patch(&self.name, &params, &patch);
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request_text(request).await
        };
        action.within(CALL_TIMEOUT, call).await.map(drop)
    }
}

/// Only each `caBundle`, and only in this version: with another one the API server answers 409, as for an update.
fn patch(configuration: &Configuration, bundle: &str) -> kube::Result<json_patch::Patch> {
    let encoded = BASE64_STANDARD.encode(bundle);
    let mut operations = vec![json!({
        "op": "replace", "path": "/metadata/resourceVersion", "value": configuration.version,
    })];
    operations.extend((0..configuration.bundles.len()).map(|index| {
        let path = format!("/webhooks/{index}/clientConfig/caBundle");
        json!({"op": "add", "path": path, "value": encoded})
    }));
    serde_json::from_value(Value::Array(operations)).map_err(kube::Error::SerdeError)
}

fn action<'a>(verb: &'static str, title: &'a str) -> Action<'a> {
    Action {
        verb,
        object: title,
        namespace: "",
    }
}

impl WebhookConfigurations for KubeWebhookConfigurations {
    fn read(&self) -> BoxFuture<'_, Result<Vec<Configuration>, StoreError>> {
        Box::pin(async {
            let all = ConfigurationKind::ALL.map(|kind| self.get(kind));
            let all = try_join_all(all).await?;
            Ok(all.into_iter().flatten().collect())
        })
    }

    fn write<'a>(
        &'a self,
        configuration: &'a Configuration,
        bundle: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.patch(configuration, bundle))
    }
}

/// A watch of a configuration's metadata that notifies `changed`.
pub fn watch_webhook_configuration(
    client: Client,
    kind: ConfigurationKind,
    name: &str,
    changed: Arc<Notify>,
    clock: Clock,
) -> Watch<()> {
    watch_one(client, kind.path(), name, changed, clock)
}

#[derive(Deserialize)]
struct WireConfiguration {
    metadata: ObjectMeta,
    #[serde(default)]
    webhooks: Vec<WireWebhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireWebhook {
    client_config: WireClientConfig,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireClientConfig {
    ca_bundle: Option<String>,
}

impl WireWebhook {
    fn bundle(self) -> Vec<u8> {
        let encoded = self.client_config.ca_bundle.unwrap_or_default();
        // The API server writes nothing else than base64.
        BASE64_STANDARD.decode(encoded).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_touches_every_ca_bundle_of_one_version_and_nothing_else() {
        let before = json!({
            "metadata": {"name": "zz", "resourceVersion": "7"},
            "webhooks": [
                {"name": "a", "clientConfig": {"service": {"name": "s"}, "caBundle": "b2xk"}},
                {"name": "b", "clientConfig": {"service": {"name": "s"}}},
            ],
        });
        let configuration = Configuration {
            title: String::new(),
            handle: 0,
            version: "7".to_owned(),
            bundles: vec![Vec::new(); 2],
        };
        let mut after = before.clone();
        json_patch::patch(&mut after, &patch(&configuration, "new").unwrap()).unwrap();
        let mut expected = before;
        for index in 0..2 {
            expected["webhooks"][index]["clientConfig"]["caBundle"] = json!("bmV3");
        }
        assert_eq!(after, expected);
    }
}
