//! Pods and what makes Pods, over the API, read in pages and kept nowhere.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kube::Client;
use kube::api::ListParams;
use kube::core::{Request, Status};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::errors::Action;
use super::list::{ListMeta, page};
use super::pods::{MIRROR_ANNOTATION, NOT_ENDED, PodSpec};
use crate::inventory::{Census, Kind, Sight, SightPage};
use crate::namespace::is_valid_name;
use crate::secret::StoreError;

/// Objects a page: a Pod is some 10 KB, and up to a thousand times that.
const PAGE: u32 = 200;
/// For one page.
const CALL_TIMEOUT: Duration = Duration::from_mins(1);

/// Asks the API server. Wants `list` on pods and replicationcontrollers, on deployments, statefulsets, daemonsets and
/// replicasets of `apps`, and on jobs and cronjobs of `batch`: in the namespace that is named, or everywhere.
#[derive(Clone)]
pub struct KubeCensus {
    client: Client,
}

impl KubeCensus {
    /// Of this client's cluster.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn one_page(
        &self,
        kind: Kind,
        namespace: Option<&str>,
        next: Option<&str>,
    ) -> kube::Result<SightPage> {
        let path = path(kind, namespace);
        let mut params = ListParams::default().limit(PAGE);
        params.continue_token = next.map(str::to_owned);
        if kind == Kind::Pod {
            params = params.fields(NOT_ENDED);
        }
        let (objects, meta) = match self.list_kind(kind, &path, &params).await {
            // The rest can still be had, as it is by now.
            Err(kube::Error::Api(status)) if let Some(rest) = remainder(&status) => {
                params.continue_token = Some(rest);
                self.list_kind(kind, &path, &params).await?
            }
            listed => listed?,
        };
        Ok(SightPage {
            objects,
            next: meta.next_page().map(str::to_owned),
        })
    }

    async fn list_kind(
        &self,
        kind: Kind,
        path: &str,
        params: &ListParams,
    ) -> kube::Result<(Vec<Sight>, ListMeta)> {
        if kind == Kind::Pod {
            self.list::<Pod>(path, params).await
        } else {
            self.list::<Workload>(path, params).await
        }
    }

    async fn list<T>(&self, path: &str, params: &ListParams) -> kube::Result<(Vec<Sight>, ListMeta)>
    where
        T: DeserializeOwned + Into<Option<Sight>> + 'static,
    {
        let list = Request::new(path)
            .list(params)
            .map_err(kube::Error::BuildRequest)?;
        let fold = |sights: &mut Vec<Sight>, object: T| sights.extend(object.into());
        page(&self.client, list, CALL_TIMEOUT, Vec::new(), fold).await
    }
}

impl Census for KubeCensus {
    fn page<'a>(
        &'a self,
        kind: Kind,
        namespace: Option<&'a str>,
        next: Option<&'a str>,
    ) -> BoxFuture<'a, Result<SightPage, StoreError>> {
        Box::pin(async move {
            if namespace.is_some_and(|namespace| !is_valid_name(namespace)) {
                return Ok(SightPage::default());
            }
            let action = Action {
                verb: "list",
                object: &format!("{}s", kind.name()),
                namespace: namespace.unwrap_or_default(),
            };
            let page = self.one_page(kind, namespace, next);
            action.within(CALL_TIMEOUT, page).await
        })
    }
}

fn path(kind: Kind, namespace: Option<&str>) -> String {
    let group = match kind.group() {
        "" => "/api/v1".to_owned(),
        group => format!("/apis/{group}/v1"),
    };
    let namespace = namespace.map_or(String::new(), |namespace| {
        format!("/namespaces/{namespace}")
    });
    let plural = kind.name().to_lowercase();
    format!("{group}{namespace}/{plural}s")
}

/// Where to go on after the token of the next page has expired; the API server says it in its refusal
/// (apiserver `pkg/storage/etcd3/errors.go`, `handleExpiredErrorForPaging`).
fn remainder(status: &Status) -> Option<String> {
    if status.code != 410 {
        return None;
    }
    let token = status.metadata.as_ref()?.continue_.clone();
    token.filter(|token| !token.is_empty())
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: String,
    namespace: String,
    deletion_timestamp: Option<IgnoredAny>,
    annotations: Option<HashMap<String, String>>,
    owner_references: Vec<Owner>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Owner {
    api_version: String,
    kind: String,
    name: String,
    #[serde(default)]
    controller: bool,
}

impl Metadata {
    fn into_sight(self, spec: Option<PodSpec>, idle: bool) -> Sight {
        let controller = self
            .owner_references
            .into_iter()
            .find(|owner| owner.controller);
        let owner = controller.and_then(|owner| {
            let kind = Kind::of(&owner.api_version, &owner.kind)?;
            Some((kind, owner.name))
        });
        let mut spec = spec.unwrap_or_default();
        let service_account = spec.service_account_name.take();
        Sight {
            namespace: self.namespace,
            name: self.name,
            owner,
            service_account: service_account.filter(|name| !name.is_empty()),
            images: spec.into_slots(),
            idle,
        }
    }
}

#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
    #[serde(default)]
    spec: PodSpec,
}

impl From<Pod> for Option<Sight> {
    fn from(pod: Pod) -> Self {
        let metadata = &pod.metadata;
        let mut annotations = metadata.annotations.iter();
        let is_mirror = annotations.any(|annotations| annotations.contains_key(MIRROR_ANNOTATION));
        let is_beyond = is_mirror || metadata.deletion_timestamp.is_some();
        (!is_beyond).then(|| pod.metadata.into_sight(Some(pod.spec), false))
    }
}

