//! One policy as it was read.

use serde::Deserialize;
use serde_json::Value;

use super::PolicyObject;
use crate::policy::spec::{EcrPolicySpec, NamespaceSelector};
use crate::policy::{Compiled, Invalid, PolicyVersion, Unreadable, compile};

/// The most mistakes that are told at once.
const MOST_TOLD: usize = 10;

/// One policy, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Its spec is left out: `spec` has it.
    pub(super) object: PolicyObject,
    /// The spec that was read, as text: schemas change under objects, so that neither version nor generation says
    /// whether it is another one.
    spec: Box<str>,
    pub(super) reading: Reading,
    /// It was deleted, unless it is the definition that goes.
    pub(super) leaving: bool,
}

/// What came of reading a policy.
#[derive(Clone, Debug)]
pub(super) enum Reading {
    /// It is in force.
    Valid(Box<Compiled>),
    /// It is not, and its namespaces are granted nothing.
    Lost {
        /// What is known of whom it is about.
        unreadable: Box<Unreadable>,
        /// Why, in one word.
        reason: &'static str,
        /// Why, in a sentence.
        message: String,
    },
}

impl Entry {
    /// Reads an object. `before` is what was known under its name.
    pub(super) fn read(name: &str, mut object: PolicyObject, before: Option<&Self>) -> Self {
        let spec = object.spec.take();
        let text = spec.to_string().into_boxed_str();
        let version = PolicyVersion {
            uid: object.uid.clone(),
            generation: object.generation,
        };
        let known = before.filter(|before| before.spec == text && before.is_of(&version));
        let reading = match known {
            Some(known) => known.reading.clone(),
            None => Reading::of(name, &spec, version, before.map(|before| &before.reading)),
        };
        Self {
            object,
            spec: text,
            reading,
            leaving: false,
        }
    }

    fn is_of(&self, version: &PolicyVersion) -> bool {
        self.object.uid == version.uid && self.object.generation == version.generation
    }

    /// It was deleted in that version, or before.
    pub(super) fn leave(&mut self, resource_version: &str) {
        resource_version.clone_into(&mut self.object.resource_version);
        self.leaving = true;
    }

    /// Whether both say the same, in one version of one object.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let (one, two) = (&self.object, &other.object);
        self.spec == other.spec && (&one.uid, one.generation) == (&two.uid, two.generation)
    }

    /// The version, where it is a number (KEP-5504).
    pub(super) fn version(&self) -> Option<u128> {
        self.object.resource_version.parse().ok()
    }
}

impl Reading {
    fn of(name: &str, spec: &Value, version: PolicyVersion, before: Option<&Self>) -> Self {
        let unread = match read_spec(name, spec, version) {
            Ok(compiled) => return Self::Valid(Box::new(compiled)),
            Err(unread) => unread,
        };
        let unreadable = match before {
            None => unread.unreadable(None),
            Some(Self::Valid(last)) => unread.unreadable(Some(last)),
            Some(Self::Lost { unreadable, .. }) => unread.unreadable(None).or(unreadable),
        };
        Self::Lost {
            unreadable: Box::new(unreadable),
            reason: unread.reason,
            message: unread.sentence(),
        }
    }
}

/// What is left of a policy that cannot be read.
#[derive(Clone, Debug)]
pub struct Unread {
    name: String,
    version: PolicyVersion,
    selector: Option<NamespaceSelector>,
    /// In one word.
    reason: &'static str,
    /// What is wrong with it, each in a sentence.
    pub faults: Vec<String>,
}

/// Reads the spec of a policy, as that version of an object in a cluster holds it.
///
/// # Errors
/// [`Unread`]: it is in force as one that grants nothing.
pub fn read_spec(
    name: &str,
    spec: &Value,
    version: PolicyVersion,
) -> Result<Compiled, Box<Unread>> {
    let (reason, faults) = match EcrPolicySpec::deserialize(spec) {
        Err(error) => ("Undecodable", vec![format!("spec: {error}")]),
        Ok(spec) => match compile(name, &spec) {
            Ok(compiled) => return Ok(compiled.of_version(version)),
            Err(faults) => ("Invalid", faults.iter().map(Invalid::to_string).collect()),
        },
    };
    Err(Box::new(Unread {
        name: name.to_owned(),
        version,
        selector: selector(spec),
        reason,
        faults,
    }))
}

