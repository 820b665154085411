//! What the cluster holds, over the API, read in pages and kept nowhere.

use std::time::Duration;

use futures_util::future::BoxFuture;
use kube::Client;
use kube::api::{GetParams, ListParams};
use kube::core::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::errors::Action;
use super::list::page;
use super::pods::{KubePodImages, PodSpec};
use super::wire::{ObjectMeta, PartialObject};
use crate::inventory::{Found, Inventory};
use crate::namespace::{
    ADMISSION_LABEL, INJECT_ANNOTATION, Label, Pins, REGISTRIES_ANNOTATION, is_valid_name,
};
use crate::secret::{PodImages, StoreError, StoreErrorKind};

/// Objects a page.
const PAGE: u32 = 500;
/// For one kind of object, all pages together.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// The kinds that make Pods, by where the API lists them and what people call them.
const WORKLOADS: [(&str, &str, &str); 6] = [
    ("/apis/apps/v1", "deployments", "Deployments"),
    ("/apis/apps/v1", "statefulsets", "StatefulSets"),
    ("/apis/apps/v1", "daemonsets", "DaemonSets"),
    ("/apis/apps/v1", "replicasets", "ReplicaSets"),
    ("/apis/batch/v1", "jobs", "Jobs"),
    ("/apis/batch/v1", "cronjobs", "CronJobs"),
];

/// Asks the API server. Wants `get` on the namespace that is named or `list` on namespaces, and `list` on pods and on the
/// kinds of `apps` and `batch` that make Pods.
#[derive(Clone)]
pub struct KubeInventory {
    client: Client,
    pods: KubePodImages,
}

impl KubeInventory {
    /// Of this client's cluster.
    pub fn new(client: Client) -> Self {
        Self {
            pods: KubePodImages::new(client.clone()),
            client,
        }
    }

    /// Folds every object of a list.
    async fn list<T, A>(
        &self,
        (path, object, namespace): (&str, &str, &str),
        params: &ListParams,
        mut all: A,
        fold: fn(&mut A, T),
    ) -> Result<A, StoreError>
    where
        T: DeserializeOwned + 'static,
        A: Send + 'static,
    {
        let request = Request::new(path);
        let mut params = params.clone().limit(PAGE);
        let call = async {
            loop {
                let list = request.list(&params).map_err(kube::Error::BuildRequest)?;
                let (folded, meta) = page(&self.client, list, CALL_TIMEOUT, all, fold).await?;
                all = folded;
                match meta.next_page() {
                    Some(token) => params.continue_token = Some(token.to_owned()),
                    None => return Ok(all),
                }
            }
        };
        let action = Action {
            verb: "list",
            object,
            namespace,
        };
        action.within(CALL_TIMEOUT, call).await
    }

    async fn all(&self, selector: Option<&str>) -> Result<Vec<Found>, StoreError> {
        let params = ListParams {
            label_selector: selector.map(str::to_owned),
            ..ListParams::default()
        };
        let place = ("/api/v1/namespaces", "namespaces", "");
        let fold = |all: &mut Vec<Found>, object: PartialObject| all.push(found(&object.metadata));
        self.list(place, &params, Vec::new(), fold).await
    }

