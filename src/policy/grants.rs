//! What one namespace may pull, and with whose identity.

use std::sync::Arc;

use super::compile::{Compiled, Grant, Source};
use super::pattern::Repository;
use super::prefixes::Prefixes;
use super::{Action, Identity};
use crate::image::ecr::EcrHost;

/// What a namespace may pull from private registries.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Grants {
    /// All of them, with the controller's own identity: no policy limits it.
    #[default]
    All,
    /// What policies grant.
    Limited(Limited),
}

/// The grants of all policies that select a namespace.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limited {
    /// The policies that grant, for people; none where the namespace has no grants at all.
    pub(super) granting: Vec<String>,
    /// A policy that cannot be read and may have selected this namespace: nothing is granted then.
    pub(super) unreadable: Option<String>,
    /// What an image leads to that no grant covers.
    pub(super) action: Action,
    grants: Vec<Arc<Grant>>,
    /// By literal prefix, then by name of the policy, then as written.
    lines: Vec<Line>,
    prefixes: Prefixes,
    identities: Vec<Identity>,
}

/// One repository pattern of a grant.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    grant: usize,
    repository: Repository,
    /// Where the identity is found; `None` where the nodes pull by themselves.
    identity: Option<usize>,
    /// The place of the policy among those that grant.
    policy: usize,
    /// Grants of other identities that may be about the same registry.
    others: Vec<usize>,
}

/// A policy that wins over part of another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The policy that loses.
    pub loser: String,
    /// The policy that wins, the first by name.
    pub winner: String,
    /// What about, in a sentence for people.
    pub about: String,
}

/// Who pulls an image that is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Granted<'p> {
    /// The nodes, by themselves.
    ByNodes,
    /// An identity of ours, found by the key of the registry alone, or of the registry and that folder.
    By(&'p Identity, Option<&'p str>),
}

impl Limited {
    /// Grants nothing.
    pub(super) fn nothing(action: Action, unreadable: Option<String>) -> Self {
        Self {
            granting: Vec::new(),
            unreadable,
            action,
            grants: Vec::new(),
            lines: Vec::new(),
            prefixes: Prefixes::default(),
            identities: Vec::new(),
        }
    }

    /// The union of what policies grant, which come in the order of their names. A grant that the kubelet could not tell
    /// from an earlier policy's, because both would be found by one key, is left out and told as a conflict.
    pub(super) fn union(policies: &[&Compiled], action: Action) -> (Self, Vec<Conflict>) {
        let mut union = Self::nothing(action, None);
        let mut conflicts = Vec::new();
        for (place, policy) in policies.iter().enumerate() {
            union.granting.push(policy.name.clone());
            for grant in &policy.grants {
                union.add(grant, place, &mut conflicts);
            }
        }
        union.finish();
        conflicts.sort();
        conflicts.dedup();
        (union, conflicts)
    }

    /// Prepares for finding.
    fn finish(&mut self) {
        self.lines.sort_by(|one, two| {
            let literals = one.repository.literal().cmp(two.repository.literal());
            literals.then(one.policy.cmp(&two.policy))
        });
        let literals = self.lines.iter().map(|line| line.repository.prefix());
        self.prefixes = Prefixes::of_sorted(literals);
        let mut holders: Vec<(usize, usize)> = self
            .lines
            .iter()
            .filter_map(|line| Some((line.grant, line.identity?)))
            .collect();
        holders.sort_unstable();
        holders.dedup();
        for line in &mut self.lines {
            let (Some(own), false) = (line.identity, line.repository.folder().is_empty()) else {
                continue;
            };
            let others = holders.iter().filter(|(grant, identity)| {
                *identity != own && self.grants[*grant].overlaps(&self.grants[line.grant])
            });
            line.others = others.map(|(grant, _)| *grant).collect();
        }
    }

    fn add(&mut self, grant: &Arc<Grant>, policy: usize, conflicts: &mut Vec<Conflict>) {
        let identity = self.identity(&grant.source);
        let mut lines = Vec::new();
        for repository in &grant.repositories {
            let line = Line {
                grant: self.grants.len(),
                repository: repository.clone(),
                identity,
                policy,
                others: Vec::new(),
            };
            let rivals = self.lines.iter().filter(|other| {
                other.policy != policy
                    && other.identity != identity
                    && self.grants[other.grant].overlaps(grant)
                    && other.rivals(&line)
            });
            let rivals: Vec<&Line> = rivals.collect();
            // Where the nodes pull one of both, no key is needed, and the order decides.
            let needs_key = |rival: &&&Line| identity.is_some() && rival.identity.is_some();
            let decisive = rivals.iter().find(needs_key).or(rivals.first());
            conflicts.extend(decisive.map(|rival| self.conflict(&line, rival)));
            if !rivals.iter().any(|rival| needs_key(&rival)) {
                lines.push(line);
            }
        }
        self.grants.push(Arc::clone(grant));
        self.lines.extend(lines);
    }

