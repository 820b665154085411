//! What is known of every namespace's pull Secret: a mirror of metadata, a few hundred bytes each, no data.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::known::Known;
use super::names::Names;
use super::{DataWriter, SecretMetadata};
use crate::attention::Attention;
use crate::clock::Clock;
use crate::pull_secret::state::between;
use crate::watch::Mirror;

/// How long the index answers after its watch was last heard of (the API server sends a bookmark about every minute).
const TRUSTED_SILENCE: Duration = Duration::from_mins(5);
/// The least time between two writes that insist on our view against somebody else's: two parties that both insist
/// must not fight faster than this.
const BETWEEN_INSISTING: Duration = Duration::from_mins(10);

/// The most namespaces without a Secret that are remembered while the watch is silent.
const MOST_ABSENT: usize = 10_000;

/// The answer of a look-up.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// The Secret as last seen.
    Known(Arc<Known>),
    /// There is none.
    Absent,
    /// The watch has been silent for too long: read the namespace before deciding.
    Unsure,
}

/// Every namespace's Secret, fed by a watch and by our own writes and reads.
#[derive(Debug)]
pub struct SecretIndex {
    clock: Clock,
    known: RwLock<HashMap<Box<str>, Arc<Known>>>,
    names: Names,
    heard: Mutex<Option<Instant>>,
    /// When a read of our own found no Secret. Asked only while the watch is silent.
    absent: Mutex<HashMap<Box<str>, Instant>>,
    /// When we last insisted on what.
    insisted: Mutex<HashMap<Box<str>, Instant>>,
    attention: Attention,
}

