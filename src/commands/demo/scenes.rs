//! The Pods that `demo` creates.

use serde_json::{Value, json};

/// Two accounts in two regions: two registries, two tokens.
pub(super) const WEB: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/web:1.4.2";
/// Of two tenants, an account each.
const OF_A: &str = "111111111111.dkr.ecr.eu-west-1.amazonaws.com/app:7";
const OF_B: &str = "222222222222.dkr.ecr.eu-west-1.amazonaws.com/app:3";
const METRICS_SIDECAR: &str = "210987654321.dkr.ecr.us-east-2.amazonaws.com/base/metrics:v7";

/// A Pod to create and what is worth seeing about it.
pub(super) struct Scene {
    pub(super) title: &'static str,
    pub(super) namespace: &'static str,
    pub(super) pod: Value,
}

pub(super) fn all() -> Vec<Scene> {
    let scene = |title, namespace, spec: Value| Scene {
        title,
        namespace,
        pod: json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "generateName": "web-6d4cf56db6-", "namespace": namespace },
            "spec": spec,
        }),
    };
    let of = |image| json!({ "containers": [{ "name": "app", "image": image }] });
    let two_registries = json!({
        "containers": [
            { "name": "web", "image": WEB },
            { "name": "metrics", "image": METRICS_SIDECAR },
        ],
        "imagePullSecrets": [{ "name": "the-users-own" }],
    });
    vec![
        scene(
            "A Pod with images from two ECR registries, in a namespace that has no Secret yet",
            "shop",
            two_registries.clone(),
        ),
        scene(
            "The same Pod again: nothing is left to do but to answer",
            "shop",
            two_registries,
        ),
        scene(
            "An image without a tag",
            "shop",
            json!({ "containers": [{ "name": "web", "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/shop/web" }] }),
        ),
        scene(
            "A host that only looks like ECR: its account has eleven digits",
            "shop",
            json!({ "containers": [{ "name": "web", "image": "12345678901.dkr.ecr.eu-west-1.amazonaws.com/shop/web:1.4.2" }] }),
        ),
        scene(
            "An ECR image in an init container alone, where other tools do not look",
            "billing",
            json!({
                "initContainers": [{ "name": "migrate", "image": WEB }],
                "containers": [{ "name": "billing", "image": "docker.io/library/nginx:1.29" }],
            }),
        ),
        scene(
            "A Pod with no ECR image: none of our business",
            "billing",
            json!({ "containers": [{ "name": "proxy", "image": "registry.k8s.io/pause:3.10" }] }),
        ),
        scene(
            "A tenant, whose EcrPolicy grants its account by a role: that role's token, and no other",
            "team-a",
            of(OF_A),
        ),
        scene("Another tenant, with another role", "team-b", of(OF_B)),
        scene(
            "The other tenant asks for the first one's image",
            "team-b",
            of(OF_A),
        ),
    ]
}

/// The review that an API server would send for `pod`.
pub(super) fn review(namespace: &str, pod: &Value, uid: &str) -> Value {
    let resource = json!({ "group": "", "version": "v1", "resource": "pods" });
    let kind = json!({ "group": "", "version": "v1", "kind": "Pod" });
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": uid,
            "kind": kind,
            "resource": resource,
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": { "username": "system:serviceaccount:kube-system:replicaset-controller" },
            "object": pod,
            "oldObject": null,
            "dryRun": false,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
        },
    })
}
