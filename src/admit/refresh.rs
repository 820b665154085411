//! Refresh, without a leader: each replica renews what comes due, and finds it renewed where another was first.
//!
//! What is due is read off the index at every look, so there is no queue that a restart, a relist or a jump of the
//! clock could leave wrong. An entry comes due at half of its life, later by up to a tenth of it that differs by
//! namespace and replica: neither 10,000 namespaces that share a token nor two replicas come at one moment.
//!
//! What no Pod has used for a week, and the namespace does not pin, is left to expire; a Secret in which everything has expired is deleted. Expired is
//! absent to every replica, so an admission that needs it again makes it again, and nothing is taken from anybody.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::ensure::Ensurer;
use super::failure::EnsureError;
use super::metrics::Metrics;
use super::need::Need;
use super::pinned::Pinned;
use super::retries::Retries;
use crate::clock::{Clock, Moment};
use crate::namespace::NamespaceIndex;
use crate::policy::{Credential, Policy, decide};
use crate::pull_secret::state::between;
use crate::rulebook::Rulebook;
use crate::secret::{Known, PodImages, SecretIndex, Standing, WriteError};

/// The most and the least time between two looks through the index (a few milliseconds for 10,000 namespaces), and the
/// part of the shortest life that may pass between them.
const LONGEST_INTERVAL: Duration = Duration::from_mins(5);
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const LOOKS_PER_LIFE: u32 = 100;
/// The least time between the starts of two renewals, and the most that are under way: the fan-out of one new token
/// must not flood the API server.
const START_INTERVAL: Duration = Duration::from_millis(20);
const AT_ONCE: usize = 8;
/// Which part of a life renewals are spread over.
const SPREAD: u32 = 10;
/// How long an entry that no Pod uses is kept fresh: nightly Jobs and workloads scaled to zero come back.
const KEPT_UNUSED: Duration = Duration::from_hours(7 * 24);
/// The time to the next look while no life is known, and the least before one at what could not be renewed.
const SHORT_INTERVAL: Duration = Duration::from_mins(1);

/// What a [`Refresher`] works with.
pub(super) struct RefreshParts {
    pub(super) ensurer: Ensurer,
    pub(super) index: Arc<SecretIndex>,
    pub(super) namespaces: Arc<NamespaceIndex>,
    pub(super) rulebook: Arc<Rulebook>,
    pub(super) pods: Arc<dyn PodImages>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
}

/// Renews what comes due.
pub(super) struct Refresher {
    parts: RefreshParts,
    /// Sets this replica apart from the others.
    replica: Duration,
    retries: Mutex<Retries>,
}

/// A namespace, and its Secret as the index knows it.
type Due = (Box<str>, Arc<Known>);

/// What came of one namespace.
#[derive(Clone, Copy)]
enum Renewal {
    /// What Pods use is fresh.
    Renewed,
    /// There is no newer token yet.
    Unchanged,
    /// No Pod uses anything in it.
    Unused,
    /// Nor did anything in it live.
    Deleted,
}

impl Renewal {
    const fn label(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::Unchanged => "unchanged",
            Self::Unused => "unused",
            Self::Deleted => "deleted",
        }
    }
}

impl Refresher {
    pub(super) fn new(parts: RefreshParts) -> Self {
        Self {
            replica: parts.clock.jitter(Duration::from_secs(1)),
            retries: Mutex::default(),
            parts,
        }
    }

    /// Works for ever: looks through everything now and then, and meanwhile at what could not be renewed.
    pub(super) async fn run(&self) {
        loop {
            let (due, shortest_life) = self.due();
            self.parts.metrics.found_due(due.len());
            self.renew_all(due).await;
            let wait = shortest_life.map_or(SHORT_INTERVAL, |life| {
                (life / LOOKS_PER_LIFE).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
            });
            let next_look = self.parts.clock.monotonic() + wait;
            loop {
                sleep_until(self.next_retry().min(next_look)).await;
                if self.parts.clock.monotonic() >= next_look {
                    break;
                }
                self.renew_all(self.due_again()).await;
            }
        }
    }

