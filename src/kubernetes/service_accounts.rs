//! ServiceAccounts over the API: their `imagePullSecrets` are read and written, and nothing else of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::Request as HttpRequest;
use kube::Client;
use kube::api::{GetParams, Patch, PatchParams};
use kube::core::Request;
use kube::core::request::Error as RequestError;
use serde_json::{Value, json};

use super::errors::Action;
use super::watch::{Kind, Pace, Watch};
use super::wire::PartialObject;
use crate::clock::Clock;
use crate::namespace::{is_subdomain, is_valid_name};
use crate::secret::{FIELD_MANAGER, StoreError, StoreErrorKind};
use crate::service_account::{ServiceAccount, ServiceAccountStore};
use crate::watch::Mirror;

/// For one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// ServiceAccounts in the API server. Wants `get` and `patch` on them.
#[derive(Clone)]
pub struct KubeServiceAccounts {
    client: Client,
    timeout: Duration,
}

impl KubeServiceAccounts {
    /// Those of this client's cluster.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            timeout: CALL_TIMEOUT,
        }
    }

    /// The same with another limit for each call.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    async fn send(
        &self,
        verb: &'static str,
        (namespace, name): (&str, &str),
        build: impl FnOnce(Request) -> Result<HttpRequest<Vec<u8>>, RequestError>,
    ) -> Result<ServiceAccount, StoreError> {
        let object = format!("ServiceAccount \"{name}\"");
        let action = Action {
            verb,
            object: &object,
            namespace,
        };
        // Not names that the API server could know, and none to put into a URL.
        if !is_valid_name(namespace) || !is_subdomain(name) {
            return Err(action.error(StoreErrorKind::NotFound, "there can be none of that name"));
        }
        let call = async {
            let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
            let request = build(Request::new(path)).map_err(kube::Error::BuildRequest)?;
            self.client.request_text(request).await
        };
        let text = action.within(self.timeout, call).await?;
        let read: PartialObject = serde_json::from_str(&text)
            .map_err(|error| action.failed(&kube::Error::SerdeError(error)))?;
        Ok(read.into())
    }
}

impl ServiceAccountStore for KubeServiceAccounts {
    fn get<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ServiceAccount>, StoreError>> {
        Box::pin(async move {
            let read = self.send("read", (namespace, name), |accounts| {
                accounts.get(name, &GetParams::default())
            });
            match read.await {
                Ok(account) => Ok(Some(account)),
                Err(StoreError {
                    kind: StoreErrorKind::NotFound | StoreErrorKind::NamespaceMissing,
                    ..
                }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn write<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        current: &'a ServiceAccount,
        pull_secrets: &'a [Value],
    ) -> BoxFuture<'a, Result<ServiceAccount, StoreError>> {
        // With the version that was read, the API server answers 409 when there is another one by now.
        let patch = json!({
            "metadata": {"uid": current.uid, "resourceVersion": current.resource_version},
            "imagePullSecrets": pull_secrets,
        });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        Box::pin(async move {
            self.send("write imagePullSecrets of", (namespace, name), |accounts| {
                accounts.patch(name, &params, &Patch::Merge(&patch))
            })
            .await
        })
    }
}

/// A watch of ServiceAccounts, or of those of one name, that feeds `mirror`, keyed by `namespace/name`. Whole objects are
/// asked for, because the list is not in the metadata; they are small, and only what is used is kept of each. Wants `list`
/// and `watch` on ServiceAccounts.
pub fn watch_service_accounts(
    client: Client,
    name: Option<&str>,
    mirror: Arc<dyn Mirror<ServiceAccount>>,
    clock: Clock,
    pace: Pace,
) -> Watch<ServiceAccount> {
    let kind = Kind {
        path: "/api/v1/serviceaccounts".into(),
        field_selector: name.map(|name| format!("metadata.name={name}")),
        whole: true,
        where_unknown: None,
        key: |metadata| format!("{}/{}", metadata.namespace, metadata.name).into(),
        project: ServiceAccount::from,
    };
    Watch::new(client, kind, mirror, clock, pace)
}

impl From<PartialObject> for ServiceAccount {
    fn from(account: PartialObject) -> Self {
        Self {
            uid: account.metadata.uid,
            resource_version: account.metadata.resource_version,
            pull_secrets: account.image_pull_secrets.unwrap_or_default(),
        }
    }
}