/// An object that makes Pods.
#[derive(Deserialize)]
struct Workload {
    metadata: Metadata,
    #[serde(default)]
    spec: WorkloadSpec,
    #[serde(default)]
    status: WorkloadStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WorkloadSpec {
    replicas: Option<u32>,
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

#[derive(Default, Deserialize)]
#[serde(default)]
struct WorkloadStatus {
    conditions: Vec<Condition>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl Workload {
    /// Whether it is a Job that makes no Pods any more.
    fn has_ended(&self) -> bool {
        let mut conditions = self.status.conditions.iter();
        conditions.any(|condition| {
            matches!(condition.kind.as_str(), "Complete" | "Failed") && condition.status == "True"
        })
    }
}

impl From<Workload> for Option<Sight> {
    fn from(workload: Workload) -> Self {
        if workload.metadata.deletion_timestamp.is_some() || workload.has_ended() {
            return None;
        }
        let Workload { metadata, spec, .. } = workload;
        let of_job = spec.job_template.and_then(|job| job.spec?.template);
        let template = spec.template.or(of_job);
        let idle = spec.replicas == Some(0);
        Some(metadata.into_sight(template.and_then(|template| template.spec), idle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Slot;

    fn sight<T: DeserializeOwned + Into<Option<Sight>>>(json: &str) -> Option<Sight> {
        serde_json::from_str::<T>(json).unwrap().into()
    }

    #[test]
    fn each_kind_is_listed_where_the_api_has_it() {
        assert_eq!(path(Kind::Pod, None), "/api/v1/pods");
        assert_eq!(
            path(Kind::CronJob, Some("a")),
            "/apis/batch/v1/namespaces/a/cronjobs"
        );
        assert_eq!(
            path(Kind::ReplicationController, Some("a")),
            "/api/v1/namespaces/a/replicationcontrollers"
        );
    }

    #[test]
    fn a_pod_tells_its_images_by_slot_its_account_and_the_controller_that_made_it() {
        let pod = r#"{"metadata":{"name":"a","namespace":"b","labels":{"x":"y"},"ownerReferences":[
                {"apiVersion":"v1","kind":"Node","name":"n"},
                {"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-1","controller":true}]},
            "spec":{"serviceAccountName":"c","containers":[{"name":"app","image":"i"}],
                "initContainers":[{"name":"init","image":"j"}],"ephemeralContainers":[{"name":"debug","image":"k"}],
                "volumes":[{"name":"data","image":{"reference":"l"}},{"name":"tmp","emptyDir":{}}]}}"#;
        let sight = sight::<Pod>(pod).unwrap();
        assert_eq!((sight.namespace.as_str(), sight.name.as_str()), ("b", "a"));
        assert_eq!(sight.owner, Some((Kind::ReplicaSet, "web-1".to_owned())));
        assert_eq!(sight.service_account.as_deref(), Some("c"));
        assert_eq!(
            sight.images,
            [
                (Slot::Container("app".to_owned()), "i".to_owned()),
                (Slot::InitContainer("init".to_owned()), "j".to_owned()),
                (Slot::EphemeralContainer("debug".to_owned()), "k".to_owned()),
                (Slot::Volume("data".to_owned()), "l".to_owned()),
            ]
        );
    }

    #[test]
    fn what_makes_no_pods_any_more_is_left_out() {
        let deleted = r#""deletionTimestamp":"2026-11-21T00:00:00Z""#;
        let mirror = r#""annotations":{"kubernetes.io/config.mirror":"x"}"#;
        for metadata in [deleted, mirror] {
            assert_eq!(
                sight::<Pod>(&format!(r#"{{"metadata":{{{metadata}}}}}"#)),
                None
            );
        }
        let job = |condition: &str| {
            let json = format!(
                r#"{{"metadata":{{"name":"a"}},"status":{{"conditions":[{{"type":"{condition}","status":"True"}}]}}}}"#
            );
            sight::<Workload>(&json)
        };
        assert_eq!((job("Complete"), job("Failed")), (None, None));
        assert!(job("Suspended").is_some());
    }

    #[test]
    fn a_template_is_found_where_each_kind_has_it_and_zero_replicas_are_seen() {
        let template = r#"{"spec":{"containers":[{"name":"app","image":"a"},{"name":"filled in by another"}]}}"#;
        let web = format!(
            r#"{{"metadata":{{"name":"x"}},"spec":{{"replicas":0,"template":{template}}}}}"#
        );
        let web = sight::<Workload>(&web).unwrap();
        assert!(web.idle && web.images.len() == 1, "{web:?}");
        let nightly = format!(
            r#"{{"metadata":{{}},"spec":{{"jobTemplate":{{"spec":{{"template":{template}}}}}}}}}"#
        );
        let nightly = sight::<Workload>(&nightly).unwrap();
        assert!(!nightly.idle && nightly.images.len() == 1, "{nightly:?}");
    }

    #[test]
    fn an_expired_page_says_where_to_go_on() {
        let status = |json: &str| serde_json::from_str::<Status>(json).unwrap();
        let gone =
            r#"{"status":"Failure","reason":"Expired","code":410,"metadata":{"continue":"x"}}"#;
        assert_eq!(remainder(&status(gone)).as_deref(), Some("x"));
        assert_eq!(remainder(&status(&gone.replace("410", "500"))), None);
        assert_eq!(remainder(&status(r#"{"code":410,"metadata":{}}"#)), None);
    }
}
