//! Keeps ServiceAccounts as the mode wants them: every replica does, and whoever comes second finds it done.
//!
//! What is to be done is read off the index at every look, so there is no queue that a restart or a relist could leave
//! wrong. Somebody who keeps changing our entry back is not fought: each replica insists once in ten minutes, and tells.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::index::Astray;
use super::metrics::Metrics;
use super::{Edited, Goal, ServiceAccountIndex, ServiceAccountStore, reach};
use crate::clock::Clock;
use crate::event::{Event, Events, Kind, Severity, Subject};
use crate::health::Condition;
use crate::namespace::{Label, NamespaceIndex, NamespaceMode};
use crate::secret::StoreError;

/// The longest time between two looks: a namespace that opts in or out wakes nobody.
const LOOK: Duration = Duration::from_secs(5);
/// The most that are changed between two looks, and how many of these are the newest: a new one never waits long behind
/// ten thousand, and replicas take the others each in an order of its own.
const BATCH: usize = 100;
const NEWEST: usize = 10;
/// The least time between the starts of two changes, and the most that are under way.
const START_INTERVAL: Duration = Duration::from_millis(10);
const AT_ONCE: usize = 8;
/// The least time between two changes of one ServiceAccount by one replica.
const BETWEEN_INSISTING: Duration = Duration::from_mins(10);
/// The reason of the Event about a ServiceAccount whose entry somebody takes away.
const REMOVED: &str = "PullSecretRemoved";
/// The first and the longest wait before one that could not be changed is tried again.
const FIRST_WAIT: Duration = Duration::from_secs(15);
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// What is done with ServiceAccounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Those of selected namespaces get our entry, and lose it where a namespace opts out. Elsewhere nothing is done.
    Add,
    /// All lose it, wherever they are.
    Remove,
}

/// What a [`Keeper`] goes by.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to do.
    pub task: Task,
    /// Which namespaces are selected.
    pub namespaces: NamespaceMode,
    /// Those that are left alone whatever their labels say.
    pub excluded: BTreeSet<String>,
}

/// What a [`Keeper`] works with.
pub struct KeeperParts {
    /// Where ServiceAccounts are written.
    pub store: Arc<dyn ServiceAccountStore>,
    /// What is known of them; somebody feeds it.
    pub index: Arc<ServiceAccountIndex>,
    /// What is known of namespaces.
    pub namespaces: Arc<NamespaceIndex>,
    /// Time and jitter.
    pub clock: Clock,
    /// Counts.
    pub metrics: Metrics,
    /// Tells those who run us.
    pub condition: Condition,
    /// Tells those who look into the namespace.
    pub events: Arc<Events>,
}

/// Keeps ServiceAccounts as the plan wants them.
pub struct Keeper {
    plan: Plan,
    parts: KeeperParts,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// By uid: what was changed in the last ten minutes, and whether people were told that somebody changed it back.
    changed: HashMap<Box<str>, (Instant, bool)>,
    /// By key: what could not be changed.
    failed: HashMap<Box<str>, Failed>,
    /// Whether the end of a removal was told.
    told_done: bool,
}

struct Failed {
    streak: u32,
    retry_at: Instant,
    error: StoreError,
}

impl Keeper {
    /// A keeper that has done nothing yet.
    pub fn new(plan: Plan, parts: KeeperParts) -> Self {
        Self {
            plan,
            parts,
            memory: Mutex::default(),
        }
    }

    /// Works for ever. Cancel-safe.
    pub async fn run(&self) {
        loop {
            if !self.look().await {
                tokio::select! {
                    () = self.parts.index.changed() => {}
                    () = sleep(LOOK) => {}
                }
            }
        }
    }

    /// Changes what is astray, up to a batch of it; whether there is more.
    async fn look(&self) -> bool {
        let (mut due, contested, all) = self.due();
        self.parts.metrics.found(all, contested.len());
        self.tell(&contested, all);
        if let Some(last) = due.len().min(NEWEST).checked_sub(1) {
            due.select_nth_unstable_by_key(last, |astray| Reverse(astray.version));
        }
        let more = due.len() > BATCH;
        due.truncate(BATCH);
        let mut starts = interval(START_INTERVAL);
        starts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let paced = stream::unfold((due.into_iter(), starts), async |(mut due, mut starts)| {
            let next = due.next()?;
            starts.tick().await;
            Some((next, (due, starts)))
        });
        let change = async |astray: Astray| self.change(&astray).await;
        paced.for_each_concurrent(AT_ONCE, change).await;
        more
    }

    /// What is to be changed now, what somebody else changed back just now, and how many are astray in all.
    fn due(&self) -> (Vec<Astray>, Vec<Astray>, usize) {
        let now = self.parts.clock.monotonic();
        let astray = self.parts.index.astray(|namespace| self.goal(namespace));
        let all = astray.len();
        let mut memory = self.memory();
        memory
            .changed
            .retain(|_, (at, _)| now < *at + BETWEEN_INSISTING);
        let gone = |failed: &Failed| now >= failed.retry_at + LONGEST_WAIT;
        memory.failed.retain(|_, failed| !gone(failed));
        let (contested, due): (Vec<_>, Vec<_>) = astray
            .into_iter()
            .partition(|astray| memory.changed.contains_key(&astray.uid));
        let waits = |astray: &Astray| {
            let failed = memory.failed.get(&astray.key);
            failed.is_some_and(|failed| now < failed.retry_at)
        };
        let due = due.into_iter().filter(|astray| !waits(astray)).collect();
        (due, contested, all)
    }

