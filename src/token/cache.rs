//! One token for everybody who needs the same: single flight, background renewal, and a memory for failures.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use jiff::Timestamp;
use tokio::time::Instant;

use super::metrics::Metrics;
use super::pace::Pace;
use super::{MintError, MintErrorKind, Token, TokenKey, TokenSource};
use crate::clock::Clock;
use crate::policy::Identity;
use crate::pull_secret::Freshness;
use crate::pull_secret::state::between;

/// How long an admission is refused a token that could just not be made, so that invented regions cannot keep
/// admissions waiting.
const FAILURE_REMEMBERED: Duration = Duration::from_mins(1);
/// The first and the longest wait between background attempts.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_mins(5);
/// The longest that one mint may take; the source's own time-outs are shorter.
const LONGEST_MINT: Duration = Duration::from_secs(15);
/// For how long after it was asked for a token that cannot be made counts as trouble.
const LATELY: Duration = Duration::from_mins(10);
/// The most keys that are remembered, and how many of them for one identity: regions come from image names, which anybody
/// can invent, and a tenant's must not use up the places of others. AWS has about forty regions.
const MOST_KEYS: usize = 4_096;
const MOST_KEYS_OF_ONE: usize = 64;

/// Who asks for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// An admission: told at once of a failure less than a minute old.
    Admission,
    /// Background work, which waits its turn: tries again as soon as the back-off allows.
    Background,
}

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

type Flight = Shared<BoxFuture<'static, Result<Arc<Token>, MintError>>>;

#[derive(Default)]
struct Slot {
    held: Option<Held>,
    flight: Option<Flight>,
    failure: Option<Failure>,
    used: Option<Instant>,
}

/// A token and when it was made by both of our clocks: its remaining life never depends on what the local wall clock
/// *says*, only on how far it has *moved*.
struct Held {
    token: Arc<Token>,
    life: Duration,
    at_wall: Timestamp,
    at_monotonic: Instant,
}

struct Failure {
    error: MintError,
    streak: u32,
    at: Instant,
    remembered_until: Instant,
    retry_at: Instant,
}

