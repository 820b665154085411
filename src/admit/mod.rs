//! One admission, from review to verdict.

mod agenda;
mod ensure;
mod failure;
mod heal;
mod judge;
mod mend;
mod metrics;
mod need;
mod new_entries;
mod notice;
mod outcome;
mod overruled;
mod pinned;
mod pod;
mod put;
mod reconcile;
mod record;
mod refresh;
mod renewal;
mod retries;
mod survey;
mod surveyor;
mod timing;
mod unchecked;
mod workload;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::time::timeout_at;

use crate::clock::Clock;
use crate::event::Events;
use crate::namespace::{NamespaceIndex, is_valid_name};
use crate::policy::Policy;
use crate::review::{Envelope, InjectionPatch, Operation, Review, Unreadable, parse, parse_front};
use crate::rulebook::Rulebook;
use crate::secret::{PodImages, SecretIndex, SecretWriter};
use crate::token::TokenCache;
use ensure::{EnsureParts, Ensurer};
use heal::Healer;
pub use metrics::Metrics;
pub use outcome::{Outcome, Verdict};
use reconcile::{ReconcileParts, Reconciler};
use refresh::Refresher;
use renewal::RefreshParts;
pub use timing::Timing;

/// Which webhook is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Webhook {
    /// Validates, ensures and injects.
    Mutating,
    /// Validates and ensures; sees the final object and the workload templates, and patches nothing.
    Validating,
}

/// What an admission needs beside the parts that do the work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The Secret's name in every namespace.
    pub secret: String,
    /// Namespaces that are left alone: kube-system and our own, so that we never stand in the way of our own Pods.
    pub excluded_namespaces: BTreeSet<String>,
}

/// The parts that do the work.
pub struct Parts {
    /// Time and jitter.
    pub clock: Clock,
    /// What is known of Secrets.
    pub index: Arc<SecretIndex>,
    /// What is known of namespaces.
    pub namespaces: Arc<NamespaceIndex>,
    /// What is allowed in them.
    pub rulebook: Arc<Rulebook>,
    /// Writes Secrets.
    pub writer: SecretWriter,
    /// Makes tokens.
    pub tokens: TokenCache,
    /// Which images Pods name.
    pub pods: Arc<dyn PodImages>,
    /// Tells people what they must act on.
    pub events: Arc<Events>,
    /// Counts.
    pub metrics: Metrics,
}

/// Why a request gets HTTP 400 instead of an answer: it is no AdmissionReview, so there is no uid to answer with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAReview(String);

/// The service behind both webhooks.
pub struct Admission {
    settings: Arc<Settings>,
    injection: InjectionPatch,
    clock: Clock,
    index: Arc<SecretIndex>,
    namespaces: Arc<NamespaceIndex>,
    rulebook: Arc<Rulebook>,
    ensurer: Ensurer,
    healer: Healer,
    refresher: Refresher,
    reconciler: Reconciler,
    metrics: Metrics,
}

impl Admission {
    /// The service, ready for reviews. The index may still be empty.
    pub fn new(settings: Settings, parts: Parts) -> Self {
        let Parts {
            clock,
            index,
            namespaces,
            rulebook,
            writer,
            tokens,
            pods,
            events,
            metrics,
        } = parts;
        let settings = Arc::new(settings);
        let ensurer = Ensurer::new(EnsureParts {
            writer,
            tokens,
            rulebook: Arc::clone(&rulebook),
            clock: clock.clone(),
            events: Arc::clone(&events),
            metrics: metrics.clone(),
        });
        Self {
            injection: InjectionPatch::new(&settings.secret),
            healer: Healer::new(ensurer.clone(), clock.clone()),
            reconciler: Reconciler::new(ReconcileParts {
                settings: Arc::clone(&settings),
                ensurer: ensurer.clone(),
                index: Arc::clone(&index),
                namespaces: Arc::clone(&namespaces),
                rulebook: Arc::clone(&rulebook),
                pods: Arc::clone(&pods),
                events,
                clock: clock.clone(),
                metrics: metrics.clone(),
            }),
            refresher: Refresher::new(RefreshParts {
                ensurer: ensurer.clone(),
                index: Arc::clone(&index),
                namespaces: Arc::clone(&namespaces),
                rulebook: Arc::clone(&rulebook),
                pods,
                clock: clock.clone(),
                metrics: metrics.clone(),
            }),
            settings,
            clock,
            index,
            namespaces,
            rulebook,
            ensurer,
            metrics,
        }
    }

