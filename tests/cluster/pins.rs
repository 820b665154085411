//! Pinned registries: the Secret is there before any Pod.

use jiff::Timestamp;
use serde_json::json;

use crate::harness::control_plane::ControlPlane;
use crate::harness::namespace::{IMAGE, Namespace, REGISTRY};
use crate::harness::{eventually, in_shared_cluster};

const ANNOTATION: &str = "ecr-admission.dev/registries";
const OTHER: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// A namespace that is created with pins, as a manifest would.
async fn pinning<'a>(plane: &'a ControlPlane, name: &str, registries: &str) -> Namespace<'a> {
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "annotations": {ANNOTATION: registries}},
    });
    let said = plane
        .kubectl(&["create", "-f", "-"], &namespace.to_string())
        .await;
    assert!(said.ok, "{said:?}");
    Namespace::of(plane, name)
}

/// Waits until its Secret has passwords for so many registries.
async fn holds(namespace: &Namespace<'_>, registries: usize) {
    eventually("the Secret is there", async || {
        namespace.passwords().await.len() == registries
    })
    .await;
}

#[test]
fn a_pinned_registry_is_served_without_any_pod_and_says_for_how_long() {
    in_shared_cluster(async |cluster| {
        let namespace = pinning(&cluster.plane, "pinned", REGISTRY).await;
        holds(&namespace, 1).await;
        assert!(namespace.is_served().await);
        let both = format!("{ANNOTATION}={REGISTRY},{OTHER}");
        let annotate = ["annotate", "namespace", "pinned", "--overwrite", &both];
        namespace.kubectl_ok(&annotate, "").await;
        holds(&namespace, 2).await;

        let path = r"jsonpath={.metadata.annotations.ecr-admission\.dev/expires-at}";
        let read = ["get", "secret", "ecr-pull-secret", "-o", path];
        let said = namespace.kubectl_ok(&read, "").await;
        let expires: Timestamp = said.out.parse().unwrap();
        let secret = namespace.secret().await.unwrap();
        let made = secret["metadata"]["creationTimestamp"].as_str().unwrap();
        let life = expires.duration_since(made.parse().unwrap());
        assert!((11..=12).contains(&life.as_hours()), "{life:?}");
    });
}

#[test]
fn what_cannot_be_pinned_is_told_by_an_event_and_at_the_next_pod() {
    in_shared_cluster(async |cluster| {
        let pins = format!("{REGISTRY}, docker.io");
        pinning(&cluster.plane, "mispinned", &pins).await;
        let namespace = Namespace::of(&cluster.plane, "mispinned");
        holds(&namespace, 1).await;
        let told = namespace.event("InvalidPinnedRegistry").await;
        insta::assert_snapshot!(told, @r#"Warning Namespace mispinned namespace annotation ecr-admission.dev/registries: "docker.io" is no private ECR registry: write a host such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com, without scheme, port and repository"#);
        // kubectl's own view of it.
        let said = namespace.kubectl_ok(&["events"], "").await;
        assert!(said.out.contains("InvalidPinnedRegistry"), "{said:?}");

        let account = namespace.path("serviceaccounts/default");
        eventually("there is a default ServiceAccount", async || {
            namespace.api().exists(&account).await
        })
        .await;
        let said = namespace
            .kubectl_ok(&["run", "app", "--image", IMAGE], "")
            .await;
        insta::assert_snapshot!(said.err, @r#"Warning: namespace annotation ecr-admission.dev/registries: "docker.io" is no private ECR registry: write a host such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com, without scheme, port and repository"#);
        assert!(namespace.is_served().await);
    });
}

#[test]
fn an_excluded_namespace_is_told_that_its_pins_are_not_served() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::existing(&cluster.plane, "kube-system");
        let pin = format!("{ANNOTATION}={REGISTRY}");
        namespace
            .kubectl_ok(&["annotate", "namespace", "kube-system", &pin], "")
            .await;
        let told = namespace.event("PinsNotServed").await;
        assert!(told.contains("pin the registries in another one"), "{told}");
        assert!(namespace.secret().await.is_none());
    });
}
