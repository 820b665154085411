//! Which RBAC rule is missing, out of the words with which the API server refuses.

/// The rule that would allow what a message of RBAC refuses, as it stands in a Role or ClusterRole; `None` for any other
/// message.
///
/// Source: apiserver `pkg/endpoints/handlers/responsewriters/errors.go` (`forbiddenMessage`): `RESOURCE "NAME" is forbidden:
/// User "U" cannot VERB resource "R" in API group "G" in the namespace "N"`, or `… at the cluster scope`.
pub(super) fn missing_rule(message: &str) -> Option<String> {
    let (object, refusal) = message.split_once(" is forbidden: User ")?;
    let (_, asked) = refusal.split_once("\" cannot ")?;
    let (verb, asked) = asked.split_once(" resource \"")?;
    let (resource, asked) = asked.split_once("\" in API group \"")?;
    let (group, place) = asked.split_once('"')?;
    let name = object
        .split_once(" \"")
        .and_then(|(_, name)| name.strip_suffix('"'));
    // No rule can allow a list or a create by name.
    let name = name.filter(|_| !matches!(verb, "create" | "list" | "watch"));
    let names = name.map_or_else(String::new, |name| format!(", resourceNames: [{name}]"));
    let rule =
        format!("{{apiGroups: [\"{group}\"], resources: [{resource}]{names}, verbs: [{verb}]}}");
    let namespace = place
        .split_once("in the namespace \"")
        .and_then(|(_, rest)| rest.split('"').next());
    Some(match namespace {
        Some(namespace) => format!("its Role in namespace \"{namespace}\" lacks the rule {rule}"),
        None => format!("its ClusterRole lacks the rule {rule}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_that_of_the_verb_the_resource_and_the_name() {
        insta::assert_snapshot!(
            missing_rule(r#"secrets "ecr-pull-secret" is forbidden: User "system:serviceaccount:a:b" cannot patch resource "secrets" in API group "" in the namespace "a""#).unwrap(),
            @r#"its Role in namespace "a" lacks the rule {apiGroups: [""], resources: [secrets], resourceNames: [ecr-pull-secret], verbs: [patch]}"#
        );
        insta::assert_snapshot!(
            missing_rule(r#"deployments.apps is forbidden: User "u" cannot list resource "deployments" in API group "apps" in the namespace "a""#).unwrap(),
            @r#"its Role in namespace "a" lacks the rule {apiGroups: ["apps"], resources: [deployments], verbs: [list]}"#
        );
        insta::assert_snapshot!(
            missing_rule(r#"namespaces is forbidden: User "u" cannot list resource "namespaces" in API group "" at the cluster scope"#).unwrap(),
            @r#"its ClusterRole lacks the rule {apiGroups: [""], resources: [namespaces], verbs: [list]}"#
        );
    }

    #[test]
    fn other_refusals_are_no_matter_of_rbac() {
        for message in [
            "",
            r#"secrets "s" is forbidden: exceeded quota: q, requested: secrets=1"#,
            r#"secrets "s" is forbidden: ValidatingAdmissionPolicy 'p' denied request: no"#,
            r#"User "u" cannot"#,
        ] {
            assert_eq!(missing_rule(message), None, "{message}");
        }
    }
}
