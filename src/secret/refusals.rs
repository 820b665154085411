//! Writes that were refused just now, so that a thousand Pods of one namespace do not all ask again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{StoreError, StoreErrorKind};
use crate::clock::Clock;

/// How long a refusal is remembered: about as long as a person who has mended the cause waits without wondering.
const REMEMBERED: Duration = Duration::from_secs(10);
/// The most namespaces that are remembered: reviews that did not come from the API server can name any.
const MOST_NAMESPACES: usize = 4_096;

/// What was refused in which namespace.
pub(super) struct Refusals {
    clock: Clock,
    by_namespace: Mutex<HashMap<Box<str>, (Instant, StoreError)>>,
}

impl Refusals {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            by_namespace: Mutex::default(),
        }
    }

    /// Remembers a refusal; other errors may be over the next moment.
    pub(super) fn remember(&self, namespace: &str, error: &StoreError) {
        if error.kind != StoreErrorKind::Refused {
            return;
        }
        let now = self.clock.monotonic();
        let mut refused = self.lock();
        if refused.len() >= MOST_NAMESPACES {
            refused.retain(|_, (at, _)| is_recent(*at, now));
        }
        if refused.len() < MOST_NAMESPACES {
            refused.insert(namespace.into(), (now, error.clone()));
        }
    }

    /// The refusal of the last ten seconds.
    pub(super) fn recent(&self, namespace: &str) -> Option<StoreError> {
        let now = self.clock.monotonic();
        let refused = self.lock();
        let (at, error) = refused.get(namespace)?;
        is_recent(*at, now).then(|| error.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Box<str>, (Instant, StoreError)>> {
        self.by_namespace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.duration_since(at) < REMEMBERED
}
