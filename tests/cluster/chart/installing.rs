//! Real helm, and kubectl, install the chart into a real API server, and take it away.

use std::collections::{BTreeMap, BTreeSet};

use ecr_admission::certificate::managed::WebhookConfigurations;
use ecr_admission::kubernetes::KubeWebhookConfigurations;
use serde_json::{Value, json};

use super::{OFFERED, fixtures, identity, injects};
use crate::harness::control_plane::{ControlPlane, from_run};
use crate::harness::helm::{Helm, RELEASE, values};
use crate::harness::{eventually, run};

/// The kinds that the chart makes, and those that are made because of them.
const KINDS: &str = "all,secrets,configmaps,serviceaccounts,roles,rolebindings,clusterroles,clusterrolebindings,\
    networkpolicies,poddisruptionbudgets,mutatingwebhookconfigurations,validatingwebhookconfigurations,\
    validatingadmissionpolicies,validatingadmissionpolicybindings,certificates.cert-manager.io,issuers.cert-manager.io";
/// No Pod runs here, so no Job would ever end; `uninstalling.rs` does what it does.
const NO_PODS: [&str; 1] = ["--no-hooks"];
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests");

/// A control plane that knows cert-manager's kinds.
pub(super) async fn start(name: &str) -> ControlPlane {
    let plane = ControlPlane::start(name).await;
    for entry in std::fs::read_dir(from_run("CLUSTER_CERT_MANAGER")).unwrap() {
        let file = entry.unwrap().path();
        // Too long for the annotation of `apply`.
        done(&plane, &["create", "-f", file.to_str().unwrap()]).await;
    }
    let kinds = ["certificates.cert-manager.io", "issuers.cert-manager.io"];
    for kind in kinds.map(|kind| format!("crd/{kind}")) {
        let wait = [
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            &kind,
        ];
        done(&plane, &wait).await;
    }
    plane
}

/// Runs kubectl, which must succeed.
pub(super) async fn done(plane: &ControlPlane, arguments: &[&str]) -> String {
    let said = plane.kubectl(arguments, "").await;
    assert!(said.ok, "kubectl {arguments:?}: {}", said.err);
    said.out
}

/// Runs helm, which must succeed.
pub(super) async fn helm(helm: Helm, plane: &ControlPlane, command: &str, arguments: &[&str]) {
    let said = helm.release(plane, command, arguments).await;
    assert!(said.ok, "{helm:?} {command} {arguments:?}: {said:?}");
}

/// What is in our namespace and outside of all. The rest is none of ours, and Kubernetes fills it as it likes.
async fn objects(plane: &ControlPlane) -> Vec<Value> {
    let mut kinds = KINDS.to_owned();
    if injects() {
        kinds.push_str(",mutatingadmissionpolicies,mutatingadmissionpolicybindings");
    }
    let list = done(plane, &["get", &kinds, "--all-namespaces", "-o", "json"]).await;
    let mut list: Value = serde_json::from_str(&list).unwrap();
    let mut items: Vec<Value> = serde_json::from_value(list["items"].take()).unwrap();
    items.retain(|item| {
        let namespace = &item["metadata"]["namespace"];
        namespace.is_null() || namespace == RELEASE
    });
    items
}

/// The definition of EcrPolicy, which goes with no release: all policies would go with it.
const POLICIES: &str =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ecrpolicies.ecr-admission.dev";

/// Each of them by identity.
pub(super) async fn everything(plane: &ControlPlane) -> BTreeSet<String> {
    objects(plane).await.iter().map(identity).collect()
}

/// How often what is wanted of each of our objects was changed, where the API server counts that.
async fn generations(plane: &ControlPlane) -> BTreeMap<String, u64> {
    let objects = objects(plane).await;
    let ours = objects
        .iter()
        .filter(|object| object["metadata"]["ownerReferences"].is_null());
    let counted =
        |object: &Value| Some((identity(object), object["metadata"]["generation"].as_u64()?));
    ours.filter_map(counted).collect()
}

/// Waits until there is what was there before, and nothing else.
pub(super) async fn nothing_is_left(plane: &ControlPlane, before: &BTreeSet<String>) {
    eventually("nothing is left behind", async || {
        &everything(plane).await == before
    })
    .await;
}

/// The `caBundle` of each of our webhooks.
async fn bundles(plane: &ControlPlane) -> Vec<String> {
    let kinds = "mutatingwebhookconfigurations,validatingwebhookconfigurations";
    let list = done(plane, &["get", kinds, "-o", "json"]).await;
    let list: Value = serde_json::from_str(&list).unwrap();
    let webhooks = list["items"].as_array().unwrap().iter();
    let webhooks = webhooks.flat_map(|item| item["webhooks"].as_array().unwrap());
    let bundle = |webhook: &Value| {
        webhook["clientConfig"]["caBundle"]
            .as_str()
            .map(str::to_owned)
    };
    webhooks
        .map(|webhook| bundle(webhook).unwrap_or_default())
        .collect()
}

/// Puts the authority into each webhook, as `serve` does.
async fn patch_bundles(plane: &ControlPlane) {
    let configurations = KubeWebhookConfigurations::new(plane.api.client(), "zz-ecr-admission");
    let found = configurations.read().await.unwrap();
    assert_eq!(found.len(), 2);
    for configuration in found {
        let written = configurations.write(&configuration, &plane.ca.ca_pem).await;
        written.unwrap();
    }
}

/// Whether there are Pods of ours, which says that they are admitted where only harmless ones are.
async fn has_pods(plane: &ControlPlane, count: usize) -> bool {
    let path = format!("/api/v1/namespaces/{RELEASE}/pods");
    let list = plane.api.get(&path).await.unwrap();
    list["items"].as_array().unwrap().len() == count
}

