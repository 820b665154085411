//! Keeps the status of every policy true: every replica does, and whoever comes second finds it done.
//!
//! Nothing is written that stands there already. Replicas of two versions, or with different experiences of AWS, may
//! disagree: each says what it has to say once, and does not insist.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::census::{Census, Counted};
use super::entry::Entry;
use super::facts::{assumable, event, standing};
use super::metrics::Metrics;
use super::status::{Assumable, Facts, essence, wanted};
use super::{PolicyBook, PolicyObject, PolicyStore, RegisteredPods};
use crate::clock::Clock;
use crate::event::Events;
use crate::health::Condition;
use crate::namespace::NamespaceIndex;
use crate::policy::{Compiled, PolicySet};
use crate::rulebook::Rulebook;
use crate::secret::{StoreError, StoreErrorKind};
use crate::token::TokenCache;

/// The longest time between two looks: a token that was made wakes nobody.
const LOOK: Duration = Duration::from_secs(5);
/// The wait before a look, and as much again by chance: of several replicas one comes first.
const BEFORE_LOOK: Duration = Duration::from_millis(300);
/// The least time between two counts because of namespaces.
const BETWEEN_COUNTS: Duration = Duration::from_secs(10);
/// The least time between two writes of one policy of which only the number of namespaces changes.
const BETWEEN_NUMBERS: Duration = Duration::from_secs(30);
/// The least time before the same is written again that somebody has changed.
const BETWEEN_INSISTING: Duration = Duration::from_mins(10);
/// The most that are written between two looks, and at once.
const BATCH: usize = 100;
const AT_ONCE: usize = 4;
/// The wait after a write that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(15);

/// What a [`StatusKeeper`] works with.
pub struct KeeperParts {
    /// The policies.
    pub book: Arc<PolicyBook>,
    /// What is in force.
    pub rulebook: Arc<Rulebook>,
    /// Where status is written.
    pub store: Arc<dyn PolicyStore>,
    /// What is known of namespaces.
    pub namespaces: Arc<NamespaceIndex>,
    /// What is known of roles.
    pub tokens: TokenCache,
    /// Time and jitter.
    pub clock: Clock,
    /// Counts.
    pub metrics: Metrics,
    /// Tells those who run us.
    pub condition: Condition,
    /// Tells those who wrote the policies.
    pub events: Arc<Events>,
    /// Which Pods we are asked about.
    pub registered: RegisteredPods,
    /// Whose writes these are; replicas take the policies each in an order of its own.
    pub instance: String,
}

/// Keeps the status of every policy true.
pub struct StatusKeeper {
    parts: KeeperParts,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    count: Option<Count>,
    told: HashMap<String, Told>,
    /// By name: the version in which a policy was not any more when its status was to be written.
    overtaken: HashMap<String, String>,
    quiet_until: Option<Instant>,
}

/// A count, and what of.
#[derive(Clone)]
struct Count {
    set: Arc<PolicySet>,
    revision: u64,
    at: Instant,
    census: Arc<Census>,
}

/// What was last written or found right of one policy.
struct Told {
    uid: String,
    essence: Value,
    at: Instant,
    /// When what was last heard of its roles was heard.
    heard: Option<Instant>,
}

/// A status to be written.
struct Due {
    name: String,
    object: PolicyObject,
    status: Value,
    heard: Option<Instant>,
}

impl StatusKeeper {
    /// A keeper that has told nothing yet.
    pub fn new(parts: KeeperParts) -> Self {
        Self {
            parts,
            memory: Mutex::default(),
        }
    }

    /// Works for ever. Cancel-safe.
    pub async fn run(&self) {
        self.parts.book.known().await;
        loop {
            sleep(BEFORE_LOOK + self.parts.clock.jitter(BEFORE_LOOK)).await;
            if !self.look().await {
                tokio::select! {
                    () = self.parts.book.news() => {}
                    () = sleep(LOOK) => {}
                }
            }
        }
    }

    /// Writes what is due, up to a batch of it; whether there is more.
    async fn look(&self) -> bool {
        let count = self.count().await;
        let now = self.parts.clock.monotonic();
        let is_quiet = self.memory().quiet_until.is_some_and(|until| now < until);
        if is_quiet {
            return false;
        }
        let mut due = self.due(&count);
        let more = due.len() > BATCH;
        due.truncate(BATCH);
        let write = async |due: Due| self.write(due).await;
        stream::iter(due).for_each_concurrent(AT_ONCE, write).await;
        more
    }

