//! AdmissionReviews as the API server sends them.

use serde_json::{Value, json};

/// An ECR image that nothing is wrong with, and the registry that it is in.
pub(crate) const IMAGE: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:v1";
pub(crate) const REGISTRY: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// A review of a Pod's creation.
pub(crate) fn create(namespace: &str, pod_spec: &Value) -> Value {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
            "requestResource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": {"username": "admin", "groups": ["system:masters"]},
            "object": {
                "kind": "Pod",
                "apiVersion": "v1",
                "metadata": {"generateName": "app-", "namespace": namespace},
                "spec": pod_spec,
                "status": {},
            },
            "oldObject": null,
            "dryRun": false,
            "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        },
    })
}

/// A review of the creation of a Pod with one container.
pub(crate) fn create_with(namespace: &str, image: &str) -> Value {
    create(
        namespace,
        &json!({"containers": [{"name": "app", "image": image}]}),
    )
}

/// The uid of every review here.
pub(crate) const UID: &str = "705ab4f5-6393-11e8-b7cc-42010a800002";

/// A review of the creation of a Pod, given whole.
pub(crate) fn create_pod(namespace: &str, pod: &Value) -> Value {
    let mut review = create(namespace, &Value::Null);
    review["request"]["object"] = pod.clone();
    review
}

/// A Pod with these images, one container each.
pub(crate) fn pod(images: &[&str]) -> Value {
    let containers = images.iter().enumerate();
    let containers: Vec<Value> = containers
        .map(|(number, image)| json!({"name": format!("c{number}"), "image": image}))
        .collect();
    json!({
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "app"},
        "spec": {"containers": containers},
    })
}

/// A review of the change of a Pod.
pub(crate) fn update(namespace: &str, old: &Value, new: &Value) -> Value {
    let mut review = create_pod(namespace, new);
    review["request"]["operation"] = json!("UPDATE");
    review["request"]["oldObject"] = old.clone();
    review
}

/// The same review as a dry run.
pub(crate) fn dry_run(mut review: Value) -> Value {
    review["request"]["dryRun"] = json!(true);
    review
}

/// A review of the creation of a workload whose template's Pods have this spec.
pub(crate) fn workload(group: &str, kind: &str, object: &Value) -> Value {
    let mut review = create_pod("team-a", object);
    review["request"]["kind"] = json!({"group": group, "version": "v1", "kind": kind});
    review
}

/// An image in a registry of this account and region.
pub(crate) fn image_in(account: usize, region: &str) -> String {
    format!("{account:012}.dkr.ecr.{region}.amazonaws.com/team/app:v1")
}

/// A review as the API server writes it: its keys in the order of the Go struct, so that the envelope comes before the
/// object and dryRun after it.
pub(crate) fn wire(review: &Value) -> String {
    let written = |object: &Value, order: &[&str], special: &dyn Fn(&str) -> Option<String>| {
        let fields = order.iter().filter_map(|key| {
            let value = special(key).or_else(|| Some(object.get(key)?.to_string()))?;
            Some(format!("\"{key}\":{value}"))
        });
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    };
    let of_request = [
        "uid",
        "kind",
        "resource",
        "subResource",
        "requestKind",
        "requestResource",
        "requestSubResource",
        "name",
        "namespace",
        "operation",
        "userInfo",
        "object",
        "oldObject",
        "dryRun",
        "options",
    ];
    written(review, &["kind", "apiVersion", "request"], &|key| {
        let request = review
            .get("request")
            .filter(|request| key == "request" && request.is_object())?;
        Some(written(request, &of_request, &|_| None))
    })
}