    /// Renews what is due, and has its turn.
    async fn renew_all(&self, due: Vec<Due>) {
        let mut starts = interval(START_INTERVAL);
        starts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let paced = stream::unfold((due.into_iter(), starts), async |(mut due, mut starts)| {
            let next = due.next()?;
            starts.tick().await;
            Some((next, (due, starts)))
        });
        let renew = async |(namespace, _): Due| {
            // Its turn can come minutes later, and another replica may have been first.
            let known = self.parts.index.last_seen(&namespace);
            let now = self.parts.clock.moment();
            if let Some(known) = known.filter(|known| self.is_due(&namespace, known, now)) {
                self.renew_one(&namespace, &known).await;
            }
        };
        paced.for_each_concurrent(AT_ONCE, renew).await;
    }

    /// When to look again at what could not be renewed.
    fn next_retry(&self) -> Instant {
        let now = self.parts.clock.monotonic();
        let first = self.retries().next();
        let at = first.unwrap_or(now + LONGEST_INTERVAL);
        at.max(now + SHORT_INTERVAL)
    }

    /// What is due, and the shortest life of any token.
    fn due(&self) -> (Vec<Due>, Option<Duration>) {
        let now = self.parts.clock.moment();
        let index = &self.parts.index;
        let mut shortest_life: Option<Duration> = None;
        let due = index.select(|namespace, known| {
            let lives = known.shortest_life().into_iter().chain(shortest_life);
            shortest_life = lives.min();
            self.is_due(namespace, known, now)
        });
        let mut retries = self.retries();
        retries.forget_old(now.monotonic);
        let due = due.into_iter();
        let due = due.filter(|(namespace, _)| !retries.must_wait(namespace, now.monotonic));
        (self.in_order(due, now), shortest_life)
    }

    /// What could not be renewed, and may be tried again.
    fn due_again(&self) -> Vec<Due> {
        let now = self.parts.clock.moment();
        let retries = self.retries();
        let again = retries.ripe(now.monotonic).filter_map(|namespace| {
            let known = self.parts.index.last_seen(namespace)?;
            Some((namespace.into(), known))
        });
        self.in_order(again, now)
    }

    /// What expires first goes first, and a simulation goes the same way again. What is being deleted is left alone.
    fn in_order(&self, due: impl Iterator<Item = Due>, now: Moment) -> Vec<Due> {
        let due = due.filter(|(namespace, _)| !self.parts.namespaces.get(namespace).terminating);
        let mut due: Vec<Due> = due.collect();
        due.sort_by_cached_key(|(namespace, known)| {
            let left = known.standings(now).map(|entry| entry.left).min();
            (left, namespace.clone())
        });
        due
    }

    /// This namespace's and replica's share of the spread, from 0 to 1.
    fn share(&self, namespace: &str) -> f64 {
        let mut hasher = DefaultHasher::new();
        (self.replica, namespace).hash(&mut hasher);
        let bits = u32::try_from(hasher.finish() >> 32).unwrap_or_default();
        f64::from(bits) / f64::from(u32::MAX)
    }

    async fn renew_one(&self, namespace: &str, known: &Known) {
        let outcome = self.renew(namespace, known).await;
        let label = outcome
            .as_ref()
            .map_or_else(EnsureError::label, |done| done.label());
        self.parts.metrics.refreshed(label);
        let clock = &self.parts.clock;
        let now = clock.moment();
        let jitter = |most| clock.jitter(most);
        match outcome {
            Ok(Renewal::Renewed | Renewal::Unused) if self.is_still_due(namespace) => {
                self.retries().unused(namespace, now.monotonic, jitter);
            }
            Ok(Renewal::Renewed | Renewal::Unused | Renewal::Deleted) => {
                self.retries().done(namespace);
            }
            Ok(Renewal::Unchanged) | Err(_) => {
                let left = first_to_expire(known, now);
                self.retries()
                    .failed(namespace, left, now.monotonic, jitter);
            }
        }
    }

