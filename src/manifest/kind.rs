//! Which kinds hold a Pod spec, and where.

/// Path from the root of a manifest to its Pod spec: one mapping key a step.
pub type Pointer = &'static [&'static str];

const IN_TEMPLATE: Pointer = &["spec", "template", "spec"];

/// (kind, API groups that served it at any time, where its Pod spec is).
///
/// The groups matter: a `Job` of `batch.volcano.sh` has another shape. `extensions` served the workloads until
/// Kubernetes 1.16, and old manifests still name it.
const KINDS: &[(&str, &[&str], Pointer)] = &[
    ("Pod", &[""], &["spec"]),
    ("PodTemplate", &[""], &["template", "spec"]),
    ("ReplicationController", &[""], IN_TEMPLATE),
    ("Deployment", &["apps", "extensions"], IN_TEMPLATE),
    ("ReplicaSet", &["apps", "extensions"], IN_TEMPLATE),
    ("DaemonSet", &["apps", "extensions"], IN_TEMPLATE),
    ("StatefulSet", &["apps"], IN_TEMPLATE),
    ("Job", &["batch"], IN_TEMPLATE),
    (
        "CronJob",
        &["batch"],
        &["spec", "jobTemplate", "spec", "template", "spec"],
    ),
];

/// Where objects of `kind` in the API group `group` (empty for the core group) keep their Pod spec; `None` for a kind
/// that makes no Pods, or that we do not know.
pub fn pod_spec_pointer(group: &str, kind: &str) -> Option<Pointer> {
    KINDS
        .iter()
        .find(|(name, groups, _)| *name == kind && groups.contains(&group))
        .map(|(_, _, pointer)| *pointer)
}

/// The same for a manifest that forgot its `apiVersion`: by kind alone, since a Pod that cannot be applied yet is
/// still worth its verdict.
pub(super) fn pod_spec_pointer_of_any_group(kind: &str) -> Option<Pointer> {
    KINDS
        .iter()
        .find(|(name, ..)| *name == kind)
        .map(|(_, _, pointer)| *pointer)
}

/// The API group of an `apiVersion`: empty for `v1`.
pub fn group(api_version: &str) -> &str {
    api_version
        .split_once('/')
        .map_or("", |(group, _version)| group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_only_in_its_own_groups() {
        assert_eq!(pod_spec_pointer("", "Pod"), Some(["spec"].as_slice()));
        assert_eq!(pod_spec_pointer("apps", "Deployment"), Some(IN_TEMPLATE));
        assert_eq!(
            pod_spec_pointer("batch", "CronJob").map(<[_]>::len),
            Some(5)
        );
        assert_eq!(pod_spec_pointer("batch.volcano.sh", "Job"), None);
        assert_eq!(pod_spec_pointer("serving.knative.dev", "Service"), None);
        assert_eq!(
            pod_spec_pointer_of_any_group("StatefulSet"),
            Some(IN_TEMPLATE)
        );
        assert_eq!(group("v1"), "");
        assert_eq!(group("batch/v1beta1"), "batch");
    }
}