    /// What the plan wants of the ServiceAccounts of a namespace; `None` where they are none of ours to change.
    fn goal(&self, namespace: &str) -> Option<Goal> {
        if self.plan.task == Task::Remove {
            return Some(Goal::Unnamed);
        }
        let known = self.parts.namespaces.get(namespace);
        if self.plan.excluded.contains(namespace) || known.terminating {
            return None;
        }
        match (known.inject, known.label, self.plan.namespaces) {
            // Somebody has said that it shall not be.
            (false, _, _) | (_, Label::Disabled, _) => Some(Goal::Unnamed),
            (_, Label::Enabled, _) | (_, Label::Unset, NamespaceMode::OptOut) => Some(Goal::Named),
            // Nobody has said anything: perhaps our entry is there by somebody else's wish.
            (_, Label::Unset, NamespaceMode::OptIn) => None,
        }
    }

    async fn change(&self, astray: &Astray) {
        let Some((namespace, name)) = astray.key.split_once('/') else {
            return;
        };
        let KeeperParts {
            store,
            index,
            clock,
            metrics,
            ..
        } = &self.parts;
        let at = (namespace, name);
        let secret = index.secret();
        match reach(astray.goal, &**store, clock, at, secret).await {
            Ok(Edited::Changed(account)) => {
                let changed = (clock.monotonic(), false);
                self.memory().changed.insert(astray.uid.clone(), changed);
                index.saw(&astray.key, &account);
                let (result, message) = match astray.goal {
                    Goal::Named => ("added", "ServiceAccount now names the pull Secret"),
                    Goal::Unnamed => ("removed", "ServiceAccount no longer names the pull Secret"),
                };
                metrics.wrote(result);
                tracing::info!(namespace, name, message);
            }
            Ok(Edited::Unchanged(account)) => index.saw(&astray.key, &account),
            Ok(Edited::Missing) => index.saw_none(&astray.key),
            Err(error) => return self.failed(astray, error),
        }
        self.memory().failed.remove(&astray.key);
    }

    fn failed(&self, astray: &Astray, error: StoreError) {
        self.parts.metrics.wrote(error.kind.label());
        tracing::warn!(%error, "ServiceAccount not changed");
        let mut memory = self.memory();
        let streak = memory
            .failed
            .get(&astray.key)
            .map_or(0, |failed| failed.streak);
        let wait = (FIRST_WAIT * 2u32.pow(streak.min(8))).min(LONGEST_WAIT);
        let jitter = self.parts.clock.jitter(wait / 2);
        let failed = Failed {
            streak: streak.saturating_add(1),
            retry_at: self.parts.clock.monotonic() + wait + jitter,
            error,
        };
        memory.failed.insert(astray.key.clone(), failed);
    }

    /// Tells people what they must act on.
    fn tell(&self, contested: &[Astray], all: usize) {
        let mut memory = self.memory();
        for astray in contested {
            let told = memory.changed.get_mut(&astray.uid);
            if let Some((_, told)) = told.filter(|(_, told)| !*told) {
                *told = true;
                let account = &*astray.key;
                if let Some((namespace, name)) = account.split_once('/')
                    && astray.goal == Goal::Named
                {
                    self.tell_namespace(namespace, name, &astray.uid);
                }
                tracing::warn!(
                    account,
                    "somebody has undone our change of this ServiceAccount's imagePullSecrets; it is not repeated for ten \
                     minutes. Let whoever manages it leave that field alone, or leave this ServiceAccount out"
                );
            }
        }
        if self.plan.task == Task::Remove && all == 0 && !self.parts.index.is_empty() {
            if !memory.told_done {
                tracing::info!(
                    "no ServiceAccount names the pull Secret any more: serviceAccountMode can be Never now"
                );
            }
            memory.told_done = true;
        }
        match (contested.first(), memory.failed.values().next()) {
            (_, Some(failed)) => self.parts.condition.set(format!(
                "{} ServiceAccounts could not be changed, for one: {}",
                memory.failed.len(),
                failed.error
            )),
            (Some(astray), None) => self.parts.condition.set(format!(
                "somebody keeps undoing our change of {} ServiceAccounts, such as {}",
                contested.len(),
                astray.key
            )),
            (None, None) => self.parts.condition.clear(),
        }
    }

    fn tell_namespace(&self, namespace: &str, name: &str, uid: &str) {
        let secret = self.parts.index.secret();
        let subject = Subject {
            uid: Some(uid.to_owned()),
            ..Subject::new(Kind::ServiceAccount, namespace, name)
        };
        self.parts.events.tell(Event {
            subject,
            severity: Severity::Warning,
            reason: REMOVED,
            note: format!(
                "Secret {secret:?} was taken out of imagePullSecrets right after ecr-admission had put it in; it is put back \
                 seldom only. Let whoever manages this ServiceAccount leave the field alone, or name the Secret there"
            ),
        });
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
