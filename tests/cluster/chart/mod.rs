//! The Helm chart and the plain manifests: what they are rendered to, and that a real API server takes it.

pub(crate) mod identities;
mod installing;
mod modes;
mod oci;
mod options;
mod rendering;
mod uninstalling;
mod values;

use serde_json::Value;

use crate::harness::control_plane::version;
use crate::harness::helm::values as file;

/// The files of values that together set everything.
const FIXTURES: [&str; 4] = ["everything", "cert-manager", "issuer", "files"];
/// One that only API servers with MutatingAdmissionPolicies take.
const INJECT_ALWAYS: &str = "inject-always";

/// The arguments that make helm take what is in Kubernetes 1.36.
const OFFERED: [&str; 2] = [
    "--api-versions",
    "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy",
];

/// Whether the API server under test has MutatingAdmissionPolicies.
fn injects() -> bool {
    version() != "1.33"
}

/// The files of the fixtures that the API server under test takes.
fn fixtures() -> Vec<String> {
    let more = injects().then_some(INJECT_ALWAYS);
    FIXTURES.into_iter().chain(more).map(file).collect()
}

/// What tells an object from all others: kind, namespace, name.
fn identity(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap();
    format!("{kind} {} {}", text("namespace"), text("name"))
}

/// The one object of a kind.
fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Option<&'a Value> {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let first = found.next();
    assert!(found.next().is_none(), "more than one {kind}");
    first
}
