//! EcrPolicies over the API: watched whole, of their status written what is ours, and nothing else of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kube::Client;
use kube::api::{GetParams, Patch, PatchParams};
use kube::core::Request;
use serde_json::{Value, json};

use super::errors::Action;
use super::watch::{Kind, Pace, Watch};
use super::wire::PartialObject;
use crate::clock::Clock;
use crate::namespace::is_subdomain;
use crate::policy_book::{Definition, PolicyObject, PolicyStore};
use crate::secret::{FIELD_MANAGER, StoreError, StoreErrorKind};
use crate::watch::Mirror;

const PATH: &str = "/apis/ecr-admission.dev/v1alpha1/ecrpolicies";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const DEFINITION: &str = "ecrpolicies.ecr-admission.dev";
/// For one call.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// What to do where there is no definition.
const NOT_DEFINED: &str = "the API server does not know EcrPolicies: install their CustomResourceDefinition (ecr-admission crd \
    | kubectl apply --server-side -f -, or crd.install in the chart), or switch policies off (policySource: None)";

/// EcrPolicies in the API server. Wants `patch` on their status, and `get` on their definition.
#[derive(Clone)]
pub struct KubePolicies {
    client: Client,
}

impl KubePolicies {
    /// Those of this client's cluster.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn patch_status(
        &self,
        name: &str,
        current: &PolicyObject,
        status: &Value,
    ) -> Result<PolicyObject, StoreError> {
        let object = format!("the status of EcrPolicy \"{name}\"");
        let action = Action {
            verb: "write",
            object: &object,
            namespace: "",
        };
        // Not a name that the API server could know, and none to put into a URL.
        if !is_subdomain(name) {
            return Err(action.error(StoreErrorKind::NotFound, "there can be none of that name"));
        }
        // With the version that was read, the API server answers 409 when there is another one by now. What is not
        // named stays: a newer version of us may have more to say.
        let patch = json!({
            "metadata": {"uid": current.uid, "resourceVersion": current.resource_version},
            "status": status,
        });
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let call = async {
            let patch = Patch::Merge(&patch);
            let request = Request::new(PATH).patch_subresource("status", name, &params, &patch);
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request_text(request).await
        };
        let text = action.within(CALL_TIMEOUT, call).await?;
        let read: PartialObject = serde_json::from_str(&text)
            .map_err(|error| action.failed(&kube::Error::SerdeError(error)))?;
        Ok(read.into())
    }

    async fn look_at_definition(&self) -> Result<Definition, StoreError> {
        let object = format!("CustomResourceDefinition \"{DEFINITION}\"");
        let action = Action {
            verb: "read",
            object: &object,
            namespace: "",
        };
        let call = async {
            let request = Request::new(DEFINITIONS).get_metadata(DEFINITION, &GetParams::default());
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request_text(request).await
        };
        let text = match action.within(CALL_TIMEOUT, call).await {
            Ok(text) => text,
            Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(Definition::Leaving),
            Err(error) => return Err(error),
        };
        let read: PartialObject = serde_json::from_str(&text)
            .map_err(|error| action.failed(&kube::Error::SerdeError(error)))?;
        Ok(match read.metadata.deletion_timestamp {
            Some(_) => Definition::Leaving,
            None => Definition::Present,
        })
    }
}

impl PolicyStore for KubePolicies {
    fn write_status<'a>(
        &'a self,
        name: &'a str,
        current: &'a PolicyObject,
        status: &'a Value,
    ) -> BoxFuture<'a, Result<PolicyObject, StoreError>> {
        Box::pin(self.patch_status(name, current, status))
    }

    fn definition(&self) -> BoxFuture<'_, Result<Definition, StoreError>> {
        Box::pin(self.look_at_definition())
    }
}

/// A watch of all EcrPolicies that feeds `mirror`, keyed by name. Wants `list` and `watch` on them.
pub fn watch_policies(
    client: Client,
    mirror: Arc<dyn Mirror<PolicyObject>>,
    clock: Clock,
    pace: Pace,
) -> Watch<PolicyObject> {
    let kind = Kind {
        path: PATH.into(),
        field_selector: None,
        whole: true,
        where_unknown: Some(NOT_DEFINED),
        key: |metadata| metadata.name.as_str().into(),
        project: PolicyObject::from,
    };
    Watch::new(client, kind, mirror, clock, pace)
}

impl From<PartialObject> for PolicyObject {
    fn from(policy: PartialObject) -> Self {
        Self {
            uid: policy.metadata.uid,
            resource_version: policy.metadata.resource_version,
            generation: policy.metadata.generation,
            spec: policy.spec,
            status: policy.status,
        }
    }
}
