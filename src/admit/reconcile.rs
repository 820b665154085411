//! Reconciliation: what admissions and renewals do not see. A namespace that pins registries gets its Secret before any
//! Pod; one whose Secret somebody deleted or edited gets it back; one whose Pods wait for what a replica was about to
//! make when it died gets it from whoever looks next. Every replica does it; whoever comes second finds it done.
//!
//! All Pods are looked through at the start, once more five minutes later, after a list that follows missed events, and
//! once an hour: in pages, as views that nobody keeps. What is kept is one item for each namespace in need.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, Fuse, FusedFuture, FutureExt};
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::Settings;
use super::agenda::{Agenda, Mended, Why};
use super::ensure::Ensurer;
use super::metrics::Metrics;
use super::survey::Found;
use crate::clock::Clock;
use crate::event::Events;
use crate::namespace::NamespaceIndex;
use crate::rulebook::Rulebook;
use crate::secret::{PodImages, SecretIndex, StoreError};

/// The time between two surveys of all Pods, an hour on average, and the part of it that is left to chance.
const BETWEEN_SURVEYS: Duration = Duration::from_mins(54);
const SURVEY_JITTER: Duration = Duration::from_mins(12);
/// The least time between two surveys, however often a watch breaks.
const LEAST_BETWEEN_SURVEYS: Duration = Duration::from_mins(5);
/// Over how much time the replicas of an API server that has come back spread their surveys.
const AFTER_LIST: Duration = Duration::from_secs(10);
/// The wait before Pods that passed us, and have not started yet, are looked at again: they may fail only then. Twice as
/// long each time, because some wait for ever.
const AFTER_UNDECIDED: Duration = Duration::from_mins(1);
/// The wait before a survey that failed is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(20);
/// The least time between the starts of work in two namespaces, and the most at once.
const START_INTERVAL: Duration = Duration::from_millis(20);
const AT_ONCE: usize = 32;
/// With nothing on the agenda, somebody looks at it all the same.
const IDLE: Duration = Duration::from_mins(1);

/// What a [`Reconciler`] works with.
pub(super) struct ReconcileParts {
    pub(super) settings: Arc<Settings>,
    pub(super) ensurer: Ensurer,
    pub(super) index: Arc<SecretIndex>,
    pub(super) namespaces: Arc<NamespaceIndex>,
    pub(super) rulebook: Arc<Rulebook>,
    pub(super) pods: Arc<dyn PodImages>,
    pub(super) events: Arc<Events>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
}

/// Looks after namespaces that no admission and no renewal looks after.
pub(super) struct Reconciler {
    pub(super) parts: ReconcileParts,
    failing: AtomicUsize,
}

/// The work of one run.
struct Work<'a> {
    agenda: Agenda,
    under_way: FuturesUnordered<BoxFuture<'a, (Box<str>, Mended)>>,
    survey: Fuse<BoxFuture<'a, Result<Found, StoreError>>>,
    survey_at: Instant,
    /// The wait before the next survey should the last have left something open.
    recheck: Duration,
    /// A list came while a survey was under way, which may have missed something.
    overtaken: bool,
    surveyed_at: Option<Instant>,
    starts: Interval,
    /// Of policies.
    changes: watch::Receiver<u64>,
}

impl Reconciler {
    pub(super) fn new(parts: ReconcileParts) -> Self {
        Self {
            parts,
            failing: AtomicUsize::new(0),
        }
    }

    /// How many namespaces cannot be given what they need.
    pub(super) fn failing(&self) -> usize {
        self.failing.load(Ordering::Relaxed)
    }

    /// Works for ever. Cancel-safe: a new run starts with a survey.
    pub(super) async fn run(&self) {
        let (secrets, namespaces) = (
            self.parts.index.attention(),
            self.parts.namespaces.attention(),
        );
        // Before both are known, everything would look as if it were missing.
        while !(secrets.has_list() && namespaces.has_list()) {
            tokio::select! {
                biased;
                () = secrets.changed() => {}
                () = namespaces.changed() => {}
            }
        }
        // The survey finds all of it.
        secrets.take();
        namespaces.take();
        let mut starts = interval(START_INTERVAL);
        starts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut work = Work {
            agenda: Agenda::default(),
            under_way: FuturesUnordered::new(),
            survey: Fuse::terminated(),
            survey_at: self.parts.clock.monotonic(),
            recheck: AFTER_UNDECIDED,
            overtaken: false,
            surveyed_at: None,
            starts,
            changes: self.parts.rulebook.changes(),
        };
        self.overrule(&mut work).await;
        loop {
            self.step(&mut work).await;
            self.failing.store(work.agenda.failing(), Ordering::Relaxed);
        }
    }

