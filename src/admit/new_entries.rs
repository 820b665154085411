//! How many registries that it does not have yet a namespace may ask for in a while: the webhook is reachable inside the
//! cluster, and forged reviews must not fill a namespace with invented registries.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::failure::EnsureError;
use super::need::Need;
use crate::clock::Clock;
use crate::secret::Known;

/// The most new registries of one namespace in a window. One Pod alone may name more.
pub(super) const MOST_NEW: usize = 32;
/// The window of that limit.
pub(super) const WINDOW: Duration = Duration::from_mins(10);
/// The most namespaces that are counted at once: twice as many as Kubernetes is built for.
const MOST_NAMESPACES: usize = 20_000;
/// How many windows there are at least before old ones are looked for.
const FIRST_SWEEP: usize = 1_024;

/// Which registries each namespace asked for lately. Asking again for the same one, as the Pods of a Deployment do
/// while ECR is down, counts once.
pub(super) struct NewEntries {
    clock: Clock,
    windows: Mutex<Windows>,
}

struct Windows {
    of: HashMap<Box<str>, Window>,
    /// How many there may be before old ones are swept out: so that the cost of sweeping is spread.
    sweep_at: usize,
}

struct Window {
    since: Instant,
    keys: HashSet<Box<str>>,
}

/// The limit is reached: for this namespace, or because too many namespaces are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    OfNamespace,
    OfAll,
}

impl Limit {
    /// What a namespace is told that has reached it.
    pub(super) fn on(self, namespace: &str) -> EnsureError {
        match self {
            Self::OfAll => EnsureError::Busy,
            Self::OfNamespace => EnsureError::TooManyNew {
                namespace: namespace.to_owned(),
            },
        }
    }
}

impl NewEntries {
    pub(super) fn new(clock: Clock) -> Self {
        let windows = Windows {
            of: HashMap::new(),
            sweep_at: FIRST_SWEEP,
        };
        Self {
            clock,
            windows: Mutex::new(windows),
        }
    }

    /// Counts those of `needs` that the namespace's Secret does not have.
    pub(super) fn admit(
        &self,
        namespace: &str,
        known: Option<&Known>,
        needs: &[Need],
    ) -> Result<(), Limit> {
        let is_new = |key: &str| !known.is_some_and(|known| known.keys().any(|had| had == key));
        let mut new = needs
            .iter()
            .map(Need::key)
            .filter(|key| is_new(key))
            .peekable();
        if new.peek().is_none() {
            return Ok(());
        }
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let window = windows.of_namespace(namespace, self.clock.monotonic());
        let window = window.ok_or(Limit::OfAll)?;
        let asked: Vec<_> = new.filter(|key| !window.keys.contains(&***key)).collect();
        if !window.keys.is_empty() && window.keys.len() + asked.len() > MOST_NEW {
            return Err(Limit::OfNamespace);
        }
        window
            .keys
            .extend(asked.into_iter().map(|key| Box::from(&**key)));
        Ok(())
    }
}

impl Windows {
    /// The namespace's window, a new one where the last is over; `None` when there are too many.
    fn of_namespace(&mut self, namespace: &str, now: Instant) -> Option<&mut Window> {
        let is_over = |window: &Window| now.duration_since(window.since) >= WINDOW;
        if self.of.len() >= self.sweep_at {
            self.of.retain(|_, window| !is_over(window));
            self.sweep_at = (self.of.len() * 2).clamp(FIRST_SWEEP, MOST_NAMESPACES);
        }
        if self.of.len() >= MOST_NAMESPACES && !self.of.contains_key(namespace) {
            return None;
        }
        let new = || Window {
            since: now,
            keys: HashSet::new(),
        };
        let window = self.of.entry(namespace.into()).or_insert_with(new);
        if is_over(window) {
            *window = new();
        }
        Some(window)
    }
}
