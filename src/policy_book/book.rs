//! The mirror of the cluster's policies, and what comes to be in force of it.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::entry::{Entry, Reading};
use super::metrics::Metrics;
use super::{Definition, PolicyObject, PolicyStore};
use crate::clock::Clock;
use crate::health::Condition;
use crate::policy::spec::NamespaceSelector;
use crate::policy::{Policy, PolicySet, Unreadable};
use crate::rulebook::Rulebook;
use crate::watch::Mirror;

/// How long changes are gathered: those of one `kubectl apply` come into force together.
const GATHER: Duration = Duration::from_millis(50);
/// The wait before somebody is asked again who gave no answer.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// The most policies that a sentence names.
const MOST_NAMED: usize = 5;
/// What stands for all policies until they have been listed.
const NOT_LISTED: &str = "(none listed yet)";

/// What a [`PolicyBook`] works with.
pub struct BookParts {
    /// What is in force.
    pub rulebook: Arc<Rulebook>,
    /// The settings underneath.
    pub base: Policy,
    /// Where policies are.
    pub store: Arc<dyn PolicyStore>,
    /// Time.
    pub clock: Clock,
    /// Counts.
    pub metrics: Metrics,
    /// Tells those who run us.
    pub condition: Condition,
}

/// The policies of the cluster: fed by a watch, in force by [`PolicyBook::run`].
pub struct PolicyBook {
    parts: BookParts,
    pages: Mutex<Pages>,
    listed: watch::Sender<bool>,
    changed: Notify,
    /// Wakes whoever tells of policies.
    news: Notify,
}

#[derive(Default)]
struct Pages {
    entries: BTreeMap<String, Entry>,
    /// Whether something is not in force yet.
    is_new: bool,
}

impl PolicyBook {
    /// An empty book. Until the policies have been listed, nothing is granted to any namespace: what nobody has read yet
    /// may be a restriction.
    pub fn new(parts: BookParts) -> Self {
        let everywhere = NamespaceSelector::default();
        let unread = Unreadable::new(NOT_LISTED, Some(&everywhere), None);
        let nothing = PolicySet::new(parts.base.clone(), Vec::new(), vec![unread]);
        parts.rulebook.replace(nothing);
        Self {
            parts,
            pages: Mutex::default(),
            listed: watch::Sender::new(false),
            changed: Notify::new(),
            news: Notify::new(),
        }
    }

    /// Waits until the policies have been listed once and are in force.
    pub async fn known(&self) {
        // The sender lives as long as this.
        let _ = self.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// Puts changes in force, for ever. Cancel-safe.
    pub async fn run(&self) {
        loop {
            if *self.listed.borrow() {
                self.publish();
            }
            if self.has_leaving() && !self.settle_deletions().await {
                sleep(ASK_AGAIN).await;
                continue;
            }
            self.changed.notified().await;
            sleep(GATHER).await;
        }
    }

    /// Takes in what a write of our own returned, as if the watch had delivered it.
    pub(super) fn saw(&self, name: &str, object: PolicyObject) {
        let mut pages = self.pages();
        let before = pages.entries.get(name);
        let version = object.resource_version.parse().ok();
        if before.is_some_and(|before| before.version() > version) {
            return;
        }
        let entry = Entry::read(name, object, before);
        let is_new = before.is_none_or(|before| before.leaving || !before.says_the_same(&entry));
        pages.entries.insert(name.to_owned(), entry);
        pages.is_new |= is_new;
        drop(pages);
        if is_new {
            self.changed.notify_one();
        }
        self.news.notify_one();
    }

    /// Returns when something may be told that was not at the last call.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// Looks at every policy that is not deleted, in the order of their names; at none while some are not in force yet.
    pub(super) fn each(&self, mut look: impl FnMut(&str, &Entry)) {
        let pages = self.pages();
        if pages.is_new || !*self.listed.borrow() {
            return;
        }
        let there = pages.entries.iter().filter(|(_, entry)| !entry.leaving);
        there.for_each(|(name, entry)| look(name, entry));
    }

    /// Whether the definition still stands behind what was deleted decides whether it was: with the definition go all
    /// policies, and nobody has said that nothing is to hold any more. `false` when nobody could tell.
    async fn settle_deletions(&self) -> bool {
        match self.parts.store.definition().await {
            Ok(Definition::Present) => {
                let mut pages = self.pages();
                pages.entries.retain(|_, entry| !entry.leaving);
                pages.is_new = true;
                drop(pages);
                self.publish();
                true
            }
            Ok(Definition::Leaving) => {
                let message = "the CustomResourceDefinition of EcrPolicy was deleted, and all policies with it; the last \
                    ones stay in force here until it is there again: ecr-admission crd | kubectl apply --server-side -f -";
                tracing::warn!(message);
                self.parts.condition.set(message);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "deleted policies stay in force until it is known why they were deleted");
                let message = format!("deleted policies stay in force meanwhile: {error}");
                self.parts.condition.set(message);
                false
            }
        }
    }

    /// Puts in force what is known, if that has changed.
    fn publish(&self) {
        let mut pages = self.pages();
        if !std::mem::take(&mut pages.is_new) {
            return;
        }
        let (mut policies, mut unreadable, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        for (name, entry) in &pages.entries {
            match &entry.reading {
                Reading::Valid(compiled) => policies.push((**compiled).clone()),
                Reading::Lost { unreadable: it, .. } => {
                    unreadable.push((**it).clone());
                    lost.push(name.clone());
                }
            }
        }
        // Before others may read on: two publishers would else put an older set in force last.
        let (valid, invalid) = (policies.len(), lost.len());
        let set = PolicySet::new(self.parts.base.clone(), policies, unreadable);
        self.parts.rulebook.replace(set);
        drop(pages);
        tracing::info!(valid, invalid, "policies are in force");
        self.parts
            .metrics
            .in_force(valid, invalid, self.parts.clock.now());
        match lost.len() {
            0 => self.parts.condition.clear(),
            count => self.parts.condition.set(told(&lost, count)),
        }
        self.news.notify_one();
    }

    fn has_leaving(&self) -> bool {
        self.pages().entries.values().any(|entry| entry.leaving)
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(lost: &[String], count: usize) -> String {
    let named = lost[..count.min(MOST_NAMED)].join(", ");
    let more = if count > MOST_NAMED { ", …" } else { "" };
    format!(
        "{count} of the policies cannot be read, and their namespaces are granted nothing; their status says why: {named}{more}"
    )
}

impl Mirror<PolicyObject> for PolicyBook {
    fn apply(&self, key: &str, object: PolicyObject) {
        self.saw(key, object);
    }

    fn delete(&self, key: &str, resource_version: &str) {
        let mut pages = self.pages();
        let Some(entry) = pages.entries.get_mut(key) else {
            return;
        };
        if entry.version() > resource_version.parse().ok() {
            return;
        }
        entry.leave(resource_version);
        drop(pages);
        self.changed.notify_one();
    }

    fn listed(&self, keys: &HashSet<String>, resource_version: &str) {
        let version = resource_version.parse().ok();
        let mut pages = self.pages();
        for (name, entry) in &mut pages.entries {
            if !keys.contains(name) && entry.version() <= version {
                entry.leave(resource_version);
            }
        }
        // Also where there is none.
        let is_first = !*self.listed.borrow();
        pages.is_new |= is_first;
        drop(pages);
        if is_first {
            // Whoever waits for the first list goes by what is in force.
            self.publish();
            self.listed.send_replace(true);
        }
        self.changed.notify_one();
    }

    fn heard(&self) {}
}
