//! One of every kind of workload.

use serde_json::{Value, json};

use super::namespace::{IMAGE, Namespace};

const WORKLOADS: &str = include_str!("../fixtures/workloads.yaml");

/// The label `app` of the Pods of each.
pub(crate) const KINDS: [&str; 6] = [
    "cron-job",
    "daemon-set",
    "deployment",
    "job",
    "replica-set",
    "stateful-set",
];

/// Creates them all in a namespace, with this image.
pub(crate) async fn create(namespace: &Namespace<'_>, image: &str) {
    let workloads = WORKLOADS.replace(IMAGE, image);
    namespace
        .kubectl_ok(&["apply", "-f", "-"], &workloads)
        .await;
    // As if its time had come already.
    let path = format!(
        "/apis/batch/v1/namespaces/{}/cronjobs/cron-job/status",
        namespace.name
    );
    let minutes_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(3);
    let missed = json!({"status": {"lastScheduleTime": format!("{minutes_ago:.0}")}});
    namespace.api().merge(&path, &missed).await.unwrap();
}

/// Which of them these Pods are of.
pub(crate) fn kinds<'a>(pods: impl Iterator<Item = &'a Value>) -> Vec<&'a str> {
    let mut kinds: Vec<&str> = pods.map(kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Which of them a Pod is of.
pub(crate) fn kind(pod: &Value) -> &str {
    pod["metadata"]["labels"]["app"].as_str().unwrap()
}
