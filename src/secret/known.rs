//! What is kept of one Secret, and whether it serves a need.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::names::Names;
use super::{DataWriter, Granted, SecretMetadata};
use crate::clock::{Clock, Moment, add};
use crate::pull_secret::state::{VERSION, between};
use crate::pull_secret::{Entry, Freshness, State};

/// The generation that we write: what is granted is told by the identity.
const GENERATION: u64 = 0;

/// The longest life of an ECR token (GetAuthorizationToken: 12 hours). A state that claims more is not believed.
const LONGEST_LIFE: Duration = Duration::from_hours(12);

/// A projection of one Secret's metadata.
#[derive(Debug)]
pub struct Known {
    uid: Box<str>,
    resource_version: Box<str>,
    owned: bool,
    /// Somebody else wrote the data; from this moment on it counts as stale, and until then as it stands.
    repair_due: Option<Instant>,
    seen_at: Instant,
    entries: Box<[Held]>,
    /// Half of the life that ends first; `None` without entries.
    half_life: Option<HalfLife>,
    /// Whether it holds entries that only a newer version understands.
    has_unknown: bool,
}

/// A projection of one entry of the state.
#[derive(Debug)]
struct Held {
    key: Arc<str>,
    identity: Arc<str>,
    life: Duration,
    issued_at: Timestamp,
    expires_at: Timestamp,
    used_at: Timestamp,
    /// What was left of its life when it was first seen, as a moment of the monotonic clock: it is expired when either
    /// clock says so.
    deadline: Instant,
    /// A newer version or policy generation wrote it: not ours to rewrite while it has life.
    version: u32,
    generation: u64,
    retiring: bool,
}

/// When the first entry reaches half of its life, by each clock, and the shortest life of any.
#[derive(Clone, Copy, Debug)]
struct HalfLife {
    wall: Timestamp,
    monotonic: Instant,
    shortest_life: Duration,
}

/// What a namespace needs: an `auths` entry, made with an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The `auths` key.
    pub key: &'a str,
    /// The fingerprint of the identity.
    pub identity: &'a str,
    /// The generation of the policy that grants it; 0 where none does.
    pub generation: u64,
}

/// How an entry stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The `auths` key.
    pub key: &'a str,
    /// Its token's whole life.
    pub life: Duration,
    /// What is left of it; zero when it has expired.
    pub left: Duration,
    /// When a Pod last used it.
    pub used_at: Timestamp,
}

impl Known {
    pub(super) fn new(
        metadata: &SecretMetadata,
        repair_due: Option<Instant>,
        before: Option<&Self>,
        names: &Names,
        clock: &Clock,
    ) -> Self {
        let state = State::parse(metadata.state.as_deref());
        let before = before.filter(|before| *before.uid == *metadata.uid);
        let written_at = match metadata.data_writer {
            DataWriter::Us { at } => at,
            DataWriter::SomebodyElse | DataWriter::Untracked => None,
        };
        let entries = state
            .known()
            .map(|(key, entry)| Held::new(key, entry, written_at, before, names, clock));
        let entries: Box<[Held]> = entries.collect();
        Self {
            uid: metadata.uid.as_str().into(),
            resource_version: metadata.resource_version.as_str().into(),
            owned: metadata.owned,
            repair_due,
            seen_at: clock.monotonic(),
            half_life: HalfLife::of(&entries, clock.monotonic()),
            entries,
            has_unknown: state.known().count() < state.entries.len(),
        }
    }

    /// Whether our label is on it; otherwise it is foreign and never written.
    pub fn is_owned(&self) -> bool {
        self.owned
    }

    /// Whether its data is as we wrote it, or a repair of it is not due yet.
    pub fn is_trusted(&self, now: Instant) -> bool {
        self.repair_due.is_none_or(|due| now < due)
    }

    /// Whether any entry is past half of its life: what most namespaces are asked every few minutes.
    pub fn is_aging(&self, now: Moment) -> bool {
        self.half_life
            .is_some_and(|half| now.wall >= half.wall || now.monotonic >= half.monotonic)
    }

    /// The shortest life of any entry's token; `None` without entries.
    pub fn shortest_life(&self) -> Option<Duration> {
        Some(self.half_life?.shortest_life)
    }

    /// The object's identity.
    pub(super) fn uid(&self) -> &str {
        &self.uid
    }

    /// When this was last read, written or watched.
    pub(super) fn seen_at(&self) -> Instant {
        self.seen_at
    }

