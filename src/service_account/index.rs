//! Which ServiceAccounts name our Secret: a mirror that keeps a hundred bytes of each that is looked after.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;

use super::{Goal, ServiceAccount};
use crate::watch::Mirror;

/// Which ServiceAccounts of a namespace are looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// All of them.
    All,
    /// Those of these names.
    Only(BTreeSet<String>),
}

impl Names {
    fn contain(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(names) => names.contains(name),
        }
    }

    /// The one name that there is, which the API server can then select by.
    pub fn only_one(&self) -> Option<&str> {
        match self {
            Self::Only(names) if names.len() == 1 => names.iter().next().map(String::as_str),
            _ => None,
        }
    }
}

/// The ServiceAccounts that are looked after, by `namespace/name`.
#[derive(Debug)]
pub struct ServiceAccountIndex {
    secret: String,
    names: Names,
    known: RwLock<HashMap<Box<str>, Seen>>,
    /// Wakes whoever acts on it.
    changed: Arc<Notify>,
}

/// What is kept of one.
#[derive(Debug)]
struct Seen {
    uid: Box<str>,
    /// The resourceVersion, where it is a number (KEP-5504).
    version: Option<u128>,
    named: bool,
}

/// One that is not as wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Astray {
    /// `namespace/name`.
    pub(super) key: Box<str>,
    pub(super) uid: Box<str>,
    pub(super) version: Option<u128>,
    pub(super) goal: Goal,
}

impl ServiceAccountIndex {
    /// An empty index of the ServiceAccounts called so, and of whether they name `secret`.
    pub fn new(secret: &str, names: Names) -> Self {
        Self {
            secret: secret.to_owned(),
            names,
            known: RwLock::default(),
            changed: Arc::default(),
        }
    }

    /// The Secret's name.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// Returns when something may have changed since the last call.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Takes in what a read or a write of our own returned; an older event of the watch never undoes it.
    pub(super) fn saw(&self, key: &str, account: &ServiceAccount) {
        let name = key.split_once('/').map_or(key, |(_, name)| name);
        if !self.names.contain(name) {
            return;
        }
        let version = account.resource_version.parse().ok();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.get(key).is_some_and(|seen| seen.version > version) {
            return;
        }
        let seen = Seen {
            uid: account.uid.as_str().into(),
            version,
            named: account.names(&self.secret),
        };
        known.insert(key.into(), seen);
    }

    /// Takes in that a read of our own did not find it.
    pub(super) fn saw_none(&self, key: &str) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.remove(key);
    }

    /// Those that are not as `goal` says of their namespace, in no order.
    pub(super) fn astray(&self, goal: impl Fn(&str) -> Option<Goal>) -> Vec<Astray> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let astray = known.iter().filter_map(|(key, seen)| {
            let goal = goal(key.split_once('/')?.0)?;
            let named = goal == Goal::Named;
            (seen.named != named).then(|| Astray {
                key: key.clone(),
                uid: seen.uid.clone(),
                version: seen.version,
                goal,
            })
        });
        astray.collect()
    }

    /// How many are looked after.
    pub fn len(&self) -> usize {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Mirror<ServiceAccount> for ServiceAccountIndex {
    fn apply(&self, key: &str, object: ServiceAccount) {
        self.saw(key, &object);
        self.changed.notify_one();
    }

    fn delete(&self, key: &str, resource_version: &str) {
        let version = resource_version.parse().ok();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let made_anew = known.get(key).is_some_and(|seen| seen.version > version);
        if !made_anew {
            known.remove(key);
        }
    }

    fn listed(&self, keys: &HashSet<String>, resource_version: &str) {
        let version = resource_version.parse().ok();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|key, seen| keys.contains(&**key) || seen.version > version);
        known.shrink_to_fit();
        self.changed.notify_one();
    }

    fn heard(&self) {}
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account(version: &str, named: bool) -> ServiceAccount {
        let list = named.then(|| json!({"name": "ours"}));
        ServiceAccount {
            uid: "u".to_owned(),
            resource_version: version.to_owned(),
            pull_secrets: list.into_iter().collect(),
        }
    }

    fn keys(index: &ServiceAccountIndex, goal: Goal) -> Vec<String> {
        let astray = index.astray(|_| Some(goal)).into_iter();
        let mut keys: Vec<String> = astray.map(|astray| astray.key.into()).collect();
        keys.sort();
        keys
    }

    #[test]
    fn only_the_chosen_names_are_kept() {
        let names = Names::Only(BTreeSet::from(["default".to_owned()]));
        assert_eq!(names.only_one(), Some("default"));
        let index = ServiceAccountIndex::new("ours", names);
        index.apply("a/default", account("1", false));
        index.apply("a/builder", account("2", false));
        index.apply("b/default", account("3", true));
        assert_eq!(index.len(), 2);
        assert_eq!(keys(&index, Goal::Named), ["a/default"]);
        assert_eq!(keys(&index, Goal::Unnamed), ["b/default"]);
        let in_b = |namespace: &str| (namespace == "b").then_some(Goal::Named);
        assert!(index.astray(in_b).is_empty());
    }

    #[test]
    fn an_older_event_undoes_nothing_and_a_list_forgets_what_is_gone() {
        let index = ServiceAccountIndex::new("ours", Names::All);
        index.saw("a/x", &account("9", true));
        index.apply("a/x", account("8", false));
        assert!(keys(&index, Goal::Named).is_empty());
        index.delete("a/x", "8");
        assert_eq!(index.len(), 1);
        index.apply("a/y", account("3", false));
        index.listed(&HashSet::new(), "5");
        assert_eq!(index.len(), 1);
        index.delete("a/x", "10");
        assert!(index.is_empty());
    }
}
