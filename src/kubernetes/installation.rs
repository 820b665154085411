//! What is installed of us in a cluster, found and taken away over the API.

use std::time::Duration;

use futures_util::future::BoxFuture;
use hyper::Request as HttpRequest;
use kube::Client;
use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::Request;
use kube::core::request::Error as RequestError;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::errors::Action;
use super::list::page;
use super::managed_fields::TokenField;
use super::secrets::project;
use super::wire::PartialObject;
use crate::cleanup::{FoundSecret, Installation, Kind, Object};
use crate::secret::{FIELD_MANAGER, StoreError, StoreErrorKind};
use crate::service_account::ServiceAccount;

/// For one call; a list is a call for each page.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Objects a page.
const PAGE: u32 = 500;
/// Pods that have ended put nothing back.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// What is installed in this client's cluster.
#[derive(Clone)]
pub struct KubeInstallation {
    client: Client,
    secret: String,
}

impl KubeInstallation {
    /// One whose pull Secrets are called `secret`.
    pub fn new(client: Client, secret: &str) -> Self {
        Self {
            client,
            secret: secret.to_owned(),
        }
    }

    async fn send(
        &self,
        verb: &'static str,
        object: &Object,
        build: impl FnOnce(Request) -> Result<HttpRequest<Vec<u8>>, RequestError>,
    ) -> Result<Option<String>, StoreError> {
        let title = format!("{} \"{}\"", object.kind.name(), object.name);
        let action = action(verb, &title, &object.namespace);
        let call = async {
            let request = Request::new(collection(object.kind, &object.namespace));
            let request = build(request).map_err(kube::Error::BuildRequest)?;
            self.client.request_text(request).await
        };
        match action.within(CALL_TIMEOUT, call).await {
            Ok(text) => Ok(Some(text)),
            // A kind that this API server does not have is answered so as well.
            Err(StoreError {
                kind: StoreErrorKind::NotFound | StoreErrorKind::NamespaceMissing,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list<T, A>(
        &self,
        (title, namespace): (&str, &str),
        first: impl Fn(&ListParams) -> Result<HttpRequest<Vec<u8>>, RequestError>,
        mut params: ListParams,
        mut all: A,
        fold: fn(&mut A, T),
    ) -> Result<A, StoreError>
    where
        T: serde::de::DeserializeOwned + 'static,
        A: Send + 'static,
    {
        params = params.limit(PAGE);
        loop {
            let action = action("list", title, namespace);
            let call = async {
                let request = first(&params).map_err(kube::Error::BuildRequest)?;
                page(&self.client, request, CALL_TIMEOUT, all, fold).await
            };
            let (folded, meta) = call.await.map_err(|error| action.failed(&error))?;
            all = folded;
            match meta.next_page() {
                Some(token) => params.continue_token = Some(token.to_owned()),
                None => return Ok(all),
            }
        }
    }

    /// The scale of a Deployment: how many Pods it shall have, and by what they are found.
    async fn scale(&self, object: &Object) -> Result<Option<Scale>, StoreError> {
        let text = self
            .send("read the scale of", object, |deployments| {
                deployments.get_subresource("scale", &object.name)
            })
            .await?;
        let title = format!("{} \"{}\"", object.kind.name(), object.name);
        let action = action("read the scale of", &title, &object.namespace);
        let parse = |text: String| {
            serde_json::from_str(&text)
                .map_err(|error| action.failed(&kube::Error::SerdeError(error)))
        };
        text.map(parse).transpose()
    }

    async fn count_pods(&self, object: &Object) -> Result<usize, StoreError> {
        let Some(scale) = self.scale(object).await? else {
            return Ok(0);
        };
        let request = Request::new(format!("/api/v1/namespaces/{}/pods", object.namespace));
        let params = ListParams::default()
            .labels(&scale.status.selector)
            .fields(NOT_ENDED);
        let count = |count: &mut usize, _pod: IgnoredAny| *count += 1;
        let list = |params: &ListParams| request.list_metadata(params);
        self.list(("Pods", &object.namespace), list, params, 0, count)
            .await
    }

    async fn name_us(&self) -> Result<Vec<(String, String)>, StoreError> {
        let request = Request::new("/api/v1/serviceaccounts");
        let list = |params: &ListParams| request.list(params);
        let found = (self.secret.clone(), Vec::new());
        let keep = |(secret, found): &mut (String, Vec<_>), object: PartialObject| {
            let at = (
                object.metadata.namespace.clone(),
                object.metadata.name.clone(),
            );
            if ServiceAccount::from(object).names(secret) {
                found.push(at);
            }
        };
        let params = ListParams::default();
        let (_, found) = self
            .list(("ServiceAccounts", ""), list, params, found, keep)
            .await?;
        Ok(found)
    }

    async fn find_secrets(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Vec<FoundSecret>, StoreError> {
        let namespace = namespace.unwrap_or_default();
        let request = Request::new(collection(Kind::Secret, namespace));
        let list = |params: &ListParams| request.list_metadata(params);
        // RBAC allows the list of a resourceName only with exactly this selector.
        let params = ListParams::default().fields(&format!("metadata.name={name}"));
        let keep = |found: &mut Vec<FoundSecret>, object: PartialObject| {
            found.push(FoundSecret {
                namespace: object.metadata.namespace.clone(),
                name: object.metadata.name.clone(),
                metadata: project(object.metadata, TokenField::DockerConfig),
            });
        };
        let title = format!("Secrets \"{name}\"");
        self.list((&title, namespace), list, params, Vec::new(), keep)
            .await
    }
}

fn action<'a>(verb: &'static str, object: &'a str, namespace: &'a str) -> Action<'a> {
    Action {
        verb,
        object,
        namespace,
    }
}

fn collection(kind: Kind, namespace: &str) -> String {
    let (group, plural) = match kind {
        Kind::Deployment => ("apis/apps/v1", "deployments"),
        Kind::ServiceAccount => ("api/v1", "serviceaccounts"),
        Kind::Secret => ("api/v1", "secrets"),
        Kind::MutatingWebhookConfiguration => (ADMISSION, "mutatingwebhookconfigurations"),
        Kind::ValidatingWebhookConfiguration => (ADMISSION, "validatingwebhookconfigurations"),
        Kind::MutatingAdmissionPolicyBinding => (ADMISSION, "mutatingadmissionpolicybindings"),
        Kind::MutatingAdmissionPolicy => (ADMISSION, "mutatingadmissionpolicies"),
    };
    if namespace.is_empty() {
        format!("/{group}/{plural}")
    } else {
        format!("/{group}/namespaces/{namespace}/{plural}")
    }
}

const ADMISSION: &str = "apis/admissionregistration.k8s.io/v1";

impl Installation for KubeInstallation {
    fn exists<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            if object.kind == Kind::Deployment {
                // All that our account may read of it.
                return Ok(self.scale(object).await?.is_some());
            }
            let read = self.send("read", object, |objects| {
                objects.get(&object.name, &GetParams::default())
            });
            Ok(read.await?.is_some())
        })
    }