    /// What the policies in force come to, counted anew where they are others, or now and then where namespaces are.
    async fn count(&self) -> Count {
        let (set, now) = (self.parts.rulebook.set(), self.parts.clock.monotonic());
        let revision = self.parts.namespaces.revision();
        if let Some(count) = &self.memory().count
            && Arc::ptr_eq(&count.set, &set)
            && (count.revision == revision || now < count.at + BETWEEN_COUNTS)
        {
            return count.clone();
        }
        let (counted, namespaces) = (Arc::clone(&set), Arc::clone(&self.parts.namespaces));
        // Each policy is asked about each namespace: not among those who answer admissions.
        let counting = tokio::task::spawn_blocking(move || {
            Census::take(&counted, |each| namespaces.each(each))
        });
        let census = Arc::new(counting.await.unwrap_or_default());
        self.parts.metrics.conflicts(census.losers());
        let count = Count {
            set,
            revision,
            at: now,
            census,
        };
        self.memory().count = Some(count.clone());
        count
    }

    /// The policies whose status is not what it is to be, and may be written now.
    fn due(&self, count: &Count) -> Vec<Due> {
        let is_current = count.revision == self.parts.namespaces.revision();
        let mut memory = self.memory();
        let mut names = Vec::new();
        let mut due = Vec::new();
        self.parts.book.each(|name, entry| {
            names.push(name.to_owned());
            let Some(counted) = count.census.get(name) else {
                return;
            };
            // As it is in force: its roles' sessions have names there.
            let policies = count.set.policies();
            let place = policies.binary_search_by(|policy| policy.name().cmp(name));
            let policy = place.ok().map(|place| &policies[place]);
            let about = (name, entry, policy);
            due.extend(self.examine(about, counted, is_current, &mut memory));
        });
        if !names.is_empty() {
            memory
                .told
                .retain(|name, _| names.binary_search(name).is_ok());
        }
        let order = |due: &Due| {
            let mut hasher = DefaultHasher::new();
            (&self.parts.instance, &due.name).hash(&mut hasher);
            hasher.finish()
        };
        due.sort_by_cached_key(order);
        due
    }

    fn examine(
        &self,
        (name, entry, policy): (&str, &Entry, Option<&Compiled>),
        counted: &Counted,
        is_current: bool,
        memory: &mut Memory,
    ) -> Option<Due> {
        let now = self.parts.clock.monotonic();
        let object = &entry.object;
        let told = memory.told.get(name).filter(|told| told.uid == object.uid);
        let (assumable, heard) = match policy {
            Some(policy) => {
                let told = told.and_then(|told| told.heard);
                assumable(&self.parts.tokens, policy, told)
            }
            None => (Assumable::NoRoles, None),
        };
        let facts = Facts {
            generation: object.generation,
            standing: standing(&entry.reading, self.parts.registered),
            namespaces: counted.namespaces,
            isolation: &counted.isolation,
            conflicts: &counted.conflicts,
            assumable,
        };
        if let Some(event) = event(name, &object.uid, &facts) {
            self.parts.events.tell(event);
        }
        let Some(status) = wanted(&facts, &object.status, self.parts.clock.now()) else {
            let told = Told {
                uid: object.uid.clone(),
                essence: essence(&object.status),
                at: told.map_or(now, |told| told.at),
                heard,
            };
            memory.told.insert(name.to_owned(), told);
            return None;
        };
        let is_only_a_number = object.status["conditions"] == status["conditions"];
        let may = told.is_none_or(|told| {
            let repeats = told.essence == essence(&status);
            let wait = match (repeats, is_only_a_number) {
                (true, _) => BETWEEN_INSISTING,
                (_, true) => BETWEEN_NUMBERS,
                _ => Duration::ZERO,
            };
            now >= told.at + wait
        });
        // A count that is old already would only be counted back by others, and a newer version is on its way.
        let is_overtaken = memory.overtaken.get(name) == Some(&object.resource_version);
        let may = may && !is_overtaken && (is_current || !is_only_a_number);
        may.then(|| Due {
            name: name.to_owned(),
            object: object.clone(),
            status,
            heard,
        })
    }

    async fn write(&self, due: Due) {
        let Due {
            name,
            object,
            status,
            heard,
        } = due;
        let KeeperParts {
            book,
            store,
            clock,
            metrics,
            condition,
            ..
        } = &self.parts;
        match store.write_status(&name, &object, &status).await {
            Ok(written) => {
                metrics.wrote("written");
                tracing::debug!(policy = name, "status written");
                let told = Told {
                    uid: object.uid,
                    essence: essence(&status),
                    at: clock.monotonic(),
                    heard,
                };
                book.saw(&name, written);
                self.memory().told.insert(name, told);
                condition.clear();
            }
            Err(StoreError {
                kind: kind @ (StoreErrorKind::Conflict | StoreErrorKind::NotFound),
                ..
            }) => {
                metrics.wrote(kind.label());
                let overtaken = object.resource_version;
                self.memory().overtaken.insert(name, overtaken);
            }
            Err(error) => {
                metrics.wrote(error.kind.label());
                tracing::warn!(%error, policy = name, "status not written");
                condition.set(format!("the status of policies is not up to date: {error}"));
                self.memory().quiet_until = Some(clock.monotonic() + AFTER_FAILURE);
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