    /// Has looked into what is granted no more.
    async fn overrule(&self, work: &mut Work<'_>) {
        let why = Why {
            pods: true,
            touched: false,
        };
        for namespace in self.overruled().await {
            work.agenda.add(namespace, why, true);
        }
    }

    /// Waits for one thing to happen, and acts on it.
    async fn step<'a>(&'a self, work: &mut Work<'a>) {
        let clock = &self.parts.clock;
        let now = clock.monotonic();
        if work.survey.is_terminated() && work.survey_at <= now {
            work.survey = self.survey().boxed().fuse();
        }
        let mut wake = work.agenda.ripen(now).unwrap_or(now + IDLE);
        if work.survey.is_terminated() {
            wake = wake.min(work.survey_at);
        }
        let has_room = work.agenda.has_next() && work.under_way.len() < AT_ONCE;
        tokio::select! {
            // The same way each time, for simulations; nothing here is always ready.
            biased;
            () = self.parts.namespaces.attention().changed() => {
                let drawn = self.parts.namespaces.attention().take();
                // Other labels can mean other grants, for Pods that are there already.
                let why = Why { pods: !self.parts.rulebook.set().is_empty(), touched: false };
                for namespace in drawn.namespaces {
                    self.parts.index.forget_insisting_in(&namespace);
                    work.agenda.add(namespace, why, true);
                }
                if drawn.all {
                    self.hasten(work);
                }
            }
            () = self.parts.index.attention().changed() => {
                let drawn = self.parts.index.attention().take();
                let why = Why { pods: true, touched: true };
                for namespace in drawn.namespaces {
                    work.agenda.add(namespace, why, true);
                }
                if drawn.all {
                    self.hasten(work);
                }
            }
            Ok(()) = work.changes.changed() => {
                self.parts.index.forget_insisting();
                self.overrule(work).await;
                // What is granted from now on may be what Pods wait for.
                self.hasten(work);
            }
            Some((namespace, mended)) = work.under_way.next() => {
                let jitter = |most| clock.jitter(most);
                work.agenda.finished(namespace, mended, clock.monotonic(), jitter);
            }
            found = &mut work.survey => self.surveyed(work, found),
            _ = work.starts.tick(), if has_room => {
                if let Some((namespace, why)) = work.agenda.next() {
                    let look = async move {
                        let mended = self.look_into(&namespace, why).await;
                        (namespace, mended)
                    };
                    work.under_way.push(look.boxed());
                }
            }
            () = sleep_until(wake) => {}
        }
    }

    /// Events may have been missed.
    fn hasten(&self, work: &mut Work<'_>) {
        if !work.survey.is_terminated() {
            work.overtaken = true;
            return;
        }
        let clock = &self.parts.clock;
        let soon = clock.monotonic() + clock.jitter(AFTER_LIST);
        let allowed = work.surveyed_at.map(|at| at + LEAST_BETWEEN_SURVEYS);
        let at = allowed.map_or(soon, |allowed| allowed.max(soon));
        work.survey_at = work.survey_at.min(at);
    }

    fn surveyed(&self, work: &mut Work<'_>, found: Result<Found, StoreError>) {
        let clock = &self.parts.clock;
        let now = clock.monotonic();
        let wait = match found {
            Ok(found) => {
                self.parts.metrics.reconciled("ok");
                work.surveyed_at = Some(now);
                let count = found.in_need.len();
                if count > 0 {
                    tracing::info!(namespaces = count, "namespaces lack a pull Secret");
                }
                let why = Why {
                    pods: true,
                    touched: false,
                };
                for namespace in found.in_need {
                    work.agenda.add(namespace, why, false);
                }
                let usual = if std::mem::take(&mut work.overtaken) {
                    LEAST_BETWEEN_SURVEYS
                } else {
                    BETWEEN_SURVEYS + clock.jitter(SURVEY_JITTER)
                };
                if found.undecided {
                    let recheck = work.recheck.min(usual);
                    work.recheck = recheck * 2;
                    recheck
                } else {
                    work.recheck = AFTER_UNDECIDED;
                    usual
                }
            }
            Err(error) => {
                self.parts.metrics.reconciled(error.kind.label());
                tracing::warn!(%error, "Pods could not be looked through");
                AFTER_FAILURE + clock.jitter(AFTER_FAILURE)
            }
        };
        work.survey_at = now + wait;
    }
}