pub(super) async fn create_namespace(plane: &ControlPlane) {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": RELEASE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    });
    plane
        .api
        .create("/api/v1/namespaces", &object)
        .await
        .unwrap();
    let account = format!("/api/v1/namespaces/{RELEASE}/serviceaccounts/default");
    eventually("there is a default ServiceAccount", async || {
        plane.api.exists(&account).await
    })
    .await;
}

/// Changes to a bundle that is given. Helm 4 writes over what somebody else keeps only when told to.
async fn take_over_bundles(by: Helm, plane: &ControlPlane) {
    let file = values("files");
    let given = ["--values", &file];
    if let Helm::Four = by {
        let said = by.release(plane, "upgrade", &given).await;
        let told = said.err.contains(r#"conflict with "ecr-admission""#);
        assert!(!said.ok && told, "{said:?}");
        let forced = [&given[..], &["--force-conflicts"]].concat();
        return helm(by, plane, "upgrade", &forced).await;
    }
    helm(by, plane, "upgrade", &given).await;
}

async fn install_upgrade_and_uninstall(by: Helm) {
    let plane = start(&format!("chart-{by:?}").to_lowercase()).await;
    create_namespace(&plane).await;
    let before = everything(&plane).await;

    helm(by, &plane, "install", &[]).await;
    let made = everything(&plane).await;
    let arguments: &[&str] = if injects() { &OFFERED } else { &[] };
    for object in by.render(arguments).await {
        assert!(
            is_kept(&object) || made.contains(&identity(&object)),
            "{object}"
        );
    }
    assert!(
        plane.api.exists(POLICIES).await,
        "nobody knows what a policy is"
    );
    let policy = "MutatingAdmissionPolicy  ecr-admission-inject";
    assert_eq!(made.contains(policy), injects());
    eventually("two Pods are made", async || has_pods(&plane, 2).await).await;

    patch_bundles(&plane).await;
    let patched = bundles(&plane).await;
    assert!(patched.len() == 3 && patched.iter().all(|bundle| !bundle.is_empty()));
    for change in [
        "webhooks.timeoutSeconds=7",
        "webhooks.mutating.failurePolicy=Fail",
        "service.port=8443",
    ] {
        helm(by, &plane, "upgrade", &["--reuse-values", "--set", change]).await;
        assert_eq!(
            bundles(&plane).await,
            patched,
            "{by:?} resets a caBundle: {change}"
        );
    }
    let changed = done(
        &plane,
        &[
            "get",
            "mutatingwebhookconfiguration",
            "zz-ecr-admission",
            "-o",
            "json",
        ],
    )
    .await;
    assert!(
        changed.contains(r#""timeoutSeconds": 7"#)
            && changed.contains(r#""failurePolicy": "Fail""#)
    );
    helm(by, &plane, "rollback", &["1"]).await;
    assert_eq!(
        bundles(&plane).await,
        patched,
        "{by:?} resets a caBundle: rollback"
    );

    take_over_bundles(by, &plane).await;
    assert!(
        bundles(&plane)
            .await
            .iter()
            .all(|bundle| !patched.contains(bundle))
    );

    helm(by, &plane, "uninstall", &NO_PODS).await;
    nothing_is_left(&plane, &before).await;
    assert!(plane.api.exists(POLICIES).await, "all policies are gone");

    for file in fixtures() {
        helm(by, &plane, "install", &["--values", &file]).await;
        let made = everything(&plane).await;
        for object in by.render(&[arguments, &["--values", &file]].concat()).await {
            assert!(
                is_kept(&object) || made.contains(&identity(&object)),
                "{file}: {object}"
            );
        }
        if file == values("everything") {
            eventually("three Pods are made", async || has_pods(&plane, 3).await).await;
        }
        helm(by, &plane, "uninstall", &NO_PODS).await;
        nothing_is_left(&plane, &before).await;
    }
}

/// Whether helm leaves it there.
fn is_kept(object: &Value) -> bool {
    object["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
}

#[test]
fn helm_4_installs_upgrades_and_uninstalls() {
    run(install_upgrade_and_uninstall(Helm::Four));
}

#[test]
fn helm_3_installs_upgrades_and_uninstalls() {
    run(install_upgrade_and_uninstall(Helm::Three));
}

#[test]
fn kubectl_installs_the_plain_manifests_and_takes_them_away() {
    run(async {
        let plane = start("chart-plain").await;
        let before = everything(&plane).await;
        let inject = format!("{MANIFESTS}/inject-policy.yaml");
        let apply = async || {
            done(&plane, &["apply", "-k", MANIFESTS]).await;
            if injects() {
                done(&plane, &["apply", "-f", &inject]).await;
            }
        };
        apply().await;
        eventually("two Pods are made", async || has_pods(&plane, 2).await).await;
        patch_bundles(&plane).await;
        let patched = bundles(&plane).await;
        let applied_once = generations(&plane).await;
        apply().await;
        assert_eq!(
            generations(&plane).await,
            applied_once,
            "it changes something"
        );
        assert_eq!(bundles(&plane).await, patched, "kubectl resets a caBundle");

        if injects() {
            done(&plane, &["delete", "-f", &inject]).await;
        }
        done(&plane, &["delete", "-k", MANIFESTS]).await;
        nothing_is_left(&plane, &before).await;
        let namespace = format!("/api/v1/namespaces/{RELEASE}");
        assert!(!plane.api.exists(&namespace).await);
    });
}