impl SecretIndex {
    /// An empty index, which is unsure of everything until its watch is heard of.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            known: RwLock::default(),
            names: Names::default(),
            heard: Mutex::default(),
            absent: Mutex::default(),
            insisted: Mutex::default(),
            attention: Attention::default(),
        }
    }

    /// What is known of a namespace. No I/O, no lock held on return.
    pub fn look_up(&self, namespace: &str) -> Lookup {
        self.look_up_at(namespace, self.clock.monotonic())
    }

    /// The same, for who has looked at the clock already.
    pub fn look_up_at(&self, namespace: &str, now: Instant) -> Lookup {
        let known = {
            let map = self.known.read().unwrap_or_else(PoisonError::into_inner);
            map.get(namespace).map(Arc::clone)
        };
        let trusted_since = |at: Instant| now.duration_since(at) < TRUSTED_SILENCE;
        match known {
            Some(known) if self.is_live(now) || trusted_since(known.seen_at()) => {
                Lookup::Known(known)
            }
            None if self.is_live(now) || self.seen_absent(namespace).is_some_and(trusted_since) => {
                Lookup::Absent
            }
            _ => Lookup::Unsure,
        }
    }

    fn seen_absent(&self, namespace: &str) -> Option<Instant> {
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        absent.get(namespace).copied()
    }

    /// Whether the watch was heard of in the last five minutes.
    pub fn is_live(&self, now: Instant) -> bool {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_some_and(|at| now.duration_since(at) < TRUSTED_SILENCE)
    }

    /// Takes in what a read or a write of our own returned, at once, so that the next admission sees it without
    /// waiting for the watch. Returns what is known then, which may be newer.
    pub fn saw(&self, namespace: &str, metadata: &SecretMetadata) -> Arc<Known> {
        let repair_due = match metadata.data_writer {
            DataWriter::Us { .. } => None,
            DataWriter::SomebodyElse | DataWriter::Untracked => {
                Some(self.may_insist_at(&metadata.uid))
            }
        };
        let now = self.clock.monotonic();
        let mut map = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = map.get(namespace);
        // The watch repeats what a write of our own returned, and a relist most of what is known.
        let is_old = |known: &Known| {
            known.is_newer_than(&metadata.resource_version)
                || (known.is_of(metadata) && self.is_live(now))
        };
        if let Some(before) = before.filter(|before| is_old(before)) {
            return Arc::clone(before);
        }
        let before = before.map(Arc::as_ref);
        let known = Known::new(metadata, repair_due, before, &self.names, &self.clock);
        let known = Arc::new(known);
        map.insert(namespace.into(), Arc::clone(&known));
        known
    }

    /// Takes in that a read of our own found no Secret.
    pub fn saw_none(&self, namespace: &str) {
        {
            let mut map = self.known.write().unwrap_or_else(PoisonError::into_inner);
            map.remove(namespace);
        }
        let now = self.clock.monotonic();
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.len() >= MOST_ABSENT {
            absent.clear();
        }
        absent.insert(namespace.into(), now);
    }

    /// What this draws attention to: namespaces whose Secret somebody else deleted or edited.
    pub fn attention(&self) -> &Attention {
        &self.attention
    }

    /// Records that something that two parties could fight over was just written: the uid of a Secret whose data
    /// somebody else had edited, `uid/key` of an entry that another identity had made, or `namespace/` of a Secret that
    /// somebody had deleted.
    pub fn insisted(&self, on: &str) {
        let now = self.clock.monotonic();
        let mut insisted = self.insisted.lock().unwrap_or_else(PoisonError::into_inner);
        insisted.retain(|_, at| now.duration_since(*at) < BETWEEN_INSISTING);
        insisted.insert(on.into(), now);
    }

    /// Forgets it all: what we insist on from now on is something else.
    pub fn forget_insisting(&self) {
        let mut insisted = self.insisted.lock().unwrap_or_else(PoisonError::into_inner);
        insisted.clear();
    }

    /// Forgets it for the entries of one namespace's Secret.
    pub fn forget_insisting_in(&self, namespace: &str) {
        if let Some(known) = self.last_seen(namespace) {
            let entries = format!("{}/", known.uid());
            let mut insisted = self.insisted.lock().unwrap_or_else(PoisonError::into_inner);
            insisted.retain(|on, _| !on.starts_with(&entries));
        }
    }

    /// Whether we insisted on it less than ten minutes ago, and so must let it be.
    pub fn has_insisted(&self, on: &str) -> bool {
        self.may_insist_at(on) > self.clock.monotonic()
    }

    /// When we may insist on it (again): now, or ten minutes after the last time.
    pub fn may_insist_at(&self, on: &str) -> Instant {
        let now = self.clock.monotonic();
        let insisted = self.insisted.lock().unwrap_or_else(PoisonError::into_inner);
        let last = insisted.get(on);
        last.map_or(now, |last| (*last + BETWEEN_INSISTING).max(now))
    }

    /// What was last seen of a namespace's Secret, however long ago.
    pub fn last_seen(&self, namespace: &str) -> Option<Arc<Known>> {
        let map = self.known.read().unwrap_or_else(PoisonError::into_inner);
        map.get(namespace).map(Arc::clone)
    }

    /// Every Secret of ours for which `wanted` holds, by namespace. The look-ups of admissions go on meanwhile.
    pub fn select(
        &self,
        mut wanted: impl FnMut(&str, &Known) -> bool,
    ) -> Vec<(Box<str>, Arc<Known>)> {
        let map = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let ours = map.iter().filter(|(_, known)| known.is_owned());
        let selected = ours.filter(|(namespace, known)| wanted(namespace, known));
        selected
            .map(|(namespace, known)| (namespace.clone(), Arc::clone(known)))
            .collect()
    }

    /// How many Secrets are known.
    pub fn len(&self) -> usize {
        let map = self.known.read().unwrap_or_else(PoisonError::into_inner);
        map.len()
    }

    /// Whether no Secret is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The age of the oldest token in any Secret of ours.
    pub fn oldest_token(&self) -> Option<Duration> {
        let map = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let issued = map.values().filter_map(|known| known.oldest_issue());
        let oldest = issued.min()?;
        Some(between(oldest, self.clock.reckoned()))
    }
}

impl Mirror<SecretMetadata> for SecretIndex {
    fn apply(&self, key: &str, object: SecretMetadata) {
        let known = self.saw(key, &object);
        if known.is_owned() && !known.is_trusted(self.clock.monotonic()) {
            self.attention.draw(key);
        }
    }

    fn delete(&self, key: &str, resource_version: &str) {
        let mut map = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let made_anew = map
            .get(key)
            .is_some_and(|known| known.is_newer_than(resource_version));
        if !made_anew && map.remove(key).is_some() {
            drop(map);
            self.attention.draw(key);
        }
    }

    fn listed(&self, keys: &HashSet<String>, resource_version: &str) {
        let mut map = self.known.write().unwrap_or_else(PoisonError::into_inner);
        map.retain(|namespace, known| {
            keys.contains(&**namespace) || known.is_newer_than(resource_version)
        });
        map.shrink_to_fit();
        drop(map);
        self.attention.listed();
    }

    fn heard(&self) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = Some(self.clock.monotonic());
    }
}
