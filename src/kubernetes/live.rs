//! Namespaces and policies as they are now, read one by one and by their metadata alone.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kube::Client;
use kube::api::GetParams;
use kube::core::Request;

use super::errors::Action;
use super::namespaces::project;
use super::wire::{ObjectMeta, PartialObject};
use crate::namespace::{Namespace, is_subdomain, is_valid_name};
use crate::policy::PolicyVersion;
use crate::rulebook::LiveReads;
use crate::secret::{StoreError, StoreErrorKind};

/// For one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// Live reads from the API server. Wants `get` on namespaces and `EcrPolicies`.
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
        let collection = "/apis/ecr-admission.dev/v1alpha1/ecrpolicies";
        let object = format!("EcrPolicy {name:?}");
        match self.metadata(&object, collection, name).await {
            Ok(metadata) => Ok(Some(PolicyVersion {
                uid: metadata.uid,
                generation: metadata.generation,
            })),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
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
}