    /// The `auths` keys that it holds and this code understands.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|held| &*held.key)
    }

    /// The entries that are not granted, each by its key and the fingerprint of its identity. What a newer version or
    /// policy generation wrote is left to that.
    pub(super) fn ungranted(&self, granted: Granted<'_>) -> impl Iterator<Item = (&str, &str)> {
        let ours = self
            .entries
            .iter()
            .filter(|held| self.owned && held.version <= VERSION && held.generation == GENERATION);
        ours.map(|held| (&*held.key, &*held.identity))
            .filter(move |(key, identity)| !granted(key, identity))
    }

    /// Whether it holds an entry under that key, made with the identity of that fingerprint.
    pub(super) fn holds(&self, key: &str, identity: &str) -> bool {
        self.held(key)
            .is_some_and(|held| *held.identity == *identity)
    }

    /// How each entry stands that is not retiring.
    pub fn standings(&self, now: Moment) -> impl Iterator<Item = Standing<'_>> {
        let held = self.entries.iter().filter(|held| !held.retiring);
        held.map(move |held| Standing {
            key: &held.key,
            life: held.life,
            left: held.left(now),
            used_at: held.used_at,
        })
    }

    /// Whether it is all ours and nothing in it lives. One without entries is not: somebody may have made it ready.
    pub(super) fn is_expired(&self, now: Moment) -> bool {
        let mut entries = self.entries.iter();
        let known = !self.entries.is_empty() && !self.has_unknown;
        known && self.is_trusted(now.monotonic) && entries.all(|held| held.left(now).is_zero())
    }

    pub(super) fn oldest_issue(&self) -> Option<Timestamp> {
        let ours = self.entries.iter().filter(|_| self.owned);
        ours.map(|held| held.issued_at).min()
    }

    /// How fresh the entry is that `wanted` asks for; unusable when it is missing, retiring, of another identity, or
    /// was edited by somebody else.
    pub fn freshness(&self, wanted: Wanted<'_>, now: Moment) -> Freshness {
        let held = self.held(wanted.key).filter(|held| {
            let current = held.is_newer_than_us(wanted) || *held.identity == *wanted.identity;
            let sound = self.owned && self.is_trusted(now.monotonic);
            sound && !held.retiring && current
        });
        held.map_or(Freshness::Unusable, |held| {
            Freshness::of(held.life, held.left(now))
        })
    }

    /// Whether the entry is better left alone though it is not fresh: it was written by a newer version or under a
    /// newer policy generation and still lives, or it already holds the token that expires at `expires_at`.
    pub fn keep(&self, wanted: Wanted<'_>, expires_at: Timestamp, now: Moment) -> bool {
        let held = self.held(wanted.key).filter(|held| !held.retiring);
        held.is_some_and(|held| {
            let lives = !held.left(now).is_zero();
            let same = *held.identity == *wanted.identity && held.expires_at >= expires_at;
            let sound = self.is_trusted(now.monotonic);
            sound && ((held.is_newer_than_us(wanted) && lives) || same)
        })
    }

    /// Whether `wanted` is there, lives, and differs only by the identity that made it.
    pub fn differs_by_identity(&self, wanted: Wanted<'_>, now: Moment) -> bool {
        let held = self.held(wanted.key).filter(|held| !held.retiring);
        held.is_some_and(|held| {
            *held.identity != *wanted.identity
                && Freshness::of(held.life, held.left(now)).is_usable()
        })
    }

    fn held(&self, key: &str) -> Option<&Held> {
        self.entries.iter().find(|held| *held.key == *key)
    }

    /// Whether this is what that version of that object shows.
    pub(super) fn is_of(&self, metadata: &SecretMetadata) -> bool {
        let seen = (&*self.uid, &*self.resource_version);
        seen == (metadata.uid.as_str(), metadata.resource_version.as_str())
    }

    /// Whether this is a later version than `resource_version` (comparable as numbers by KEP-5504; anything else is
    /// taken as later).
    pub(super) fn is_newer_than(&self, resource_version: &str) -> bool {
        let number = |text: &str| text.parse::<u128>().ok();
        match (number(&self.resource_version), number(resource_version)) {
            (Some(known), Some(other)) => known > other,
            _ => false,
        }
    }
}

impl HalfLife {
    fn of(entries: &[Held], now: Instant) -> Option<Self> {
        let held = || entries.iter().filter(|held| !held.retiring);
        let by_wall = |held: &Held| add(held.issued_at, held.life / 2).min(held.expires_at);
        // What lies before the clock's own beginning is past.
        let by_monotonic = |held: &Held| held.deadline.checked_sub(held.life / 2).unwrap_or(now);
        Some(Self {
            wall: held().map(by_wall).min()?,
            monotonic: held().map(by_monotonic).min()?,
            shortest_life: held().map(|held| held.life).min()?,
        })
    }
}

impl Held {
    fn new(
        key: &str,
        entry: &Entry,
        written_at: Option<Timestamp>,
        before: Option<&Known>,
        names: &Names,
        clock: &Clock,
    ) -> Self {
        let cap = written_at.map_or(Timestamp::MAX, |at| add(at, LONGEST_LIFE));
        let expires_at = entry.expires_at.min(cap);
        // To a clock that is hours back, the token of another replica would look younger than it is.
        let left = between(clock.reckoned(), expires_at).min(LONGEST_LIFE);
        let first_seen = clock.monotonic() + left;
        let seen_before = before
            .and_then(|before| before.held(key))
            .filter(|held| held.expires_at == expires_at);
        Self {
            key: names.share(key),
            identity: names.share(&entry.identity),
            life: between(entry.issued_at, expires_at),
            issued_at: entry.issued_at,
            expires_at,
            used_at: entry.used_at.unwrap_or(entry.issued_at),
            deadline: seen_before.map_or(first_seen, |held| held.deadline),
            version: entry.version,
            generation: entry.generation,
            retiring: entry.retiring,
        }
    }

    fn left(&self, now: Moment) -> Duration {
        let by_wall = between(now.wall, self.expires_at);
        let by_monotonic = self.deadline.saturating_duration_since(now.monotonic);
        by_wall.min(by_monotonic)
    }

    fn is_newer_than_us(&self, wanted: Wanted<'_>) -> bool {
        self.version > VERSION || self.generation > wanted.generation
    }
}
