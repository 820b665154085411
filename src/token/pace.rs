//! How fast tokens are asked for: few at once for one identity, so that one tenant's failure delays no other, and few
//! a second for one region, because AWS limits the calls of a whole account.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::TokenKey;
use crate::clock::Clock;
use crate::policy::Identity;

/// The most mints under way for one identity, and how many of them may be for keys that never gave a token: image names
/// can invent regions that answer slowly, and these must not keep a renewal waiting.
const AT_ONCE: usize = 8;
const UNPROVEN_AT_ONCE: usize = 6;
/// The least time between two mints in one region: under 17 a second, where AWS documents a limit of 20
/// (ECR "common errors"; Service Quotas says 500).
const SPACING: Duration = Duration::from_millis(60);
/// The most identities, and the most regions, that are told apart; idle ones are forgotten beyond that.
const MOST: usize = 512;

pub(super) struct Pace {
    clock: Clock,
    identities: Mutex<HashMap<Identity, Arc<Places>>>,
    regions: Mutex<HashMap<Arc<str>, Instant>>,
}

/// The places for the mints of one identity.
struct Places {
    all: Arc<Semaphore>,
    unproven: Arc<Semaphore>,
}

/// A place that is taken until this is dropped.
pub(super) struct Turn {
    _place: Option<OwnedSemaphorePermit>,
    _unproven: Option<OwnedSemaphorePermit>,
    _places: Arc<Places>,
}

impl Pace {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            identities: Mutex::default(),
            regions: Mutex::default(),
        }
    }

    /// Waits until a mint for `key` may start; the mint is over when what this returns is dropped. `proven` says whether
    /// the key has given a token before.
    pub(super) async fn turn(&self, key: &TokenKey, proven: bool) -> Turn {
        let places = self.places(&key.identity);
        // The semaphores are never closed.
        let unproven = if proven {
            None
        } else {
            Arc::clone(&places.unproven).acquire_owned().await.ok()
        };
        let place = Arc::clone(&places.all).acquire_owned().await.ok();
        tokio::time::sleep_until(self.slot(&key.region)).await;
        Turn {
            _place: place,
            _unproven: unproven,
            _places: places,
        }
    }

    fn places(&self, identity: &Identity) -> Arc<Places> {
        let mut identities = self
            .identities
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        bound(&mut identities, |places| Arc::strong_count(places) > 1);
        let places = identities.entry(identity.clone()).or_insert_with(|| {
            Arc::new(Places {
                all: Arc::new(Semaphore::new(AT_ONCE)),
                unproven: Arc::new(Semaphore::new(UNPROVEN_AT_ONCE)),
            })
        });
        Arc::clone(places)
    }

    /// Reserves the next moment at which a region may be called.
    fn slot(&self, region: &Arc<str>) -> Instant {
        let now = self.clock.monotonic();
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        bound(&mut regions, |next| *next > now);
        let next = regions.entry(Arc::clone(region)).or_insert(now);
        let turn = (*next).max(now);
        *next = turn + SPACING;
        turn
    }
}

fn bound<K: Eq + Hash, V>(map: &mut HashMap<K, V>, in_use: impl Fn(&V) -> bool) {
    if map.len() >= MOST {
        map.retain(|_, value| in_use(value));
    }
}
