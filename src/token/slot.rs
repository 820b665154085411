//! What is known of one key's token: the one that is held, the mint under way, the last failure.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, Shared};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{MintError, MintErrorKind, Token, TokenKey};
use crate::clock::Clock;
use crate::pull_secret::Freshness;
use crate::pull_secret::state::between;

/// How long an admission is refused a token that could just not be made, so that invented regions cannot keep
/// admissions waiting.
const FAILURE_REMEMBERED: Duration = Duration::from_mins(1);
/// The first and the longest wait between background attempts.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_mins(5);
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

/// A mint under way, for all who wait for it.
pub(super) type Flight = Shared<BoxFuture<'static, Result<Arc<Token>, MintError>>>;

/// One key's token, as far as there is one.
#[derive(Default)]
pub(super) struct Slot {
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

impl Slot {
    /// The held token if it can be used, and how fresh it is; asked for at `now`.
    pub(super) fn look(&mut self, clock: &Clock, now: Instant) -> (Freshness, Option<Arc<Token>>) {
        self.used = Some(now);
        let held = self.held.as_ref();
        let freshness = held.map_or(Freshness::Unusable, |held| held.freshness(clock));
        let usable = held.filter(|_| freshness.is_usable());
        (freshness, usable.map(|held| Arc::clone(&held.token)))
    }

    /// The failure that keeps `urgency` from trying now.
    pub(super) fn blocked(&self, urgency: Urgency, now: Instant) -> Option<MintError> {
        let failure = self.failure.as_ref()?;
        let until = match urgency {
            Urgency::Admission => failure.remembered_until,
            Urgency::Background => failure.retry_at,
        };
        (self.flight.is_none() && now < until).then(|| failure.error.clone())
    }

    /// The mint under way, or a new one; `start` is told whether the key has given a token before.
    pub(super) fn join(&mut self, start: impl FnOnce(bool) -> Flight) -> Flight {
        let proven = self.held.is_some();
        self.flight.get_or_insert_with(|| start(proven)).clone()
    }

    /// The mint is over, and gave this.
    pub(super) fn keep(&mut self, token: &Arc<Token>, clock: &Clock) {
        self.held = Some(Held {
            life: between(token.issued_at, token.expires_at),
            token: Arc::clone(token),
            at_wall: clock.reckoned(),
            at_monotonic: clock.monotonic(),
        });
        self.flight = None;
        self.failure = None;
    }

    /// The mint is over, and failed.
    pub(super) fn remember(&mut self, error: MintError, clock: &Clock) {
        let now = clock.monotonic();
        self.flight = None;
        let failure = self.failure.as_ref();
        let streak = failure.map_or(0, |failure| failure.streak + 1);
        let wait = backoff(error.kind, streak);
        self.failure = Some(Failure {
            error,
            streak,
            at: now,
            remembered_until: now + FAILURE_REMEMBERED,
            retry_at: now + wait + clock.jitter(wait / 2),
        });
    }

    /// When a background attempt makes sense again, if the last one failed.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        Some(self.failure.as_ref()?.retry_at)
    }

    /// Why the token cannot be made, if somebody asked for it lately. A region that nobody knows is no trouble: Pods can
    /// invent one.
    pub(super) fn trouble(&self, now: Instant) -> Option<&MintError> {
        let error = &self.failure.as_ref()?.error;
        let lately = self.used.is_some_and(|at| now.duration_since(at) < LATELY);
        (lately && error.kind != MintErrorKind::UnknownRegion).then_some(error)
    }

    /// When and how the identity last proved that it can make this token, or that it cannot. Trouble on the way to AWS, or
    /// of AWS, proves nothing.
    pub(super) fn words(&self) -> impl Iterator<Item = (Instant, Result<(), &MintError>)> {
        use MintErrorKind::{Denied, ExpiredCredentials, NoCredentials};
        let made = self.held.as_ref().map(|held| (held.at_monotonic, Ok(())));
        let failed = self.failure.as_ref().filter(|failure| {
            matches!(
                failure.error.kind,
                Denied | ExpiredCredentials | NoCredentials
            )
        });
        let failed = failed.map(|failure| (failure.at, Err(&failure.error)));
        made.into_iter().chain(failed)
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
pub(super) fn make_room(
    slots: &mut HashMap<TokenKey, Slot>,
    key: &TokenKey,
) -> Result<(), MintError> {
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