impl Held {
    fn freshness(&self, clock: &Clock) -> Freshness {
        let by_wall = between(self.at_wall, clock.reckoned());
        let by_monotonic = clock.monotonic().duration_since(self.at_monotonic);
        let left = self.life.saturating_sub(by_wall.max(by_monotonic));
        Freshness::of(self.life, left)
    }
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
            slot.used = Some(now);
            let held = slot.held.as_ref();
            let freshness = held.map_or(Freshness::Unusable, |held| held.freshness(&self.0.clock));
            let usable = held
                .filter(|_| freshness.is_usable())
                .map(|held| Arc::clone(&held.token));
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
        let slots = self.slots();
        let failure = slots.get(key)?.failure.as_ref()?;
        Some(failure.retry_at)
    }

    /// Why tokens that were asked for lately cannot be made, for people; `None` while all can. A region that nobody
    /// knows is left out: Pods can invent one.
    pub fn trouble(&self) -> Option<String> {
        let now = self.0.clock.monotonic();
        let slots = self.slots();
        let troubles = slots.iter().filter_map(|(key, slot)| {
            let failure = slot.failure.as_ref()?;
            let lately = slot.used.is_some_and(|at| now.duration_since(at) < LATELY);
            let real = failure.error.kind != MintErrorKind::UnknownRegion;
            (lately && real).then(|| format!("{}, {}: {}", key.region, key.identity, failure.error))
        });
        // The same one each time, not that of a map's order.
        troubles.min()
    }

    /// What is known of whether an identity can make tokens, by the last attempt that tells: when that was, and why it
    /// cannot, if it cannot. Trouble on the way to AWS, or of AWS, tells nothing.
    pub fn last_word(&self, identity: &Identity) -> Option<(Instant, Result<(), MintError>)> {
        let slots = self.slots();
        let of_identity = slots.iter().filter(|(key, _)| key.identity == *identity);
        let words = of_identity.flat_map(|(_, slot)| {
            let made = slot.held.as_ref().map(|held| (held.at_monotonic, Ok(())));
            let failed = slot.failure.as_ref().filter(|failure| {
                use MintErrorKind::{Denied, ExpiredCredentials, NoCredentials};
                matches!(
                    failure.error.kind,
                    Denied | ExpiredCredentials | NoCredentials
                )
            });
            let failed = failed.map(|failure| (failure.at, Err(failure.error.clone())));
            made.into_iter().chain(failed)
        });
        words.max_by_key(|(at, _)| *at)
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
        slot.held = Some(Held {
            life: between(token.issued_at, token.expires_at),
            token: Arc::clone(&token),
            at_wall: self.0.clock.reckoned(),
            at_monotonic: self.0.clock.monotonic(),
        });
        slot.flight = None;
        slot.failure = None;
        token
    }

    fn remember(&self, key: &TokenKey, error: MintError) {
        let now = self.0.clock.monotonic();
        let mut slots = self.slots();
        let slot = slots.entry(key.clone()).or_default();
        slot.flight = None;
        let streak = slot
            .failure
            .as_ref()
            .map_or(0, |failure| failure.streak + 1);
        let wait = backoff(error.kind, streak);
        slot.failure = Some(Failure {
            error,
            streak,
            at: now,
            remembered_until: now + FAILURE_REMEMBERED,
            retry_at: now + wait + self.0.clock.jitter(wait / 2),
        });
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<TokenKey, Slot>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// The failure that keeps `urgency` from trying now.
    fn blocked(&self, urgency: Urgency, now: Instant) -> Option<MintError> {
        let failure = self.failure.as_ref()?;
        let until = match urgency {
            Urgency::Admission => failure.remembered_until,
            Urgency::Background => failure.retry_at,
        };
        (self.flight.is_none() && now < until).then(|| failure.error.clone())
    }

    /// The mint under way, or a new one; `start` is told whether the key has given a token before.
    fn join(&mut self, start: impl FnOnce(bool) -> Flight) -> Flight {
        let proven = self.held.is_some();
        self.flight.get_or_insert_with(|| start(proven)).clone()
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

/// How long to wait after the `streak`-th failure in a row: what only a person can mend is retried a minute apart at
/// the soonest, what mends itself within seconds.
fn backoff(kind: MintErrorKind, streak: u32) -> Duration {
    let first = match kind {
        MintErrorKind::NoCredentials | MintErrorKind::Denied | MintErrorKind::UnknownRegion => {
            FAILURE_REMEMBERED
        }
        MintErrorKind::ExpiredCredentials
        | MintErrorKind::Throttled
        | MintErrorKind::Unreachable
        | MintErrorKind::TimedOut
        | MintErrorKind::Service => FIRST_RETRY,
    };
    first
        .saturating_mul(2_u32.saturating_pow(streak))
        .min(LONGEST_RETRY)
}

/// Makes room for a new key: at the expense of the same identity where that has too many, else of all. Forgotten is the
/// key that was least recently asked for, unless its mint is under way.
fn make_room(slots: &mut HashMap<TokenKey, Slot>, key: &TokenKey) -> Result<(), MintError> {
    if slots.contains_key(key) {
        return Ok(());
    }
    let own = |other: &TokenKey| other.identity == key.identity;
    let crowded = slots.keys().filter(|other| own(other)).count() >= MOST_KEYS_OF_ONE;
    if !crowded && slots.len() < MOST_KEYS {
        return Ok(());
    }
    let idle = slots.iter().filter(|(_, slot)| slot.flight.is_none());
    let idle = idle.filter(|(other, _)| !crowded || own(other));
    // A key that never gave a token goes before one that did.
    let oldest = idle.min_by_key(|(_, slot)| (slot.held.is_some(), slot.used));
    let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
        let (most, whose) = if crowded {
            (MOST_KEYS_OF_ONE, format!(" by {}", key.identity))
        } else {
            (MOST_KEYS, String::new())
        };
        return Err(MintError {
            kind: MintErrorKind::Throttled,
            message: format!(
                "{most} ECR regions are being asked for a token{whose}; try again in a moment"
            ),
        });
    };
    slots.remove(&oldest);
    Ok(())
}
