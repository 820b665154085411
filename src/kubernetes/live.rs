//! Namespaces and policies as they are now, read by their metadata alone.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kube::Client;
use kube::api::{GetParams, ListParams};
use kube::core::Request;

use super::errors::Action;
use super::list::page;
use super::namespaces::project;
use super::wire::{ObjectMeta, PartialObject};
use crate::namespace::{Namespace, is_subdomain, is_valid_name};
use crate::policy::PolicyVersion;
use crate::rulebook::{LiveReads, PolicyVersions};
use crate::secret::{StoreError, StoreErrorKind};

/// For one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);
/// Policies a page.
const PAGE: u32 = 500;
const POLICIES: &str = "/apis/ecr-admission.dev/v1alpha1/ecrpolicies";

/// Live reads from the API server. Wants `get` on namespaces and `EcrPolicies`, and `list` on the latter.
#[derive(Clone)]
pub struct KubeLive {
    client: Client,
    timeout: Duration,
}

impl KubeLive {
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

    async fn metadata(
        &self,
        object: &str,
        collection: &str,
        name: &str,
    ) -> Result<ObjectMeta, StoreError> {
        let action = Action {
            verb: "read",
            object,
            namespace: "",
        };
        let call = async {
            let request = Request::new(collection).get_metadata(name, &GetParams::default());
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request_text(request).await
        };
        let text = action.within(self.timeout, call).await?;
        let read: PartialObject = serde_json::from_str(&text)
            .map_err(|error| action.failed(&kube::Error::SerdeError(error)))?;
        Ok(read.metadata)
    }

    async fn read_namespace(&self, name: &str) -> Result<Namespace, StoreError> {
        let missing = || StoreError {
            kind: StoreErrorKind::NamespaceMissing,
            message: format!("there is no namespace {name:?}"),
        };
        // Not a name that the API server could know, and not one to put into a URL.
        if !is_valid_name(name) {
            return Err(missing());
        }
        let object = format!("namespace {name:?}");
        let read = self.metadata(&object, "/api/v1/namespaces", name).await;
        match read {
            Ok(metadata) => Ok(project(&metadata)),
            Err(error) if is_missing(&error) => Err(missing()),
            Err(error) => Err(error),
        }
    }

    async fn read_policy(&self, name: &str) -> Result<Option<PolicyVersion>, StoreError> {
        if !is_subdomain(name) {
            return Ok(None);
        }
        let object = format!("EcrPolicy {name:?}");
        match self.metadata(&object, POLICIES, name).await {
            Ok(metadata) => Ok(Some(version(metadata))),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl KubeLive {
    /// A consistent read: without a version, the API server answers with the newest that there is.
    async fn list_policies(&self) -> Result<Option<PolicyVersions>, StoreError> {
        let action = Action {
            verb: "list",
            object: "EcrPolicies",
            namespace: "",
        };
        let fold = |all: &mut PolicyVersions, mut policy: PartialObject| {
            let name = std::mem::take(&mut policy.metadata.name);
            all.insert(name, version(policy.metadata));
        };
        let list = async {
            let mut params = ListParams::default().limit(PAGE);
            let mut all = PolicyVersions::new();
            loop {
                let list = Request::new(POLICIES).list_metadata(&params);
                let list = list.map_err(kube::Error::BuildRequest)?;
                let read = page(&self.client, list, self.timeout, all, fold).await;
                let (listed, meta) = match read {
                    // There is no definition of them.
                    Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
                    read => read?,
                };
                all = listed;
                match meta.next_page() {
                    Some(token) => params.continue_token = Some(token.to_owned()),
                    None => return Ok(Some(all)),
                }
            }
        };
        action.within(self.timeout, list).await
    }
}

fn version(metadata: ObjectMeta) -> PolicyVersion {
    PolicyVersion {
        uid: metadata.uid,
        generation: metadata.generation,
    }
}

fn is_missing(error: &StoreError) -> bool {
    matches!(
        error.kind,
        StoreErrorKind::NotFound | StoreErrorKind::NamespaceMissing
    )
}

impl LiveReads for KubeLive {
    fn namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Namespace, StoreError>> {
        self.read_namespace(name).boxed()
    }

    fn policy<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<PolicyVersion>, StoreError>> {
        self.read_policy(name).boxed()
    }

    fn policies(&self) -> BoxFuture<'_, Result<Option<PolicyVersions>, StoreError>> {
        self.list_policies().boxed()
    }
}
