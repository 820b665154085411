//! Installs ecr-admission's manifests into a control plane.

use std::net::SocketAddr;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use super::eventually;
use crate::ecr::EcrDouble;
use crate::harness::webhook::Webhook;

/// Where the API server finds the webhook.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// By URL (the API server speaks HTTP/2 to loopback).
    Url(SocketAddr),
    /// By a Service, as in a real cluster (the API server speaks HTTP/1.1), which stands for this port of localhost.
    Service(u16),
}

/// A control plane with ecr-admission in it.
pub(crate) struct Cluster {
    pub(crate) plane: ControlPlane,
    pub(crate) ecr: EcrDouble,
    pub(crate) webhook: Webhook,
}

impl Cluster {
    pub(crate) async fn start(name: &str) -> Self {
        let plane = ControlPlane::start(name).await;
        install_permissions(&plane).await;
        let ecr = EcrDouble::start().await;
        let webhook = Webhook::start(&plane, &ecr, "ecr-admission").await;
        register(&plane, Target::Url(webhook.address)).await;
        Self {
            plane,
            ecr,
            webhook,
        }
    }
}

/// The objects of one of the manifests.
pub(crate) fn manifest(name: &str) -> Vec<Value> {
    let path = format!("{}/manifests/{name}", env!("CARGO_MANIFEST_DIR"));
    documents(&std::fs::read_to_string(path).unwrap())
}

/// The objects of a text of YAML documents.
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let text = format!("\n{text}");
    let documents = text
        .split("\n---\n")
        .filter(|document| !document.trim().is_empty());
    documents
        .map(|document| serde_saphyr::from_str(document).unwrap())
        .collect()
}

/// The namespace, the account, what it may do, and the policies that keep it from creating other Secrets and from changing
/// more than the `caBundle` of our webhook configurations.
pub(crate) async fn install_permissions(plane: &ControlPlane) {
    let parts = [
        "namespace.yaml",
        "rbac.yaml",
        "secret-create-policy.yaml",
        "certificates.yaml",
        "ca-bundle-policy.yaml",
    ];
    apply(plane, parts.map(manifest).concat()).await;
    let token = plane.token().await;
    // The API server takes a moment to compile a policy.
    eventually("the policy about Secrets holds", async || {
        let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other"}})
            .to_string();
        let create = ["create", "-f", "-", "--dry-run=server", "--token", &token];
        let said = plane.kubectl(&create, &other).await;
        said.err.contains("may create only the Secret")
    })
    .await;
}

/// Registers the webhooks and waits until the API server asks them.
pub(crate) async fn register(plane: &ControlPlane, target: Target) {
    register_as(plane, target, |_| {}).await;
    let untagged = "111111111111.dkr.ecr.eu-west-1.amazonaws.com/probe";
    let probe = ["run", "probe", "--image", untagged, "--dry-run=server"];
    eventually("the API server asks the webhook", async || {
        let said = plane.kubectl(&probe, "").await;
        said.err.contains("[full-reference]")
    })
    .await;
}

/// Registers the webhooks, each changed by `change` first.
pub(crate) async fn register_as(plane: &ControlPlane, target: Target, change: impl Fn(&mut Value)) {
    register_objects(plane, manifest("webhooks.yaml"), target, change).await;
}

/// The same with other webhook configurations than those of the manifests.
pub(crate) async fn register_objects(
    plane: &ControlPlane,
    mut objects: Vec<Value>,
    target: Target,
    change: impl Fn(&mut Value),
) {
    let webhooks = objects
        .iter_mut()
        .filter_map(|object| object["webhooks"].as_array_mut());
    for webhook in webhooks.flatten() {
        let client = &mut webhook["clientConfig"];
        match target {
            Target::Url(address) => {
                let path = client["service"]["path"].as_str().unwrap();
                *client = json!({"url": format!("https://{address}{path}")});
            }
            Target::Service(port) => client["service"]["port"] = json!(port),
        }
        client["caBundle"] = json!(BASE64_STANDARD.encode(&plane.ca.ca_pem));
        change(webhook);
    }
    if let Target::Service(_) = target {
        objects.push(service("ecr-admission"));
    }
    apply(plane, objects).await;
}

/// A Service that stands for localhost.
pub(crate) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "ecr-admission"},
        "spec": {"type": "ExternalName", "externalName": "localhost"},
    })
}

pub(crate) async fn apply(plane: &ControlPlane, objects: Vec<Value>) {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    let said = plane
        .kubectl(&["apply", "-f", "-"], &list.to_string())
        .await;
    assert!(said.ok, "{said:?}");
}
