//! Refresh, without a leader: each replica renews what comes due, and finds it renewed where another was first.
//!
//! What is due is read off the index at every look, so there is no queue that a restart, a relist or a jump of the
//! clock could leave wrong.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::failure::EnsureError;
use super::renewal::{RefreshParts, Renewal, Renewer, first_to_expire};
use super::retries::Retries;
use crate::clock::Moment;
use crate::secret::Known;

/// The most and the least time between two looks through the index (a few milliseconds for 10,000 namespaces), and the
/// part of the shortest life that may pass between them.
const LONGEST_INTERVAL: Duration = Duration::from_mins(5);
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
const LOOKS_PER_LIFE: u32 = 100;
/// The least time between the starts of two renewals, and the most that are under way: the fan-out of one new token
/// must not flood the API server.
const START_INTERVAL: Duration = Duration::from_millis(20);
const AT_ONCE: usize = 8;
/// The time to the next look while no life is known, and the least before one at what could not be renewed.
const SHORT_INTERVAL: Duration = Duration::from_mins(1);

/// Renews what comes due.
pub(super) struct Refresher {
    parts: Arc<RefreshParts>,
    renewer: Renewer,
    retries: Mutex<Retries>,
}

/// A namespace, and its Secret as the index knows it.
type Due = (Box<str>, Arc<Known>);

impl Refresher {
    pub(super) fn new(parts: RefreshParts) -> Self {
        let parts = Arc::new(parts);
        Self {
            renewer: Renewer::new(Arc::clone(&parts)),
            parts,
            retries: Mutex::default(),
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
            if let Some(known) = known.filter(|known| self.renewer.is_due(&namespace, known, now)) {
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
            self.renewer.is_due(namespace, known, now)
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

    async fn renew_one(&self, namespace: &str, known: &Known) {
        let outcome = self.renewer.renew(namespace, known).await;
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

    fn is_still_due(&self, namespace: &str) -> bool {
        let known = self.parts.index.last_seen(namespace);
        known.is_some_and(|known| {
            self.renewer
                .is_due(namespace, &known, self.parts.clock.moment())
        })
    }

    fn retries(&self) -> MutexGuard<'_, Retries> {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
