//! What is known of namespaces: who opted out of injection, which are being deleted, and which registries they pin.

mod pins;

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use serde::Deserialize;

use crate::attention::Attention;
use crate::watch::Mirror;
pub use pins::{Pins, REGISTRIES_ANNOTATION};

/// The annotation (on a Pod or a namespace) that switches injection off when its value is `false`.
pub const INJECT_ANNOTATION: &str = "ecr-admission.dev/inject";

/// The label of a namespace that takes it in or out, as the registration of the webhooks selects by it.
pub const ADMISSION_LABEL: &str = "ecr-admission.dev/admission";

/// Whether a namespace can have this name (an RFC 1123 label). An AdmissionReview that did not come from the API server
/// can name anything, and a name becomes part of a URL.
pub fn is_valid_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// Whether a Secret or a ServiceAccount can have this name (an RFC 1123 subdomain, apimachinery/pkg/util/validation).
pub fn is_subdomain(name: &str) -> bool {
    let label = |label: &str| {
        let ends = |byte: Option<u8>| {
            byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        };
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        ends(label.bytes().next()) && ends(label.bytes().last()) && label.bytes().all(inner)
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// What a metadata-only watch shows of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Whether Pods get our Secret injected: not when [`INJECT_ANNOTATION`] says `false`.
    pub inject: bool,
    /// Whether it has a deletionTimestamp: nothing can be created in it any more.
    pub terminating: bool,
    /// What [`ADMISSION_LABEL`] says.
    pub label: Label,
    /// The registries of [`REGISTRIES_ANNOTATION`].
    pub pins: Pins,
}

/// The value of [`ADMISSION_LABEL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Label {
    /// Nothing that counts.
    #[default]
    Unset,
    /// `enabled`
    Enabled,
    /// `disabled`
    Disabled,
}

impl Label {
    /// What a value says.
    pub fn of(value: Option<&str>) -> Self {
        match value {
            Some("enabled") => Self::Enabled,
            Some("disabled") => Self::Disabled,
            _ => Self::Unset,
        }
    }
}

/// Which namespaces are selected, by [`ADMISSION_LABEL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum NamespaceMode {
    /// All but those that say `disabled`.
    #[default]
    OptOut,
    /// Those that say `enabled`.
    OptIn,
}

impl Default for Namespace {
    fn default() -> Self {
        Self {
            inject: true,
            terminating: false,
            label: Label::Unset,
            pins: Pins::default(),
        }
    }
}

/// A mirror of the cluster's namespaces that keeps only those that differ from the [`Namespace::default`].
#[derive(Debug, Default)]
pub struct NamespaceIndex {
    remarkable: RwLock<HashMap<Box<str>, Namespace>>,
    attention: Attention,
}

impl NamespaceIndex {
    /// What is known of a namespace; one never heard of is an ordinary one.
    pub fn get(&self, name: &str) -> Namespace {
        let remarkable = self
            .remarkable
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        remarkable.get(name).cloned().unwrap_or_default()
    }

    /// The namespaces that pin registries.
    pub fn pinning(&self) -> Vec<Box<str>> {
        let remarkable = self
            .remarkable
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let pinning = remarkable
            .iter()
            .filter(|(_, namespace)| !namespace.pins.is_empty());
        pinning.map(|(name, _)| name.clone()).collect()
    }

    /// What this draws attention to: namespaces whose pins have changed.
    pub fn attention(&self) -> &Attention {
        &self.attention
    }

    fn change<T>(&self, change: impl FnOnce(&mut HashMap<Box<str>, Namespace>) -> T) -> T {
        let mut remarkable = self
            .remarkable
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut remarkable)
    }
}

impl Mirror<Namespace> for NamespaceIndex {
    fn apply(&self, key: &str, object: Namespace) {
        let pins = object.pins.clone();
        let before = self.change(|remarkable| {
            if object == Namespace::default() {
                remarkable.remove(key)
            } else {
                remarkable.insert(key.into(), object)
            }
        });
        let before = before.unwrap_or_default().pins;
        if !pins.is_empty() && pins != before {
            self.attention.draw(key);
        }
    }

    fn delete(&self, key: &str, _resource_version: &str) {
        self.change(|remarkable| remarkable.remove(key));
    }

    fn listed(&self, keys: &HashSet<String>, _resource_version: &str) {
        self.change(|remarkable| remarkable.retain(|name, _| keys.contains(&**name)));
        self.attention.listed();
    }

    fn heard(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_name_is_a_dns_label() {
        for name in ["a", "team-a", "0", &"a".repeat(63)] {
            assert!(is_valid_name(name), "{name}");
        }
        for name in [
            "",
            "A",
            "a.b",
            "a/b",
            "..",
            "-a",
            "a-",
            "a?b",
            "ä",
            &"a".repeat(64),
        ] {
            assert!(!is_valid_name(name), "{name}");
        }
    }

    #[test]
    fn an_opted_out_namespace_is_forgotten_when_it_opts_in_or_goes() {
        let index = NamespaceIndex::default();
        let out = Namespace {
            inject: false,
            ..Namespace::default()
        };
        for name in ["a", "b", "c"] {
            index.apply(name, out.clone());
        }
        index.apply("a", Namespace::default());
        index.delete("b", "9");
        assert_eq!(index.get("a"), Namespace::default());
        assert_eq!(index.get("b"), Namespace::default());
        assert_eq!(index.get("c"), out);
        index.listed(&HashSet::from(["d".to_owned()]), "10");
        assert_eq!(index.get("c"), Namespace::default());
    }

    #[test]
    fn pins_draw_attention_when_they_change_and_not_when_something_else_does() {
        let index = NamespaceIndex::default();
        let pinning = |list: &str, inject| Namespace {
            inject,
            pins: Pins::of(list),
            ..Namespace::default()
        };
        let drawn = || index.attention().take().namespaces.len();
        index.apply("a", pinning("one.example", true));
        assert_eq!(drawn(), 1);
        index.apply("a", pinning("one.example", false));
        assert_eq!(drawn(), 0);
        index.apply("a", pinning("one.example,two.example", false));
        assert_eq!((drawn(), index.pinning().len()), (1, 1));
        index.apply("a", Namespace::default());
        assert_eq!((drawn(), index.pinning().len()), (0, 0));
    }
}
