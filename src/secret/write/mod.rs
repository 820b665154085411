//! Writing entries into a namespace's Secret: read, merge, compare-and-swap, again.

mod round;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::metrics::Metrics;
use super::refusals::Refusals;
use super::{
    Known, Lookup, PodImages, Revocation, SecretIndex, SecretStore, StoreError, StoreErrorKind,
    Wanted, WriteError,
};
use crate::clock::Clock;
use crate::token::Token;
use round::Round;

/// How often a write is tried again because somebody else wrote in between. Each round one of the rivals succeeds, and
/// rivals are replicas and a person at most.
const ATTEMPTS: u32 = 10;
/// The longest random pause before the next try.
const PAUSE: Duration = Duration::from_millis(50);
/// The most writes under way at once, so that a burst of new namespaces does not flood the API server.
const AT_ONCE: usize = 32;

/// An entry to put into a Secret, with the token that it is to hold.
#[derive(Clone, Copy, Debug)]
pub struct Put<'a> {
    /// What is wanted.
    pub wanted: Wanted<'a>,
    /// The token for it.
    pub token: &'a Token,
    /// When a Pod last used it.
    pub used_at: Timestamp,
}

/// What is to be in a Secret after a write: these entries, and of the others all that are not revoked.
#[derive(Clone, Copy)]
pub(super) struct Aim<'a> {
    pub(super) puts: &'a [Put<'a>],
    pub(super) revocation: &'a Revocation,
}

/// Puts entries into Secrets.
pub struct SecretWriter {
    /// The Secret's name in every namespace, for messages.
    pub(super) secret: String,
    store: Arc<dyn SecretStore>,
    pods: Arc<dyn PodImages>,
    pub(super) index: Arc<SecretIndex>,
    pub(super) clock: Clock,
    metrics: Metrics,
    turns: Semaphore,
    refusals: Refusals,
    /// Whether an entry is renewed that is fresh still.
    pub(super) eager: bool,
}

impl SecretWriter {
    /// A writer of the Secret named `secret` in every namespace.
    pub fn new(
        secret: &str,
        store: Arc<dyn SecretStore>,
        pods: Arc<dyn PodImages>,
        index: Arc<SecretIndex>,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        Self {
            secret: secret.to_owned(),
            store,
            pods,
            index,
            refusals: Refusals::new(clock.clone()),
            clock,
            metrics,
            turns: Semaphore::new(AT_ONCE),
            eager: false,
        }
    }

    /// The same, but it replaces fresh entries too, by tokens that live longer: it may not be back before they expire.
    #[must_use]
    pub fn eager(mut self) -> Self {
        self.eager = true;
        self
    }

    /// The Secret's name in every namespace.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// What is known of a namespace's Secret of ours, read from the store when the index is unsure.
    ///
    /// # Errors
    /// [`WriteError::Foreign`], and the store's when it had to be read.
    pub async fn known(&self, namespace: &str) -> Result<Option<Arc<Known>>, WriteError> {
        let known = match self.index.look_up(namespace) {
            Lookup::Known(known) => Some(known),
            Lookup::Absent => None,
            Lookup::Unsure => {
                let stored = self.store.get(namespace).await?;
                let known = stored.map(|stored| self.index.saw(namespace, &stored.metadata));
                if known.is_none() {
                    self.index.saw_none(namespace);
                }
                known
            }
        };
        match known {
            Some(known) if !known.is_owned() => Err(self.foreign(namespace)),
            known => Ok(known),
        }
    }

    /// Makes sure that the namespace's Secret holds `puts`, each at least as fresh as the token that came with it, and
    /// nothing that is revoked. Tells whether anything had to be written.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed then.
    pub async fn put(
        &self,
        namespace: &str,
        puts: &[Put<'_>],
        revocation: &Revocation,
    ) -> Result<bool, WriteError> {
        let aim = Aim { puts, revocation };
        let mut expect_none = match self.index.look_up(namespace) {
            Lookup::Known(known) if self.is_done(&known, aim) => return Ok(false),
            Lookup::Known(_) | Lookup::Unsure => false,
            Lookup::Absent if puts.is_empty() => return Ok(false),
            Lookup::Absent => true,
        };
        if let Some(error) = self.refusals.recent(namespace) {
            return Err(error.into());
        }
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await.ok();
        for _ in 0..ATTEMPTS {
            let round = if expect_none {
                self.create(namespace, aim).await
            } else {
                match self.store.get(namespace).await {
                    Ok(Some(stored)) => self.update(namespace, stored, aim).await,
                    Ok(None) if puts.is_empty() => Ok(Round::Done { written: false }),
                    Ok(None) => self.create(namespace, aim).await,
                    Err(error) => Err(self.failed(error)),
                }
            };
            match round? {
                Round::Done { written } => return Ok(written),
                Round::Again => expect_none = false,
            }
            tokio::time::sleep(self.clock.jitter(PAUSE)).await;
        }
        let error = StoreError {
            kind: StoreErrorKind::Conflict,
            message: format!(
                "cannot write Secret {:?} in namespace {namespace:?}: somebody else wrote it at each of {ATTEMPTS} attempts; find \
                 out who keeps writing it",
                self.secret
            ),
        };
        Err(self.failed(error))
    }

    /// Deletes the namespace's Secret when every entry in it has expired, so that nobody misses it. An admission that
    /// puts a new one in at the same time wins. Tells whether it was deleted.
    ///
    /// # Errors
    /// [`WriteError`]; nothing was changed then.
    pub async fn delete_expired(&self, namespace: &str) -> Result<bool, WriteError> {
        let stored = self.store.get(namespace).await;
        let Some(stored) = stored.map_err(|error| self.failed(error))? else {
            self.index.saw_none(namespace);
            return Ok(false);
        };
        let known = self.index.saw(namespace, &stored.metadata);
        if !stored.metadata.owned || !known.is_expired(self.clock.moment()) {
            return Ok(false);
        }
        match self.store.delete(namespace, &stored.metadata).await {
            Ok(()) => {
                self.metrics.wrote("deleted");
                self.index.saw_none(namespace);
                Ok(true)
            }
            Err(error) => self.again(namespace, error).map(|_| false),
        }
    }

    /// Another round when somebody else wrote in between; otherwise the end.
    fn again(&self, namespace: &str, error: StoreError) -> Result<Round, WriteError> {
        use StoreErrorKind::{AlreadyExists, Conflict, NotFound};
        if matches!(error.kind, Conflict | AlreadyExists | NotFound) {
            self.metrics.conflicted();
            Ok(Round::Again)
        } else {
            self.refusals.remember(namespace, &error);
            Err(self.failed(error))
        }
    }

    fn failed(&self, error: StoreError) -> WriteError {
        self.metrics.wrote(error.kind.label());
        error.into()
    }

    fn foreign(&self, namespace: &str) -> WriteError {
        self.metrics.wrote("foreign");
        WriteError::Foreign {
            secret: self.secret.clone(),
            namespace: namespace.to_owned(),
        }
    }
}