    /// Whether what was asked for is fresh now.
    fn after_renewal(&self, namespace: &str, keys: &[Arc<str>]) -> Renewal {
        let now = self.parts.clock.moment();
        let share = self.share(namespace);
        let known = self.parts.index.last_seen(namespace);
        let is_due = |entry: Standing<'_>| {
            keys.iter().any(|key| **key == *entry.key) && is_due(&entry, share)
        };
        if known.is_some_and(|known| known.standings(now).any(is_due)) {
            Renewal::Unchanged
        } else {
            Renewal::Renewed
        }
    }

    fn is_still_due(&self, namespace: &str) -> bool {
        let known = self.parts.index.last_seen(namespace);
        known.is_some_and(|known| self.is_due(namespace, &known, self.parts.clock.moment()))
    }

    fn is_due(&self, namespace: &str, known: &Known, now: Moment) -> bool {
        if known.is_aging(now) {
            let share = self.share(namespace);
            known.standings(now).any(|entry| is_due(&entry, share))
                || !known.is_trusted(now.monotonic)
        } else {
            !known.is_trusted(now.monotonic)
        }
    }

    async fn renew(&self, namespace: &str, known: &Known) -> Result<Renewal, EnsureError> {
        let Some(policy) = self.parts.rulebook.ruling(namespace) else {
            // Nobody has heard of it, so it is gone, or will be heard of in a moment.
            return Ok(Renewal::Unchanged);
        };
        let images = self.parts.pods.images(namespace).await;
        let images = images.map_err(WriteError::from)?;
        let namespace_known = self.parts.namespaces.get(namespace);
        let pinned = Pinned::of(&policy, &namespace_known.pins).needs;
        let mut used: BTreeSet<&str> = images
            .iter()
            .filter_map(|image| key(&policy, image))
            .collect();
        used.extend(pinned.iter().map(|need| &**need.key()));
        let now = self.parts.clock.moment();
        let entries: Vec<Standing<'_>> = known.standings(now).collect();
        let needs = entries
            .iter()
            .filter_map(|entry| need(&policy, entry, &used, now));
        let mut needs: Vec<Need> = needs.collect();
        if !known.is_trusted(now.monotonic) {
            // The state may have been edited too: what Pods use is put back whatever it says.
            let lost = used.iter().filter_map(|key| Need::of_entry(&policy, key));
            let lost = lost.filter(|lost| !needs.iter().any(|need| need.key() == lost.key()));
            let lost: Vec<Need> = lost.collect();
            needs.extend(lost);
        }
        if !needs.is_empty() {
            let keys: Vec<_> = needs.iter().map(|need| Arc::clone(need.key())).collect();
            self.parts.ensurer.retry(namespace, needs).await?;
            return Ok(self.after_renewal(namespace, &keys));
        }
        if entries.iter().any(|entry| !entry.left.is_zero()) {
            return Ok(Renewal::Unused);
        }
        let deleted = self.parts.ensurer.delete_expired(namespace).await?;
        if deleted {
            tracing::info!(
                namespace,
                "deleted the pull Secret, which no Pod has used for a week"
            );
        }
        Ok(Renewal::Deleted)
    }

    fn retries(&self) -> MutexGuard<'_, Retries> {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is past half of its life and its share of the spread behind that.
fn is_due(entry: &Standing<'_>, share: f64) -> bool {
    entry.left + (entry.life / SPREAD).mul_f64(share) <= entry.life / 2
}

/// What is left of the first of the tokens to expire that have not expired.
fn first_to_expire(known: &Known, now: Moment) -> Duration {
    let left = known.standings(now).map(|entry| entry.left);
    let left = left.filter(|left| !left.is_zero()).min();
    left.unwrap_or_default()
}

/// The `auths` key that an image is pulled with.
fn key<'a>(policy: &'a Policy, image: &'a str) -> Option<&'a str> {
    match decide(policy, image).credential {
        Credential::Secret { key, .. } => Some(key),
        Credential::NotNeeded => None,
    }
}

/// The need behind an entry that a Pod uses, or has used lately; `None` for what is left to expire.
fn need(policy: &Policy, entry: &Standing<'_>, used: &BTreeSet<&str>, now: Moment) -> Option<Need> {
    let used_at: Timestamp = if used.contains(entry.key) {
        now.wall
    } else if between(entry.used_at, now.wall) < KEPT_UNUSED {
        entry.used_at
    } else {
        return None;
    };
    Some(Need::of_entry(policy, entry.key)?.used_at(used_at))
}