    /// The clock that deadlines are measured by.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Answers the review in `body` in time.
    ///
    /// # Errors
    /// [`NotAReview`] when there is no uid to answer with; everything else is an answer.
    pub async fn answer(
        &self,
        webhook: Webhook,
        body: &[u8],
        timing: Timing,
    ) -> Result<Vec<u8>, NotAReview> {
        let review = match parse(body) {
            Ok(review) => review,
            Err(Unreadable::NotAReview(reason)) => return Err(NotAReview(reason)),
            Err(Unreadable::Object { envelope, reason }) => {
                let outcome = self.unreadable(&envelope, &reason);
                return Ok(self.finish(&envelope, &outcome, timing));
            }
        };
        let outcome = AssertUnwindSafe(self.decide(webhook, body, &review, timing));
        let outcome = outcome.catch_unwind().await;
        let outcome = outcome.unwrap_or_else(|_| self.internal_failure());
        Ok(self.finish(&review.envelope, &outcome, timing))
    }

    /// Answers a review that was too large to be read whole, from the envelope at its front.
    ///
    /// # Errors
    /// [`NotAReview`] when no envelope can be read there.
    pub fn answer_too_large(&self, front: &[u8], timing: Timing) -> Result<Vec<u8>, NotAReview> {
        let envelope = parse_front(front).ok_or_else(|| {
            NotAReview("the body is too large, and no AdmissionReview starts it".to_owned())
        })?;
        let outcome = self.too_large(&envelope);
        Ok(self.finish(&envelope, &outcome, timing))
    }

    /// Keeps every Secret that Pods use fresh, for ever. Cancel-safe; every replica does it, unless another was first.
    pub async fn keep_fresh(&self) {
        self.refresher.run().await;
    }

    /// Looks after what admissions do not see, for ever: pinned registries, Secrets that somebody deleted or edited,
    /// Pods that wait for what nobody made. Cancel-safe; every replica does it.
    pub async fn reconcile(&self) {
        self.reconciler.run().await;
    }

    /// How many namespaces wait for a Secret that could not be made yet.
    pub fn healing(&self) -> usize {
        // A namespace can be in both.
        self.healer.len().max(self.reconciler.failing())
    }

    /// Why tokens that were asked for lately cannot be made; `None` while all can.
    pub fn token_trouble(&self) -> Option<String> {
        self.ensurer.token_trouble()
    }

    async fn decide(
        &self,
        webhook: Webhook,
        body: &[u8],
        review: &Review<'_>,
        timing: Timing,
    ) -> Outcome {
        let envelope = &review.envelope;
        if self.is_excluded(envelope) {
            return Outcome::allow("excluded_namespace");
        }
        if !is_pod(envelope) {
            return self.workload(webhook, body, envelope, timing).await;
        }
        let operation = envelope.operation();
        if operation == Operation::Other {
            return Outcome::allow("other_operation");
        }
        if !is_valid_name(envelope.namespace()) {
            // The API server sends none such, and the name would become part of a URL.
            let message = "this Pod is in no namespace that can exist";
            return Outcome::refuse("bad_namespace", message);
        }
        let Some(pod) = &review.object else {
            return self.unreadable(envelope, "the review holds no object");
        };
        if pod.is_mirror() {
            return Outcome::allow("mirror_pod");
        }
        match operation {
            // Only the API server sets a deletionTimestamp, and never on a new Pod.
            Operation::Update if pod.is_being_deleted() => Outcome::allow("being_deleted"),
            Operation::Update => self.update(review, pod, timing).await,
            Operation::Create | Operation::Other => {
                self.create(webhook, envelope, pod, timing).await
            }
        }
    }

    /// What holds in the review's namespace; or the answer, where that cannot be told.
    async fn ruling(
        &self,
        envelope: &Envelope<'_>,
        timing: Timing,
    ) -> Result<Arc<Policy>, Outcome> {
        if let Some(ruling) = self.rulebook.ruling(envelope.namespace()) {
            return Ok(ruling);
        }
        let read = self.rulebook.ruling_live(envelope.namespace());
        let reason = match timeout_at(timing.deadline, read).await {
            Ok(Ok(ruling)) => return Ok(ruling),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the API server did not answer in time".to_owned(),
        };
        let message =
            format!("the policies for this namespace cannot be told: {reason}; try again");
        Err(if self.rulebook.set().may_enforce() {
            Outcome::refuse("namespace_unknown", message)
        } else {
            Outcome::warn("namespace_unknown", message)
        })
    }

    fn is_excluded(&self, envelope: &Envelope<'_>) -> bool {
        let excluded = &self.settings.excluded_namespaces;
        excluded.contains(envelope.namespace())
    }

    fn finish(&self, envelope: &Envelope<'_>, outcome: &Outcome, timing: Timing) -> Vec<u8> {
        let now = self.clock.monotonic();
        let took = now.duration_since(timing.arrived.monotonic);
        self.metrics.admitted(
            envelope.operation(),
            outcome.verdict(),
            outcome.reason,
            took,
        );
        record::log(envelope, outcome, took);
        outcome.answer.to_json(envelope.uid(), &self.injection)
    }
}

fn is_pod(envelope: &Envelope<'_>) -> bool {
    envelope.group().is_empty() && envelope.kind() == "Pod"
}