    fn delete<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let deleted = self.send("delete", object, |objects| {
                objects.delete(&object.name, &DeleteParams::default())
            });
            Ok(deleted.await?.is_some())
        })
    }

    fn scale_to_zero<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let params = PatchParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            let none = Patch::Merge(json!({"spec": {"replicas": 0}}));
            let scaled = self.send("scale", object, |deployments| {
                deployments.patch_subresource("scale", &object.name, &params, &none)
            });
            Ok(scaled.await?.is_some())
        })
    }

    fn pods<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, Result<usize, StoreError>> {
        Box::pin(self.count_pods(object))
    }

    fn service_accounts(&self) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>> {
        Box::pin(self.name_us())
    }

    fn secrets<'a>(
        &'a self,
        namespace: Option<&'a str>,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<FoundSecret>, StoreError>> {
        Box::pin(self.find_secrets(namespace, name))
    }

    fn delete_secret<'a>(
        &'a self,
        found: &'a FoundSecret,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let object = Object {
                kind: Kind::Secret,
                namespace: found.namespace.clone(),
                name: found.name.clone(),
            };
            let params = DeleteParams::default().preconditions(Preconditions {
                uid: Some(found.metadata.uid.clone()),
                resource_version: Some(found.metadata.resource_version.clone()),
            });
            let deleted = self.send("delete", &object, |secrets| {
                secrets.delete(&object.name, &params)
            });
            match deleted.await? {
                Some(_) => Ok(()),
                None => Err(StoreError {
                    kind: StoreErrorKind::NotFound,
                    message: "it is gone already".to_owned(),
                }),
            }
        })
    }
}

#[derive(Deserialize)]
struct Scale {
    status: ScaleStatus,
}

#[derive(Deserialize)]
struct ScaleStatus {
    /// As a list of Pods takes it.
    #[serde(default)]
    selector: String,
}
