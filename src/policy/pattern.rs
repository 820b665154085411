//! Patterns in policies: registries, repositories, images, names.

use std::sync::Arc;

use super::glob::{Glob, glob};
use super::prefixes::Prefix;
use crate::image::ecr::{EcrHost, is_account};
use crate::image::reference::Reference;

/// Private registries: all, those of an account, or those whose host matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Registry {
    Any,
    Account(Box<str>),
    /// A host in which `*` stands for the account or a part of the region, never for the rest.
    Host(Glob),
}

impl Registry {
    /// Takes a text that the syntax of the schema allows.
    pub(super) fn new(text: &str) -> Self {
        match text {
            "*" => Self::Any,
            _ if is_account(text) => Self::Account(text.into()),
            _ => Self::Host(Glob::new(text)),
        }
    }

    pub(super) fn matches(&self, host: &EcrHost<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Account(account) => **account == *host.account,
            Self::Host(pattern) => pattern.matches(host.host, b'.'),
        }
    }

    /// Whether some registry may be meant by both; never false when there is one.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Account(one), Self::Account(two)) => one == two,
            (Self::Account(account), Self::Host(host))
            | (Self::Host(host), Self::Account(account)) => {
                host.text().starts_with('*') || host.text().starts_with(&**account)
            }
            (Self::Host(one), Self::Host(two)) => hosts_overlap(one.text(), two.text()),
        }
    }
}

fn hosts_overlap(one: &str, two: &str) -> bool {
    let parts = |host: &str| host.split('.').count();
    let both = one.split('.').zip(two.split('.'));
    let mut both = both.map(|(one, two)| {
        // Two starred parts may well have a region in common.
        one == two
            || match (one.contains('*'), two.contains('*')) {
                (true, true) => true,
                (true, false) => glob(one, two, b'.'),
                (false, true) => glob(two, one, b'.'),
                (false, false) => false,
            }
    });
    parts(one) == parts(two) && both.all(|overlap| overlap)
}

/// Repositories: a path in which `*` stands for any run of characters within a segment, and `**` as the last segment for
/// everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repository {
    text: Arc<str>,
    /// The length of what stands before the first star.
    literal: usize,
}

impl Repository {
    /// Takes a text that the syntax of the schema allows.
    pub(super) fn new(text: &str) -> Self {
        Self {
            literal: text.find('*').unwrap_or(text.len()),
            text: text.into(),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The common forms by a look at what stands behind the literal prefix, all others in full.
    pub(super) fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(self.literal()) else {
            return false;
        };
        match &self.text[self.literal..] {
            "" => rest.is_empty(),
            "*" => !rest.contains('/'),
            "**" if self.literal == self.folder().len() => !rest.is_empty(),
            _ => self.matches_in_full(path),
        }
    }

    /// As [`Self::matches`], without the short ways in front.
    fn matches_in_full(&self, path: &str) -> bool {
        let Some(head) = self.text.strip_suffix("**") else {
            return glob(&self.text, path, b'/');
        };
        let folders = head.bytes().filter(|byte| *byte == b'/').count();
        let mut end = 0;
        for _ in 0..folders {
            match path[end..].find('/') {
                Some(at) => end += at + 1,
                None => return false,
            }
        }
        end < path.len() && glob(head, &path[..end], b'/')
    }

    /// What every path that matches begins with.
    pub(super) fn literal(&self) -> &str {
        &self.text[..self.literal]
    }

    /// The same, to be kept beside it.
    pub(super) fn prefix(&self) -> Prefix {
        Prefix::new(&self.text, self.literal)
    }

    /// Whether it means exactly one repository.
    pub(super) fn is_exact(&self) -> bool {
        self.literal == self.text.len()
    }

    /// The folder in which all paths that match lie, with its slash; empty for the registry itself.
    pub(super) fn folder(&self) -> &str {
        let literal = self.literal();
        literal.rfind('/').map_or("", |slash| &literal[..=slash])
    }
}

/// Images by registry and repository, whatever their version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImagePattern {
    registry: Glob,
    repository: Repository,
}

impl ImagePattern {
    /// Takes a text that the syntax of the schema allows.
    pub(super) fn new(text: &str) -> Self {
        let (registry, repository) = text.split_once('/').unwrap_or((text, "**"));
        Self {
            registry: Glob::new(registry),
            repository: Repository::new(repository),
        }
    }

    pub(super) fn matches(&self, image: &Reference<'_>) -> bool {
        self.registry.matches(image.domain(), b'.') && self.repository.matches(&image.path())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_short_ways_of_a_pattern_match_what_the_long_one_does(
            folders in "([ab*]{1,2}/){0,2}",
            last in "([ab*]{0,2}[ab]|\\*|\\*\\*)",
            path in "[ab]{0,2}(/[ab]{0,2}){0,3}",
        ) {
            let text = format!("{folders}{last}");
            prop_assume!(!text.trim_end_matches("**").contains("**"));
            let pattern = Repository::new(&text);
            prop_assert_eq!(pattern.matches(&path), pattern.matches_in_full(&path), "{} {}", text, path);
        }
    }

    #[test]
    fn a_star_stays_in_its_segment_and_two_stars_go_below() {
        for (pattern, path, matches) in [
            ("**", "a", true),
            ("**", "a/b/c", true),
            ("*", "a", true),
            ("*", "a/b", false),
            ("team/*", "team/app", true),
            ("team/*", "team/app/db", false),
            ("team/*", "team-b/app", false),
            ("team/*", "team", false),
            ("team/**", "team/app/db", true),
            ("team/**", "team", false),
            ("team/**", "team-b/app", false),
            ("team/app", "team/app", true),
            ("team/app", "team/app2", false),
            ("*/base/**", "x/base/y/z", true),
            ("*/base/**", "x/y/base/z", false),
            ("team/app-*-x", "team/app-1-x", true),
            ("team/app-*-x", "team/app-1-y", false),
        ] {
            assert_eq!(
                Repository::new(pattern).matches(path),
                matches,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn the_folder_of_a_pattern_ends_at_a_slash() {
        for (pattern, literal, folder) in [
            ("**", "", ""),
            ("team/*", "team/", "team/"),
            ("team", "team", ""),
            ("team/app", "team/app", "team/"),
            ("team/a*", "team/a", "team/"),
            ("a/b*/c", "a/b", "a/"),
        ] {
            let pattern = Repository::new(pattern);
            assert_eq!((pattern.literal(), pattern.folder()), (literal, folder));
        }
    }

    #[test]
    fn patterns_that_can_mean_one_registry_overlap() {
        let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        for (one, two, overlaps) in [
            ("*", host, true),
            ("123456789012", host, true),
            ("123456789012", "*.dkr.ecr.eu-west-1.amazonaws.com", true),
            ("210987654321", host, false),
            ("123456789012.dkr.ecr.eu-*.amazonaws.com", host, true),
            ("123456789012.dkr.ecr.us-*.amazonaws.com", host, false),
            (
                "*.dkr.ecr.us-*.amazonaws.com",
                "*.dkr.ecr.*-1.amazonaws.com",
                true,
            ),
            ("*.dkr-ecr.*.on.aws", host, false),
            ("*.dkr.ecr-fips.*.amazonaws.com", host, false),
            (
                "*.dkr.ecr.*.amazonaws.com",
                "*.dkr.ecr.*.amazonaws.com.cn",
                false,
            ),
        ] {
            let (one, two) = (Registry::new(one), Registry::new(two));
            assert_eq!(one.overlaps(&two), overlaps, "{one:?} {two:?}");
            assert_eq!(two.overlaps(&one), overlaps, "{two:?} {one:?}");
        }
    }
}
