//! What single values change in what the chart is rendered to.

use serde_json::{Value, json};

use super::{OFFERED, of_kind};
use crate::harness::helm::Helm;
use crate::harness::run;

/// Part of an object: its kind, a JSON pointer, and what must be there; `null` for nothing.
type Part = (&'static str, &'static str, Value);

const POD: &str = "/spec/template/spec";
/// In a Pod's spec: what keeps replicas on different nodes, where it can.
const APART: &str =
    "/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm";

/// Renders the chart with values, each as `--set-json` takes them, and compares parts of the objects.
fn rendered(set: &[&str], parts: impl IntoIterator<Item = Part>) {
    let set: Vec<&str> = set.iter().flat_map(|value| ["--set-json", value]).collect();
    let arguments = [&OFFERED[..], &set].concat();
    run(async {
        let objects = Helm::Four.render(&arguments).await;
        for (kind, pointer, expected) in parts {
            let object = of_kind(&objects, kind);
            let found = object.and_then(|object| object.pointer(pointer));
            assert_eq!(
                found.unwrap_or(&Value::Null),
                &expected,
                "{kind} {pointer} with {set:?}"
            );
        }
    });
}

fn pod(pointer: &str) -> &'static str {
    format!("{POD}{pointer}").leak()
}

#[test]
fn by_default_a_rollout_or_a_drain_leaves_two_that_serve() {
    rendered(
        &[],
        [
            ("Deployment", "/spec/replicas", json!(2)),
            (
                "Deployment",
                "/spec/strategy/rollingUpdate",
                json!({"maxSurge": 1, "maxUnavailable": 0}),
            ),
            // 5 s of serving on and 20 s of draining.
            (
                "Deployment",
                pod("/terminationGracePeriodSeconds"),
                json!(30),
            ),
            (
                "PodDisruptionBudget",
                "/spec/unhealthyPodEvictionPolicy",
                json!("AlwaysAllow"),
            ),
            ("PodDisruptionBudget", "/spec/maxUnavailable", json!(1)),
            (
                "Deployment",
                pod(&format!("{APART}/topologyKey")),
                json!("kubernetes.io/hostname"),
            ),
            (
                "Deployment",
                pod("/topologySpreadConstraints/0/topologyKey"),
                json!("topology.kubernetes.io/zone"),
            ),
            (
                "Deployment",
                pod("/topologySpreadConstraints/0/whenUnsatisfiable"),
                json!("ScheduleAnyway"),
            ),
        ],
    );
    rendered(
        &["shutdown.graceSeconds=0", "shutdown.drainSeconds=0"],
        [(
            "Deployment",
            pod("/terminationGracePeriodSeconds"),
            json!(5),
        )],
    );
}

#[test]
fn the_container_can_do_nothing_to_its_node() {
    rendered(
        &[],
        [
            (
                "Deployment",
                pod("/securityContext"),
                json!({
                    "fsGroup": 65532,
                    "runAsGroup": 65532,
                    "runAsNonRoot": true,
                    "runAsUser": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                }),
            ),
            (
                "Deployment",
                pod("/containers/0/securityContext"),
                json!({
                    "allowPrivilegeEscalation": false,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": true,
                }),
            ),
            (
                "ServiceAccount",
                "/automountServiceAccountToken",
                json!(false),
            ),
            ("Deployment", pod("/hostNetwork"), Value::Null),
        ],
    );
    // As OpenShift wants it, which chooses the user itself.
    rendered(
        &[
            "podSecurityContext.runAsUser=null",
            "podSecurityContext.fsGroup=null",
            "podSecurityContext.runAsGroup=null",
        ],
        [(
            "Deployment",
            pod("/securityContext"),
            json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}),
        )],
    );
}

#[test]
fn on_the_network_of_the_nodes_a_new_pod_need_not_wait_for_a_free_node() {
    rendered(
        &["hostNetwork=true", "ports.webhook=9443", "ports.admin=9080"],
        [
            ("Deployment", pod("/hostNetwork"), json!(true)),
            (
                "Deployment",
                pod("/dnsPolicy"),
                json!("ClusterFirstWithHostNet"),
            ),
            (
                "Deployment",
                "/spec/strategy/rollingUpdate",
                json!({"maxSurge": 1, "maxUnavailable": 1}),
            ),
            (
                "Deployment",
                pod("/containers/0/ports/0/containerPort"),
                json!(9443),
            ),
            (
                "Deployment",
                pod("/containers/0/ports/1/containerPort"),
                json!(9080),
            ),
            ("Service", "/spec/ports/0/targetPort", json!("webhook")),
            (
                "Deployment",
                pod("/containers/0/readinessProbe/httpGet/port"),
                json!("admin"),
            ),
            ("NetworkPolicy", "", Value::Null),
        ],
    );
}

#[test]
fn the_image_is_that_of_the_version_unless_told_otherwise() {
    let version = env!("CARGO_PKG_VERSION");
    let digest = format!("sha256:{}", "0".repeat(64));
    for (set, expected) in [
        (vec![], format!("ecr-admission:{version}")),
        (
            vec![
                r#"image.repository="registry.example/e""#.to_owned(),
                r#"image.tag="v2""#.to_owned(),
            ],
            "registry.example/e:v2".to_owned(),
        ),
        (
            vec![format!("image.digest={digest:?}")],
            format!("ecr-admission:{version}@{digest}"),
        ),
    ] {
        let set: Vec<&str> = set.iter().map(String::as_str).collect();
        rendered(
            &set,
            [("Deployment", pod("/containers/0/image"), json!(expected))],
        );
    }
}

