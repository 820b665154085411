//! Registries that nodes pull from by themselves.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::glob::{Glob, glob};
use crate::image::ecr::{EcrHost, SUFFIXES};

/// Private ECR registries that nodes already pull from (an instance profile, a kubelet credential provider): an
/// account id, or a host in which `*` stands for any run of characters within one dot-separated part.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct NativeRegistry(Pattern);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Pattern {
    Account(String),
    Host(Glob),
}

/// Why a text is no pattern for a native registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} matches no private ECR registry; write an account id of 12 digits, or a lower-case host such as \
     \"123456789012.dkr.ecr.eu-west-1.amazonaws.com\" in which * may stand for any part"
)]
pub struct InvalidNativeRegistry(String);

impl NativeRegistry {
    /// Whether the registry is among those that the pattern means.
    pub fn matches(&self, host: &EcrHost<'_>) -> bool {
        match &self.0 {
            Pattern::Account(account) => account == host.account,
            Pattern::Host(pattern) => pattern.matches(host.host, b'.'),
        }
    }
}

impl FromStr for NativeRegistry {
    type Err = InvalidNativeRegistry;

    fn from_str(text: &str) -> Result<Self, InvalidNativeRegistry> {
        if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self(Pattern::Account(text.to_owned())));
        }
        let can_match = if text.contains('*') {
            text.bytes()
                .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'*'))
                && SUFFIXES
                    .iter()
                    .any(|suffix| tail_can_match(text, suffix.name))
        } else {
            EcrHost::parse(text).is_some()
        };
        if can_match {
            Ok(Self(Pattern::Host(Glob::new(text))))
        } else {
            Err(InvalidNativeRegistry(text.to_owned()))
        }
    }
}

impl TryFrom<String> for NativeRegistry {
    type Error = InvalidNativeRegistry;

    fn try_from(text: String) -> Result<Self, InvalidNativeRegistry> {
        text.parse()
    }
}

impl fmt::Display for NativeRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Pattern::Account(account) => f.write_str(account),
            Pattern::Host(pattern) => f.write_str(pattern.text()),
        }
    }
}

/// Whether the last parts of a host pattern can be an ECR suffix, and the four parts before it (account, `dkr`,
/// `ecr`, region; three with `dkr-ecr`) are there.
fn tail_can_match(pattern: &str, suffix: &str) -> bool {
    let parts = pattern.split('.').count();
    let of_suffix = suffix.split('.').count();
    let Some(before) = parts.checked_sub(of_suffix) else {
        return false;
    };
    let tail = pattern.splitn(before + 1, '.').last().unwrap_or_default();
    let needed = if suffix.starts_with("on.") { 3 } else { 4 };
    before == needed && glob(tail, suffix, b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, host: &str) -> bool {
        pattern
            .parse::<NativeRegistry>()
            .unwrap()
            .matches(&EcrHost::parse(host).unwrap())
    }

    #[test]
    fn an_account_id_means_all_its_registries() {
        assert!(matches(
            "123456789012",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
        ));
        assert!(matches(
            "123456789012",
            "123456789012.dkr-ecr.us-east-1.on.aws"
        ));
        assert!(!matches(
            "123456789012",
            "210987654321.dkr.ecr.eu-west-1.amazonaws.com"
        ));
    }

    #[test]
    fn a_star_stands_for_any_run_within_one_part() {
        let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        for pattern in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "*.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.*.amazonaws.com",
            "1234*.dkr.ecr.eu-*-1.amazonaws.com",
            "*.dkr.*.*.amazonaws.*",
            "*2.dkr.ecr.e**1.amazonaws.com",
        ] {
            assert!(matches(pattern, host), "{pattern}");
        }
        for pattern in [
            "*.dkr.ecr.eu-west-2.amazonaws.com",
            "*.dkr.ecr-fips.*.amazonaws.com",
            "4*.dkr.ecr.*.amazonaws.com",
            "*.dkr.ecr.*.amazonaws.eu",
        ] {
            assert!(!matches(pattern, host), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_that_can_match_nothing_is_refused() {
        for pattern in [
            "",
            "*",
            "12345678901",
            "*.amazonaws.com",
            "*.dkr.ecr.eu-west-1.amazonaws.co",
            "*.DKR.ecr.eu-west-1.amazonaws.com",
            "*.dkr.ecr.eu-west-1.amazonaws.com:443",
            "*.dkr.ecr.eu-west-1.amazonaws.com/team",
            "*.*.dkr.ecr.eu-west-1.amazonaws.com",
            "public.ecr.aws",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
        ] {
            assert!(pattern.parse::<NativeRegistry>().is_err(), "{pattern}");
        }
        insta::assert_snapshot!(
            "*.amazonaws.com".parse::<NativeRegistry>().unwrap_err(),
            @r#""*.amazonaws.com" matches no private ECR registry; write an account id of 12 digits, or a lower-case host such as "123456789012.dkr.ecr.eu-west-1.amazonaws.com" in which * may stand for any part"#
        );
    }
}
