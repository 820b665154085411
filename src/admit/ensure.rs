//! Making sure that a namespace's Secret holds fresh tokens, within an admission's deadline.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::failure::EnsureError;
use super::metrics::Metrics;
use super::need::Need;
use super::new_entries::NewEntries;
use super::notice;
use crate::clock::Clock;
use crate::event::Events;
use crate::policy::Policy;
use crate::pull_secret::Freshness;
use crate::rulebook::Rulebook;
use crate::secret::{Known, SecretWriter};
use crate::token::TokenCache;

/// The most ensures under way or waiting: beyond that, an admission is told at once instead of queueing past its
/// deadline.
const MOST_WAITING: usize = 4_096;
/// How long a registry whose token is slow keeps the Pod's other registries waiting.
pub(super) const HEAD_START: Duration = Duration::from_secs(1);

/// On whose behalf something is ensured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A Pod that is being admitted.
    Admission,
    /// The same, but nothing may be written.
    DryRun,
    /// Nobody waits.
    Background,
}

/// Ensures credentials, many namespaces at once. Cheap to clone.
#[derive(Clone)]
pub(super) struct Ensurer(Arc<Inner>);

/// What an [`Ensurer`] works with.
pub(super) struct EnsureParts {
    pub(super) writer: SecretWriter,
    pub(super) tokens: TokenCache,
    pub(super) rulebook: Arc<Rulebook>,
    pub(super) clock: Clock,
    pub(super) events: Arc<Events>,
    pub(super) metrics: Metrics,
}

pub(super) struct Inner {
    pub(super) writer: SecretWriter,
    pub(super) tokens: TokenCache,
    pub(super) rulebook: Arc<Rulebook>,
    pub(super) clock: Clock,
    events: Arc<Events>,
    metrics: Metrics,
    waiting: Arc<Semaphore>,
    new_entries: NewEntries,
    /// One reader or writer of a namespace's Secret at a time: whoever comes second finds the work done.
    locks: Mutex<HashMap<Arc<str>, Arc<tokio::sync::Mutex<()>>>>,
    /// The namespaces that are being renewed in the background.
    renewing: Mutex<HashSet<Arc<str>>>,
}

impl Ensurer {
    pub(super) fn new(parts: EnsureParts) -> Self {
        let EnsureParts {
            writer,
            tokens,
            rulebook,
            clock,
            events,
            metrics,
        } = parts;
        Self(Arc::new(Inner {
            writer,
            tokens,
            rulebook,
            new_entries: NewEntries::new(clock.clone()),
            clock,
            events,
            metrics,
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
            locks: Mutex::default(),
            renewing: Mutex::default(),
        }))
    }

    /// Ensures `needs` in `namespace` and waits for it until `deadline`. The work goes on after that.
    pub(super) async fn ensure(
        &self,
        namespace: &str,
        needs: Vec<Need>,
        purpose: Purpose,
        deadline: Instant,
    ) -> Result<(), EnsureError> {
        let work = self.start(namespace.into(), needs, purpose)?;
        let outcome = timeout_at(deadline, work).await;
        outcome.unwrap_or(Err(EnsureError::TooSlow))
    }

    /// Renews `needs` in the background, unless that is under way already.
    pub(super) fn renew(&self, namespace: &str, needs: Vec<Need>) {
        let namespace: Arc<str> = namespace.into();
        if !self.0.renewing().insert(Arc::clone(&namespace)) {
            return;
        }
        let renewal = Renewal(self.clone(), Arc::clone(&namespace));
        // There are hours left to renew it: a full queue leaves it to the next admission.
        if let Ok(work) = self.start(namespace, needs, Purpose::Background) {
            tokio::spawn(async move {
                // Its outcome is logged and counted.
                let _ = work.await;
                drop(renewal);
            });
        }
    }

    /// One attempt on behalf of the background.
    pub(super) async fn retry(&self, namespace: &str, needs: Vec<Need>) -> Result<(), EnsureError> {
        self.start(namespace.into(), needs, Purpose::Background)?
            .await
    }

    /// When the first of the tokens for `needs` may be asked for again; now, where none has failed.
    pub(super) fn retry_at(&self, needs: &[Need]) -> Instant {
        let now = self.0.clock.monotonic();
        let retries = needs
            .iter()
            .map(|need| self.0.tokens.retry_at(need.token()).unwrap_or(now));
        retries.min().unwrap_or(now)
    }

    /// Whether a Secret holds other than this policy grants its namespace.
    pub(super) fn revokes(&self, known: &Known, policy: &Policy) -> bool {
        let granted = |key: &str, fingerprint: &str| policy.grants_key(key, fingerprint);
        self.0.writer.revokes(known, &granted)
    }

    /// Deletes a Secret in which nothing lives; whether it did.
    pub(super) async fn delete_expired(&self, namespace: &str) -> Result<bool, EnsureError> {
        let namespace: Arc<str> = namespace.into();
        let lock = self.0.lock(&namespace);
        let _alone = lock.mutex.lock().await;
        Ok(self.0.writer.delete_expired(&namespace).await?)
    }

    pub(super) fn token_trouble(&self) -> Option<String> {
        self.0.tokens.trouble()
    }

