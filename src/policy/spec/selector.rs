//! Which namespaces a policy is about.

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// The most names, labels or expressions of one selector.
pub(in crate::policy) const MOST_TERMS: usize = 64;
/// A namespace name in which `*` stands for any run of characters.
pub(super) const NAME_PATTERN: &str = r"^[a-z0-9*]([-a-z0-9*]{0,61}[a-z0-9*])?$";

const LABELS: &str = "!has(self.matchLabels) || self.matchLabels.all(k, \
    k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && \
    self.matchLabels[k].matches('^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$'))";

/// Selects namespaces: those that have one of the names, all the labels, and meet all the expressions. What is not
/// given selects all.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(
    "[has(self.names) ? size(self.names) : 1, has(self.matchLabels) ? size(self.matchLabels) : 1, \
     has(self.matchExpressions) ? size(self.matchExpressions) : 1].all(n, n > 0)")
    .message("an empty list or map selects nothing and everything at once: leave it out, or say what it should hold"))]
#[x_kube(validation = Rule::new(LABELS)
    .message("matchLabels holds what can be no label: a key is a name of letters, digits, - _ and ., perhaps behind a \
        DNS name and a slash; a value is such a name or empty"))]
pub struct NamespaceSelector {
    /// Names of namespaces, in which `*` stands for any run of characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(max = MOST_TERMS),
        inner(length(max = 63), regex(pattern = NAME_PATTERN))
    )]
    pub names: Option<Vec<String>>,

    /// Labels that the namespace must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend(
        "maxProperties" = MOST_TERMS,
        "additionalProperties" = {"type": "string", "maxLength": 63}
    ))]
    pub match_labels: Option<BTreeMap<String, String>>,

    /// What else must hold for the namespace's labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MOST_TERMS))]
    pub match_expressions: Option<Vec<MatchExpression>>,
}

/// A condition on one label, as in every label selector of Kubernetes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(
    "self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0")
    .message("In and NotIn need values, Exists and DoesNotExist take none"))]
pub struct MatchExpression {
    /// The label's key.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How its value is compared.
    pub operator: SelectorOperator,
    /// What it is compared with, for In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MOST_TERMS), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SelectorOperator {
    /// The label has one of the values.
    In,
    /// The label is missing, or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

schema_of_words!(
    SelectorOperator,
    "SelectorOperator",
    ["In", "NotIn", "Exists", "DoesNotExist"],
    "How the label is compared."
);