#[test]
fn namespaces_opt_out_or_in_for_everything_that_asks_about_them() {
    let name = |names: Value| json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": names});
    let label = |operator: &str, value: &str| json!({"key": "ecr-admission.dev/admission", "operator": operator, "values": [value]});
    let own = json!(["kube-system", "ecr-admission"]);
    let more = json!(["kube-system", "ecr-admission", "team-a"]);
    for (set, expected) in [
        (
            &[][..],
            json!([name(own.clone()), label("NotIn", "disabled")]),
        ),
        (
            &[
                r#"namespaces.mode="OptIn""#,
                r#"config.excludedNamespaces=["team-a","kube-system"]"#,
            ],
            json!([name(more), label("In", "enabled")]),
        ),
    ] {
        let webhook = "/namespaceSelector/matchExpressions";
        let webhook = |index: usize| format!("/webhooks/{index}{webhook}").leak() as &str;
        rendered(
            set,
            [
                ("MutatingWebhookConfiguration", webhook(0), expected.clone()),
                (
                    "ValidatingWebhookConfiguration",
                    webhook(0),
                    expected.clone(),
                ),
                (
                    "ValidatingWebhookConfiguration",
                    webhook(1),
                    expected.clone(),
                ),
                (
                    "MutatingAdmissionPolicyBinding",
                    "/spec/matchResources/namespaceSelector/matchExpressions",
                    expected.clone(),
                ),
            ],
        );
    }
}

#[test]
fn failure_policies_are_chosen_for_pods_and_never_for_workloads() {
    let policy = |index: usize| format!("/webhooks/{index}/failurePolicy").leak() as &str;
    for (set, mutating, validating) in [
        (&[][..], "Ignore", "Ignore"),
        (
            &[r#"webhooks.mutating.failurePolicy="Fail""#],
            "Fail",
            "Ignore",
        ),
        (
            &[r#"webhooks.validating.failurePolicy="Fail""#],
            "Ignore",
            "Fail",
        ),
    ] {
        rendered(
            set,
            [
                ("MutatingWebhookConfiguration", policy(0), json!(mutating)),
                (
                    "ValidatingWebhookConfiguration",
                    policy(0),
                    json!(validating),
                ),
                ("ValidatingWebhookConfiguration", policy(1), json!("Ignore")),
            ],
        );
    }
    rendered(
        &["webhooks.workloads.enabled=false"],
        [("ValidatingWebhookConfiguration", "/webhooks/1", Value::Null)],
    );
}

#[test]
fn all_pods_are_registered_when_that_is_chosen_and_the_program_is_told() {
    let webhook = |index: usize, field: &str| format!("/webhooks/{index}{field}").leak() as &str;
    let configuration = "ValidatingWebhookConfiguration";
    let others = "workloads.ecr-admission.dev";
    rendered(&[], [(configuration, webhook(1, "/name"), json!(others))]);
    for (set, policy) in [
        (&["webhooks.allImages.enabled=true"][..], "Ignore"),
        (
            &[
                "webhooks.allImages.enabled=true",
                r#"webhooks.allImages.failurePolicy="Fail""#,
            ],
            "Fail",
        ),
    ] {
        let name = json!("all-pods.ecr-admission.dev");
        rendered(
            set,
            [
                (configuration, webhook(1, "/name"), name),
                (configuration, webhook(1, "/failurePolicy"), json!(policy)),
                (configuration, webhook(2, "/name"), json!(others)),
                (configuration, webhook(2, "/matchConditions"), Value::Null),
            ],
        );
    }
}

#[test]
fn a_name_is_the_same_wherever_it_is_used() {
    rendered(
        &[
            r#"fullnameOverride="pull""#,
            r#"config.secretName="pull-secret""#,
        ],
        [
            ("Service", "/metadata/name", json!("pull")),
            (
                "MutatingWebhookConfiguration",
                "/webhooks/0/clientConfig/service",
                json!({"name": "pull", "namespace": "ecr-admission", "path": "/mutate", "port": 443}),
            ),
            (
                "MutatingWebhookConfiguration",
                "/metadata/name",
                json!("zz-pull"),
            ),
            ("ServiceAccount", "/metadata/name", json!("pull")),
            ("Deployment", pod("/serviceAccountName"), json!("pull")),
            (
                "Deployment",
                pod("/volumes/0/configMap/name"),
                json!("pull"),
            ),
            ("ConfigMap", "/metadata/name", json!("pull")),
            ("Role", "/rules/0/resourceNames", json!(["pull-tls"])),
            ("RoleBinding", "/roleRef/name", json!("pull-certificates")),
            (
                "MutatingAdmissionPolicyBinding",
                "/spec/policyName",
                json!("pull-inject"),
            ),
        ],
    );
    run(async {
        let said = Helm::Four.render(&["--set", "fullnameOverride=pull"]).await;
        let config = of_kind(&said, "ConfigMap").unwrap()["data"]["config.yaml"].to_string();
        for name in [
            "service: pull\\n",
            "tlsSecretName: pull-tls\\n",
            "webhookConfiguration: zz-pull",
        ] {
            assert!(config.contains(name), "{config}");
        }
    });
}

#[test]
fn a_changed_setting_makes_new_pods_and_nothing_else_does() {
    let hash = |set: &'static [&'static str]| {
        let mut found = Value::Null;
        let arguments: Vec<&str> = set.iter().flat_map(|value| ["--set-json", value]).collect();
        run(async {
            let objects = Helm::Four.render(&arguments).await;
            let template = &of_kind(&objects, "Deployment").unwrap()["spec"]["template"];
            found = template["metadata"]["annotations"].clone();
        });
        found
    };
    let before = hash(&[]);
    assert_ne!(hash(&[r#"config.policy.action="Warn""#]), before);
    assert_eq!(hash(&["replicas=5"]), before);
    assert_eq!(hash(&[r#"webhooks.mutating.failurePolicy="Fail""#]), before);
}