    /// Runs as a task of its own, so that an admission that gives up does not take the work along.
    fn start(
        &self,
        namespace: Arc<str>,
        needs: Vec<Need>,
        purpose: Purpose,
    ) -> Result<impl Future<Output = Result<(), EnsureError>> + use<>, EnsureError> {
        let Ok(place) = Arc::clone(&self.0.waiting).try_acquire_owned() else {
            return Err(EnsureError::Busy);
        };
        let inner = Arc::clone(&self.0);
        let task = tokio::spawn(async move {
            let started = inner.clock.monotonic();
            let outcome = inner.work(&namespace, &needs, purpose).await;
            let took = inner.clock.monotonic().duration_since(started);
            let failure = outcome.as_ref().err();
            inner.metrics.ensured(took, failure.map(EnsureError::label));
            let namespace = &*namespace;
            match &outcome {
                Ok(true) => tracing::info!(namespace, ?took, "pull Secret written"),
                Ok(false) => tracing::debug!(namespace, ?took, "pull Secret needs no write"),
                Err(error) => {
                    tracing::warn!(namespace, ?took, %error, "pull Secret not ensured");
                    let event = notice::of_failure(namespace, inner.writer.secret(), error);
                    if purpose != Purpose::DryRun
                        && let Some(event) = event
                    {
                        inner.events.tell(event);
                    }
                }
            }
            drop(place);
            outcome.map(drop)
        });
        Ok(async move { task.await.unwrap_or(Err(EnsureError::Ended)) })
    }
}

impl Inner {
    /// Tells whether anything had to be written.
    async fn work(
        &self,
        namespace: &Arc<str>,
        needs: &[Need],
        purpose: Purpose,
    ) -> Result<bool, EnsureError> {
        let known = {
            let lock = self.lock(namespace);
            let _alone = lock.mutex.lock().await;
            self.writer.known(namespace).await?
        };
        let known = known.as_deref();
        let granted = self.rulebook.grants(namespace);
        let revokes = known.is_some_and(|known| self.writer.revokes(known, &granted));
        let stale = self.stale(namespace, needs, known);
        if !revokes && stale.is_empty() {
            return Ok(false);
        }
        let admitted = self.new_entries.admit(namespace, known, &stale);
        let (mut pending, mut failure) = match admitted {
            Ok(()) => (stale, None),
            // What is to go goes all the same.
            Err(limit) if revokes => (Vec::new(), Some(limit.on(namespace))),
            Err(limit) => return Err(limit.on(namespace)),
        };

        let mut puts = match known {
            Some(known) if purpose != Purpose::DryRun => {
                self.restored(namespace, known, &pending).await
            }
            _ => Vec::new(),
        };
        let mut written = false;
        for patience in [HEAD_START, Duration::MAX] {
            let answers = self.tokens(&pending, purpose, patience).await;
            let mut late = Vec::new();
            for (need, answer) in pending.into_iter().zip(answers) {
                match answer {
                    Some(Ok(token)) => puts.push((need, token)),
                    Some(Err(error)) => {
                        let registry = Arc::clone(need.key());
                        failure.get_or_insert(EnsureError::NoToken { registry, error });
                    }
                    None => late.push(need),
                }
            }
            if purpose != Purpose::DryRun && (revokes || !puts.is_empty()) {
                let (put, unconfirmed) = self.put(namespace, &puts).await?;
                written |= put;
                failure = failure.or(unconfirmed.map(EnsureError::from));
            }
            puts.clear();
            pending = late;
            if pending.is_empty() {
                break;
            }
        }
        failure.map_or(Ok(written), Err)
    }

    /// Those of `needs` that are still granted, whoever asked may have waited for hours, and that are not fresh.
    fn stale(&self, namespace: &str, needs: &[Need], known: Option<&Known>) -> Vec<Need> {
        let ruling = self.rulebook.ruling(namespace);
        let as_granted = |need: &Need| match &ruling {
            Some(policy) => need.clone().granted_by(policy),
            None => Some(need.clone()),
        };
        let now = self.clock.moment();
        let is_fresh = |need: &Need| {
            known.is_some_and(|known| known.freshness(need.wanted(), now) == Freshness::Fresh)
        };
        let granted = needs.iter().filter_map(as_granted);
        granted.filter(|need| !is_fresh(need)).collect()
    }

    pub(super) fn lock<'a>(&'a self, namespace: &'a Arc<str>) -> NamespaceLock<'a> {
        let mut locks = self.locks();
        let mutex = Arc::clone(locks.entry(Arc::clone(namespace)).or_default());
        NamespaceLock {
            inner: self,
            namespace,
            mutex,
        }
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<tokio::sync::Mutex<()>>>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renewing(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.renewing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A namespace's lock, forgotten when nobody uses it any more, be it after a panic.
pub(super) struct NamespaceLock<'a> {
    inner: &'a Inner,
    namespace: &'a Arc<str>,
    pub(super) mutex: Arc<tokio::sync::Mutex<()>>,
}

impl Drop for NamespaceLock<'_> {
    fn drop(&mut self) {
        let mut locks = self.inner.locks();
        // The map's and ours.
        if Arc::strong_count(&self.mutex) == 2 {
            locks.remove(self.namespace);
        }
    }
}

/// A renewal under way.
struct Renewal(Ensurer, Arc<str>);

impl Drop for Renewal {
    fn drop(&mut self) {
        self.0.0.renewing().remove(&self.1);
    }
}
