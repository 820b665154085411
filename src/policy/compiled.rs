//! A policy as decisions need it: plain data, made once from configuration.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::combined::Combined;
use super::native::NativeRegistry;

/// What is allowed in a namespace and what happens otherwise: the settings, and what `EcrPolicies` add. The default
/// enforces full references on every ECR registry and admits when something of ours fails.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// What happens to an image that breaks a rule.
    pub action: Action,
    /// What happens to a Pod for which no usable credential can be had.
    pub on_failure: OnFailure,
    /// What happens to a Pod when this program fails (not the Pod, not AWS).
    pub on_internal_error: OnFailure,
    /// A company's own registries whose names look like ECR. Lower-case hosts, without or with a port; one without
    /// stands for every port.
    pub trusted_hosts: BTreeSet<String>,
    /// Private ECR registries that nodes pull from by themselves: no Secret, but references are judged.
    pub native_registries: Vec<NativeRegistry>,
    /// The only AWS accounts whose registries may be used; `None` allows all.
    pub allowed_accounts: Option<BTreeSet<String>>,
    /// The only regions whose registries may be used; `None` allows all.
    pub allowed_regions: Option<BTreeSet<String>>,
    /// What namespaces get that no policy with grants selects; `None` is the controller's identity, until a policy names
    /// a role.
    pub default_grant: Option<DefaultGrant>,
    /// What the cluster is called in AWS: in the names and tags of sessions. Empty where it has no name.
    pub cluster_name: Box<str>,
    /// What the policies that select the namespace add.
    pub combined: Combined,
}

impl Policy {
    /// Whether any rule can refuse an image. While one can, a Pod that cannot be read is refused too: otherwise an
    /// unreadable Pod would be a way around the policy.
    pub fn is_enforcing(&self) -> bool {
        self.action == Action::Enforce || self.combined.is_enforcing()
    }
}

/// What a broken rule leads to.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Action {
    /// Recorded only: log and metric.
    Audit,
    /// Allowed, with a warning to the caller.
    Warn,
    /// Refused.
    #[default]
    Enforce,
}

impl Action {
    /// The name in settings and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audit => "Audit",
            Self::Warn => "Warn",
            Self::Enforce => "Enforce",
        }
    }
}

/// What a failure that is not the Pod's fault leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum OnFailure {
    /// The Pod is allowed, with a warning.
    #[default]
    Admit,
    /// The Pod is refused with the reason.
    Deny,
}

impl OnFailure {
    /// The name in settings and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admit => "Admit",
            Self::Deny => "Deny",
        }
    }
}

/// What a namespace gets that no policy with grants selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum DefaultGrant {
    /// Every private ECR registry, with the controller's own identity.
    Controller,
    /// Nothing.
    None,
}

impl DefaultGrant {
    /// The name in settings and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Controller => "Controller",
            Self::None => "None",
        }
    }
}

impl FromStr for DefaultGrant {
    type Err = UnknownWord;

    /// Reads `Controller` or `None` in any case.
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        [Self::Controller, Self::None]
            .into_iter()
            .find(|choice| word.eq_ignore_ascii_case(choice.name()))
            .ok_or_else(|| UnknownWord {
                given: word.to_owned(),
                allowed: "Controller, None",
            })
    }
}

/// A word in a setting that is none of those allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not one of {allowed}")]
pub struct UnknownWord {
    given: String,
    allowed: &'static str,
}

impl FromStr for Action {
    type Err = UnknownWord;

    /// Reads `Enforce`, `Warn` or `Audit` in any case.
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        [Self::Audit, Self::Warn, Self::Enforce]
            .into_iter()
            .find(|action| word.eq_ignore_ascii_case(action.name()))
            .ok_or_else(|| UnknownWord {
                given: word.to_owned(),
                allowed: "Enforce, Warn, Audit",
            })
    }
}

impl FromStr for OnFailure {
    type Err = UnknownWord;

    /// Reads `Admit` or `Deny` in any case.
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        [Self::Admit, Self::Deny]
            .into_iter()
            .find(|choice| word.eq_ignore_ascii_case(choice.name()))
            .ok_or_else(|| UnknownWord {
                given: word.to_owned(),
                allowed: "Admit, Deny",
            })
    }
}

macro_rules! spelled_by_name {
    ($($word:ty),+) => {$(
        impl TryFrom<String> for $word {
            type Error = UnknownWord;

            fn try_from(word: String) -> Result<Self, UnknownWord> {
                word.parse()
            }
        }

        impl From<$word> for &'static str {
            fn from(word: $word) -> Self {
                word.name()
            }
        }

        impl fmt::Display for $word {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    )+};
}

spelled_by_name!(Action, OnFailure, DefaultGrant);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_enforces_references_and_admits_on_failure() {
        let policy = Policy::default();
        assert!(policy.is_enforcing());
        assert_eq!(policy.on_failure, OnFailure::Admit);
        assert_eq!(policy.on_internal_error, OnFailure::Admit);
    }

    #[test]
    fn words_are_read_in_any_case_and_written_as_kubernetes_writes_them() {
        assert_eq!("enforce".parse(), Ok(Action::Enforce));
        assert_eq!("Deny".parse(), Ok(OnFailure::Deny));
        let action: Action = serde_json::from_str("\"WARN\"").unwrap();
        assert_eq!(serde_json::to_string(&action).unwrap(), "\"Warn\"");
        insta::assert_snapshot!("block".parse::<Action>().unwrap_err(), @r#""block" is not one of Enforce, Warn, Audit"#);
        insta::assert_snapshot!(
            serde_json::from_str::<OnFailure>("\"fail\"").unwrap_err(),
            @r#""fail" is not one of Admit, Deny"#
        );
    }
}