    fn conflict(&self, loser: &Line, winner: &Line) -> Conflict {
        let (lost, won) = (loser.repository.text(), winner.repository.text());
        Conflict {
            loser: self.granting[loser.policy].clone(),
            winner: self.granting[winner.policy].clone(),
            about: match (loser.identity, winner.identity) {
                (Some(_), Some(_)) => {
                    format!(
                        "{lost:?} and {won:?} need one key in the pull Secret for two identities"
                    )
                }
                _ => format!(
                    "{lost:?} and {won:?} are equally long, and the nodes pull one of them by themselves"
                ),
            },
        }
    }

    fn identity(&mut self, source: &Source) -> Option<usize> {
        let identity = source.identity()?;
        let known = self.identities.iter().position(|known| *known == identity);
        Some(known.unwrap_or_else(|| {
            self.identities.push(identity);
            self.identities.len() - 1
        }))
    }

    /// Who pulls a repository; `None` when nobody may. Of the patterns that match, the longest literal prefix wins.
    pub(super) fn find(&self, host: &EcrHost<'_>, repository: &str) -> Option<Granted<'_>> {
        let lines = self.prefixes.of(repository).map(|place| &self.lines[place]);
        let mut lines = lines.filter(|line| {
            line.repository.matches(repository) && self.grants[line.grant].covers_registry(host)
        });
        Some(self.granted(host, lines.next()?))
    }

    /// Who pulls what an `auths` key stands for; `None` when no grant has that key any more.
    pub(super) fn of_key(&self, host: &EcrHost<'_>, folder: Option<&str>) -> Option<&Identity> {
        let on_host = self
            .lines
            .iter()
            .filter(|line| self.grants[line.grant].covers_registry(host));
        let mut on_host = on_host.map(|line| self.granted(host, line));
        on_host.find_map(|granted| match granted {
            Granted::By(identity, of) if of == folder => Some(identity),
            _ => None,
        })
    }

    /// The folders of a registry that have keys of their own, and who pulls what is in them; `None` is all of it.
    pub(super) fn folders_of(&self, host: &EcrHost<'_>) -> Vec<(Option<&str>, &Identity)> {
        let mut folders = Vec::new();
        for line in &self.lines {
            if !self.grants[line.grant].covers_registry(host) {
                continue;
            }
            if let Granted::By(identity, folder) = self.granted(host, line)
                && !folders.contains(&(folder, identity))
            {
                folders.push((folder, identity));
            }
        }
        folders.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.map_or(0, str::len)));
        folders
    }

    fn granted<'p>(&'p self, host: &EcrHost<'_>, line: &'p Line) -> Granted<'p> {
        let Some(identity) = line.identity else {
            return Granted::ByNodes;
        };
        let folder = line.repository.folder();
        // Two identities that share a host are told apart by path.
        let mut others = line.others.iter();
        let shares = others.any(|other| self.grants[*other].covers_registry(host));
        Granted::By(&self.identities[identity], shares.then_some(folder))
    }
}

#[cfg(test)]
impl Limited {
    /// As [`Self::find`], by a look at every line.
    pub(super) fn find_simply(&self, host: &EcrHost<'_>, repository: &str) -> Option<Granted<'_>> {
        let mut lines: Vec<&Line> = self.lines.iter().collect();
        lines.sort_by_key(|line| {
            let length = line.repository.literal().len();
            (std::cmp::Reverse(length), line.policy)
        });
        let line = lines.into_iter().find(|line| {
            line.repository.matches(repository) && self.grants[line.grant].covers_registry(host)
        })?;
        let Some(identity) = line.identity else {
            return Some(Granted::ByNodes);
        };
        let folder = line.repository.folder();
        let shares = !folder.is_empty()
            && self.lines.iter().any(|other| {
                other.identity.is_some_and(|other| other != identity)
                    && self.grants[other.grant].covers_registry(host)
            });
        Some(Granted::By(
            &self.identities[identity],
            shares.then_some(folder),
        ))
    }
}

impl Line {
    /// Whether both would be found by one key, or are equally long: then no rule but the order of names decides.
    fn rivals(&self, other: &Self) -> bool {
        if self.identity.is_some() && other.identity.is_some() {
            self.repository.folder() == other.repository.folder()
                || exact_beside_folder(&self.repository, &other.repository)
                || exact_beside_folder(&other.repository, &self.repository)
        } else {
            self.repository.literal() == other.repository.literal()
        }
    }
}

fn exact_beside_folder(exact: &Repository, other: &Repository) -> bool {
    let below = other.text().strip_prefix(exact.text());
    exact.is_exact() && below.is_some_and(|below| below.starts_with('/'))
}
