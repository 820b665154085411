//! What is known of namespaces: who opted out of injection, which are being deleted, and which registries they pin.

mod index;
mod pins;

use std::sync::Arc;

use serde::Deserialize;

use crate::policy::Labels;
pub use index::NamespaceIndex;
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
    /// All of its labels, for policies that select by them.
    pub labels: Arc<Labels>,
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
            labels: Arc::default(),
        }
    }
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
}
