//! Which namespaces a policy selects.

use std::collections::BTreeMap;

use super::{Faults, Path, syntax};
use crate::policy::glob::any_name;
use crate::policy::spec::{MOST_TERMS, MatchExpression, NamespaceSelector, SelectorOperator};

/// A namespace's labels. The one that the API server puts on every namespace, its name, may be missing: it is known.
pub type Labels = BTreeMap<String, String>;

/// The label that the API server puts on every namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Selects namespaces: what is empty selects all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::policy) struct Selector {
    names: Vec<String>,
    labels: Labels,
    expressions: Vec<MatchExpression>,
}

impl Selector {
    pub(super) fn compile(
        given: Option<&NamespaceSelector>,
        at: &Path,
        faults: &mut Faults,
    ) -> Self {
        let Some(given) = given else {
            return Self::default();
        };
        if let Some(names) = &given.names {
            faults.list(names, 1, MOST_TERMS, &at.field("names"), |name| {
                let fits = syntax::is_namespace_pattern(name);
                (!fits).then(|| {
                    "can match no namespace: use lower-case letters, digits, - and *".to_owned()
                })
            });
        }
        if let Some(labels) = &given.match_labels {
            check_labels(labels, &at.field("matchLabels"), faults);
        }
        if let Some(expressions) = &given.match_expressions {
            check_expressions(expressions, &at.field("matchExpressions"), faults);
        }
        Self {
            names: given.names.clone().unwrap_or_default(),
            labels: given.match_labels.clone().unwrap_or_default(),
            expressions: given.match_expressions.clone().unwrap_or_default(),
        }
    }

    /// The selector of a policy of which the rest cannot be read.
    pub(in crate::policy) fn readable(given: &NamespaceSelector) -> Option<Self> {
        let mut faults = Faults::default();
        let selector = Self::compile(Some(given), &Path::root(), &mut faults);
        faults.0.is_empty().then_some(selector)
    }

    pub(in crate::policy) fn matches(&self, namespace: &str, labels: &Labels) -> bool {
        let value = |key: &str| match key {
            NAME_LABEL => Some(namespace),
            _ => labels.get(key).map(String::as_str),
        };
        let mut required = self.labels.iter();
        (self.names.is_empty() || any_name(&self.names, namespace))
            && required.all(|(key, wanted)| value(key) == Some(wanted))
            && self.expressions.iter().all(|expression| {
                let found = value(&expression.key);
                let among =
                    found.is_some_and(|found| expression.values.iter().any(|value| value == found));
                match expression.operator {
                    SelectorOperator::In => among,
                    SelectorOperator::NotIn => !among,
                    SelectorOperator::Exists => found.is_some(),
                    SelectorOperator::DoesNotExist => found.is_none(),
                }
            })
    }
}

fn check_labels(labels: &Labels, at: &Path, faults: &mut Faults) {
    if labels.is_empty() {
        faults.add(at, "is empty: leave it out, or say what it should hold");
    }
    faults.at_most(MOST_TERMS, labels.len(), at);
    for (key, value) in labels {
        if !syntax::is_label_key(key) {
            faults.add(at, format!("{key:?} can be no label's key"));
        }
        if !syntax::is_label_value(value) {
            faults.add(at, format!("{value:?} can be no label's value"));
        }
    }
}

fn check_expressions(expressions: &[MatchExpression], at: &Path, faults: &mut Faults) {
    if expressions.is_empty() {
        faults.add(at, "is empty: leave it out, or say what it should hold");
    }
    faults.at_most(MOST_TERMS, expressions.len(), at);
    for (index, expression) in expressions.iter().enumerate() {
        let at = at.item(index);
        if !syntax::is_label_key(&expression.key) {
            let message = format!("{:?} can be no label's key", expression.key);
            faults.add(&at.field("key"), message);
        }
        let takes_values = matches!(
            expression.operator,
            SelectorOperator::In | SelectorOperator::NotIn
        );
        if takes_values == expression.values.is_empty() {
            faults.add(
                &at,
                "In and NotIn need values, Exists and DoesNotExist take none",
            );
        }
        faults.list(
            &expression.values,
            0,
            MOST_TERMS,
            &at.field("values"),
            |value| (!syntax::is_label_value(value)).then(|| "can be no label's value".to_owned()),
        );
    }
}