    async fn one(&self, name: &str) -> Result<Option<Found>, StoreError> {
        if !is_valid_name(name) {
            return Ok(None);
        }
        let action = Action {
            verb: "read",
            object: &format!("namespace \"{name}\""),
            namespace: "",
        };
        let call = async {
            let request = Request::new("/api/v1/namespaces").get(name, &GetParams::default());
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request::<PartialObject>(request).await
        };
        match action.within(CALL_TIMEOUT, call).await {
            Ok(object) => Ok(Some(found(&object.metadata))),
            Err(error) if error.kind == StoreErrorKind::NamespaceMissing => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn named_images(&self, namespace: &str) -> Result<Vec<String>, StoreError> {
        if !is_valid_name(namespace) {
            return Ok(Vec::new());
        }
        let mut images = self.pods.images(namespace).await?;
        for (group, resource, object) in WORKLOADS {
            let path = format!("{group}/namespaces/{namespace}/{resource}");
            let place = (path.as_str(), object, namespace);
            let fold =
                |images: &mut Vec<String>, workload: Workload| workload.add_images_to(images);
            images = self
                .list(place, &ListParams::default(), images, fold)
                .await?;
        }
        Ok(images)
    }
}

impl Inventory for KubeInventory {
    fn namespaces<'a>(
        &'a self,
        selector: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Found>, StoreError>> {
        Box::pin(self.all(selector))
    }

    fn namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Found>, StoreError>> {
        Box::pin(self.one(name))
    }

    fn images<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(self.named_images(namespace))
    }
}

fn found(metadata: &ObjectMeta) -> Found {
    let left_out = if metadata.deletion_timestamp.is_some() {
        Some("it is being deleted")
    } else if metadata.annotation(INJECT_ANNOTATION) == Some("false") {
        Some("its annotation ecr-admission.dev/inject is \"false\"")
    } else if Label::of(metadata.label(ADMISSION_LABEL)) == Label::Disabled {
        Some("its label ecr-admission.dev/admission is \"disabled\"")
    } else {
        None
    };
    let labels = metadata.labels.iter().flatten();
    Found {
        name: metadata.name.clone(),
        labels: labels
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        terminating: metadata.deletion_timestamp.is_some(),
        registries: metadata
            .annotation(REGISTRIES_ANNOTATION)
            .map(Pins::of)
            .unwrap_or_default(),
        left_out,
    }
}

/// An object that makes Pods.
#[derive(Deserialize)]
struct Workload {
    metadata: OwnedMeta,
    #[serde(default)]
    spec: WorkloadSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OwnedMeta {
    #[serde(default)]
    owner_references: Vec<Owner>,
}

#[derive(Deserialize)]
struct Owner {
    #[serde(default)]
    controller: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WorkloadSpec {
    template: Option<Template>,
    /// Of a CronJob.
    job_template: Option<JobTemplate>,
}

#[derive(Deserialize)]
struct JobTemplate {
    spec: Option<JobSpec>,
}

#[derive(Deserialize)]
struct JobSpec {
    template: Option<Template>,
}

#[derive(Deserialize)]
struct Template {
    spec: Option<PodSpec>,
}

impl Workload {
    /// What another workload made is told by that one: an old ReplicaSet of a Deployment names images of long ago.
    fn add_images_to(self, images: &mut Vec<String>) {
        if self
            .metadata
            .owner_references
            .iter()
            .any(|owner| owner.controller)
        {
            return;
        }
        let of_job = self.spec.job_template.and_then(|job| job.spec?.template);
        let templates = [self.spec.template, of_job].into_iter().flatten();
        for spec in templates.filter_map(|template| template.spec) {
            spec.add_images_to(images);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(workload: &str) -> Vec<String> {
        let mut images = Vec::new();
        let workload: Workload = serde_json::from_str(workload).unwrap();
        workload.add_images_to(&mut images);
        images
    }

    #[test]
    fn templates_are_found_where_each_kind_has_them_unless_another_workload_owns_it() {
        let template = r#"{"metadata":{},"spec":{"containers":[{"image":"a"}],"initContainers":[{"image":"b"}],
            "volumes":[{"image":{"reference":"c"}},{"emptyDir":{}}]}}"#;
        let deployment =
            format!(r#"{{"metadata":{{"name":"x"}},"spec":{{"template":{template}}}}}"#);
        assert_eq!(images(&deployment), ["a", "b", "c"]);
        let cron_job = format!(
            r#"{{"metadata":{{}},"spec":{{"jobTemplate":{{"spec":{{"template":{template}}}}}}}}}"#
        );
        assert_eq!(images(&cron_job), ["a", "b", "c"]);
        let owned = deployment.replace(
            r#""name":"x""#,
            r#""ownerReferences":[{"kind":"Deployment","controller":true}]"#,
        );
        assert_eq!(images(&owned), [""; 0]);
        assert_eq!(images(r#"{"metadata":{},"spec":{"replicas":1}}"#), [""; 0]);
    }

    #[test]
    fn a_namespace_says_what_it_pins_and_why_it_is_left_out() {
        for (json, registries, left_out) in [
            (r#"{"name":"a"}"#, "", false),
            (
                r#"{"name":"a","annotations":{"ecr-admission.dev/registries":"x, y"}}"#,
                "x, y",
                false,
            ),
            (
                r#"{"name":"a","annotations":{"ecr-admission.dev/inject":"false"}}"#,
                "",
                true,
            ),
            (
                r#"{"name":"a","labels":{"ecr-admission.dev/admission":"disabled"}}"#,
                "",
                true,
            ),
            (
                r#"{"name":"a","deletionTimestamp":"2026-11-21T00:00:00Z"}"#,
                "",
                true,
            ),
        ] {
            let found = found(&serde_json::from_str(json).unwrap());
            assert_eq!(found.registries, Pins::of(registries), "{json}");
            assert_eq!(found.left_out.is_some(), left_out, "{json}");
        }
    }
}
