//! Pods that run.

use serde_json::{Value, json};

use super::machine::Machine;
use super::patiently;
use crate::harness::api::Answer;
use crate::harness::namespace::{Namespace, REGISTRY};

/// The image of the Pod that was created without ecr-admission.
pub(crate) const IMAGE_OF_NOBODY: &str = "team/app:unserved";

/// Makes an ECR image that no node has yet, and returns its name.
pub(crate) async fn new_image(machine: &Machine, tag: &str) -> String {
    let path = format!("team/app:{tag}");
    machine.registry.vary("stand-in:v1", &path).await;
    format!("{REGISTRY}/{path}")
}

/// A Pod of one container that stays.
pub(crate) fn spec(image: &str) -> Value {
    json!({
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "app", "image": image}],
    })
}

/// A Pod that no node ever runs: what is asked about it is what becomes of it at its creation.
pub(crate) fn unscheduled(image: &str) -> Value {
    let mut spec = spec(image);
    spec["schedulingGates"] = json!([{"name": "ecr-admission.test/never"}]);
    spec
}

/// Creates a Pod, once, however often a busy API server gives no answer.
pub(crate) async fn create(namespace: &Namespace<'_>, name: &str, spec: &Value) -> Answer {
    namespace.create_pod_patiently(name, spec).await
}

/// The Pod as it is now.
pub(crate) async fn pod(namespace: &Namespace<'_>, name: &str) -> Value {
    let path = namespace.path(&format!("pods/{name}"));
    namespace.api().get(&path).await.unwrap()
}

/// Waits until a Pod is in this phase.
pub(crate) async fn in_phase(namespace: &Namespace<'_>, name: &str, phase: &str) {
    patiently(&format!("Pod {name} is {phase}"), async || {
        pod(namespace, name).await["status"]["phase"] == phase
    })
    .await;
}

/// Waits until a Pod's first container waits for this reason.
pub(crate) async fn waits_for(namespace: &Namespace<'_>, name: &str, reason: &str) {
    patiently(&format!("Pod {name} is in {reason}"), async || {
        let pod = pod(namespace, name).await;
        pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
    })
    .await;
}

/// What was said about a Pod: each event's reason and message.
pub(crate) async fn events(namespace: &Namespace<'_>, name: &str) -> Vec<(String, String)> {
    let path = namespace.path(&format!("events?fieldSelector=involvedObject.name={name}"));
    let list = namespace.api().get(&path).await.unwrap();
    let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    let events = list["items"].as_array().unwrap().iter();
    events
        .map(|event| (text(event, "reason"), text(event, "message")))
        .collect()
}

/// Fails, and shows all that was said about a Pod, when some of it was said for this reason.
pub(crate) async fn never_told(namespace: &Namespace<'_>, name: &str, reason: &str) {
    let events = events(namespace, name).await;
    let told = events.iter().any(|(told, _)| told == reason);
    assert!(!told, "{}/{name}: {events:#?}", namespace.name);
}
