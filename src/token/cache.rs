//! One token for everybody who needs the same: single flight, background renewal, and a memory for failures.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::metrics::Metrics;
use super::pace::Pace;
use super::slot::{Flight, Slot, Urgency, make_room};
use super::{MintError, MintErrorKind, Token, TokenKey, TokenSource};
use crate::clock::Clock;
use crate::policy::Identity;
use crate::pull_secret::Freshness;

/// The longest that one mint may take; the source's own time-outs are shorter.
const LONGEST_MINT: Duration = Duration::from_secs(15);

/// Tokens by key. Cheap to clone.
#[derive(Clone)]
pub struct TokenCache(Arc<Inner>);

struct Inner {
    source: Arc<dyn TokenSource>,
    clock: Clock,
    pace: Pace,
    metrics: Metrics,
    slots: Mutex<HashMap<TokenKey, Slot>>,
}

impl TokenCache {
    /// A cache in front of `source`.
    pub fn new(source: Arc<dyn TokenSource>, clock: Clock, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            source,
            pace: Pace::new(clock.clone()),
            clock,
            metrics,
            slots: Mutex::default(),
        }))
    }

    /// A usable token. An aging one is renewed by the way: an [`Urgency::Admission`] gets it at once,
    /// [`Urgency::Background`] waits for the new one. With none usable, waits for the one mint that all who ask share.
    /// Dropping the returned future never cancels that mint.
    ///
    /// # Errors
    /// With no usable token: the failure of that mint, or (for an admission) the last failure while it is remembered, or
    /// (for the background) while it is too soon to try again.
    pub async fn get(&self, key: &TokenKey, urgency: Urgency) -> Result<Arc<Token>, MintError> {
        let (flight, usable) = {
            let mut slots = self.slots();
            let now = self.0.clock.monotonic();
            make_room(&mut slots, key)?;
            let slot = slots.entry(key.clone()).or_default();
            let (freshness, usable) = slot.look(&self.0.clock, now);
            let wanted = match (freshness, slot.blocked(urgency, now)) {
                (Freshness::Fresh, _) => None,
                (_, Some(error)) => return usable.ok_or(error),
                (_, None) => Some(slot.join(|proven| self.start(key.clone(), proven))),
            };
            (wanted, usable)
        };
        match (flight, usable) {
            (Some(flight), None) => flight.await,
            (Some(flight), Some(aging)) if urgency == Urgency::Background => {
                Ok(flight.await.unwrap_or(aging))
            }
            (_, Some(token)) => Ok(token),
            // Not reached: what is fresh is usable.
            (None, None) => Err(ended()),
        }
    }

    /// When a background attempt for `key` makes sense again, if it just failed.
    pub fn retry_at(&self, key: &TokenKey) -> Option<Instant> {
        self.slots().get(key)?.retry_at()
    }

    /// Why tokens that were asked for lately cannot be made, for people; `None` while all can. A region that nobody
    /// knows is left out: Pods can invent one.
    pub fn trouble(&self) -> Option<String> {
        let now = self.0.clock.monotonic();
        let slots = self.slots();
        let troubles = slots.iter().filter_map(|(key, slot)| {
            let error = slot.trouble(now)?;
            Some(format!("{}, {}: {error}", key.region, key.identity))
        });
        // The same one each time, not that of a map's order.
        troubles.min()
    }

    /// What is known of whether an identity can make tokens, by the last attempt that tells: when that was, and why it
    /// cannot, if it cannot. Trouble on the way to AWS, or of AWS, tells nothing.
    pub fn last_word(&self, identity: &Identity) -> Option<(Instant, Result<(), MintError>)> {
        let slots = self.slots();
        let of_identity = slots.iter().filter(|(key, _)| key.identity == *identity);
        let words = of_identity.flat_map(|(_, slot)| slot.words());
        let (at, word) = words.max_by_key(|(at, _)| *at)?;
        Some((at, word.map_err(MintError::clone)))
    }

    /// Starts the mint as a task of its own, so that an admission that gives up does not take it along.
    fn start(&self, key: TokenKey, proven: bool) -> Flight {
        let cache = self.clone();
        let task = tokio::spawn(async move { cache.mint(&key, proven).await });
        async move { task.await.unwrap_or_else(|_| Err(ended())) }
            .boxed()
            .shared()
    }

    async fn mint(&self, key: &TokenKey, proven: bool) -> Result<Arc<Token>, MintError> {
        let inner = &*self.0;
        let minted = {
            let _turn = inner.pace.turn(key, proven).await;
            let mint = AssertUnwindSafe(inner.source.mint(key)).catch_unwind();
            tokio::time::timeout(LONGEST_MINT, mint).await
        };
        let minted = match minted {
            Ok(Ok(Ok(token))) => usable(token),
            Ok(Ok(Err(error))) => Err(error),
            // A flight that is never ended would fail everybody who joins it from then on.
            Ok(Err(_panic)) => Err(ended()),
            Err(_elapsed) => Err(MintError {
                kind: MintErrorKind::TimedOut,
                message: format!(
                    "ECR in {} gave no token within {LONGEST_MINT:?}; check the network path to AWS",
                    key.region
                ),
            }),
        };
        inner.metrics.minted(key, minted.as_ref().err());
        match minted {
            Ok(token) => Ok(self.keep(key, token)),
            Err(error) => {
                tracing::warn!(region = &*key.region, identity = %key.identity, kind = error.kind.label(), %error, "no ECR token");
                self.remember(key, error.clone());
                Err(error)
            }
        }
    }

    fn keep(&self, key: &TokenKey, token: Token) -> Arc<Token> {
        let token = Arc::new(token);
        tracing::info!(region = &*key.region, identity = %key.identity, expires_at = %token.expires_at, "new ECR token");
        let mut slots = self.slots();
        let slot = slots.entry(key.clone()).or_default();
        slot.keep(&token, &self.0.clock);
        token
    }

    fn remember(&self, key: &TokenKey, error: MintError) {
        let mut slots = self.slots();
        let slot = slots.entry(key.clone()).or_default();
        slot.remember(error, &self.0.clock);
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<TokenKey, Slot>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A token that has expired on arrival would be asked for again by every admission.
fn usable(token: Token) -> Result<Token, MintError> {
    if token.expires_at > token.issued_at {
        return Ok(token);
    }
    Err(MintError {
        kind: MintErrorKind::Service,
        message: "ECR gave a token that has expired already; check what answers at its endpoint"
            .into(),
    })
}

fn ended() -> MintError {
    MintError {
        kind: MintErrorKind::Service,
        message: "making the ECR token ended unexpectedly; see the log of ecr-admission".into(),
    }
}