impl Unread {
    /// As it is in force; `last` is what it was when it could be read.
    pub fn unreadable(&self, last: Option<&Compiled>) -> Unreadable {
        let unreadable = Unreadable::new(&self.name, self.selector.as_ref(), last);
        unreadable.of_version(self.version.clone())
    }

    fn sentence(&self) -> String {
        let mut told: Vec<&str> = self.faults.iter().map(String::as_str).collect();
        let more = format!("and {} more", told.len().saturating_sub(MOST_TOLD));
        if told.len() > MOST_TOLD {
            told.truncate(MOST_TOLD);
            told.push(&more);
        }
        told.join("; ")
    }
}

/// Whom a policy is about of which the rest cannot be read.
fn selector(spec: &Value) -> Option<NamespaceSelector> {
    match spec.as_object()?.get("namespaces") {
        None | Some(Value::Null) => Some(NamespaceSelector::default()),
        Some(given) => NamespaceSelector::deserialize(given).ok(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::policy::Labels;

    fn entry(spec: &Value, before: Option<&Entry>) -> Entry {
        let object = PolicyObject {
            spec: spec.clone(),
            ..PolicyObject::default()
        };
        Entry::read("p", object, before)
    }

    fn shuts_out(entry: &Entry) -> Vec<&'static str> {
        let Reading::Lost { unreadable, .. } = &entry.reading else {
            panic!("{entry:?}");
        };
        let mut names = vec!["a", "b", "c"];
        names.retain(|name| unreadable.selects(name, &Labels::new()));
        names
    }

    fn message(entry: &Entry) -> &str {
        match &entry.reading {
            Reading::Lost { message, .. } => message,
            Reading::Valid(_) => panic!("{entry:?}"),
        }
    }

    #[test]
    fn a_policy_that_is_lost_is_about_whom_it_says_else_about_whom_it_last_said() {
        let valid = entry(
            &json!({"namespaces": {"names": ["a"]}, "onFailure": "Deny"}),
            None,
        );
        assert!(matches!(valid.reading, Reading::Valid(_)));
        let newer = json!({"namespaces": {"names": ["b"]}, "onFailure": "Deny", "later": 1});
        let readable = entry(&newer, Some(&valid));
        assert_eq!(shuts_out(&readable), ["b"]);
        assert!(message(&readable).contains("unknown field `later`"));
        // By what is known, however often it gets worse.
        let unreadable = json!({"namespaces": {"ages": [1]}, "onFailure": "Deny"});
        assert_eq!(shuts_out(&entry(&unreadable, Some(&valid))), ["a"]);
        let again = entry(&unreadable, Some(&readable));
        assert_eq!(shuts_out(&again), ["b"]);
        assert_eq!(shuts_out(&entry(&json!("text"), Some(&again))), ["b"]);
        // Nobody knows.
        assert!(shuts_out(&entry(&unreadable, None)).is_empty());
        assert!(shuts_out(&entry(&Value::Null, None)).is_empty());
    }

    #[test]
    fn without_namespaces_it_is_about_all_of_them_and_every_mistake_is_told() {
        let invalid = json!({"grants": [{"registries": ["1"], "repositories": ["A"]}]});
        let invalid = entry(&invalid, None);
        assert_eq!(shuts_out(&invalid), ["a", "b", "c"]);
        let told = message(&invalid);
        assert!(
            told.contains("spec.grants[0].registries[0]")
                && told.contains("; spec.grants[0].repositories[0]"),
            "{told}"
        );
    }

    #[test]
    fn what_was_read_once_is_not_read_again() {
        let spec = json!({"onFailure": "Deny"});
        let first = entry(&spec, None);
        let second = entry(&spec, Some(&first));
        assert!(first.says_the_same(&second));
        assert!(!first.says_the_same(&entry(&json!({"onFailure": "Admit"}), None)));
    }
}
