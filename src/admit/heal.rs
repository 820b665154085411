//! Pods that were admitted without a usable credential heal by themselves: the kubelet rereads the Secret at each pull
//! retry, so the Secret is made in the background, for as long as it takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::ensure::Ensurer;
use super::need::Need;
use crate::clock::Clock;

/// The first and the longest wait between two attempts in one namespace.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// How long one namespace is tried for.
const PATIENCE: Duration = Duration::from_hours(12);
/// The most namespaces that are healed at once.
const MOST_NAMESPACES: usize = 10_000;

/// Keeps ensuring in the background. Cheap to clone.
#[derive(Clone)]
pub(super) struct Healer {
    ensurer: Ensurer,
    clock: Clock,
    namespaces: Arc<Mutex<HashMap<Arc<str>, Vec<Need>>>>,
}

impl Healer {
    pub(super) fn new(ensurer: Ensurer, clock: Clock) -> Self {
        Self {
            ensurer,
            clock,
            namespaces: Arc::default(),
        }
    }

    /// Keeps trying until `needs` are there, the namespace is gone, or twelve hours have passed.
    pub(super) fn heal(&self, namespace: &str, needs: Vec<Need>) {
        let namespace: Arc<str> = namespace.into();
        {
            let mut namespaces = self.lock();
            if let Some(known) = namespaces.get_mut(&namespace) {
                let new = needs.into_iter().filter(|need| !known.contains(need));
                let new: Vec<Need> = new.collect();
                known.extend(new);
                return;
            }
            if namespaces.len() >= MOST_NAMESPACES {
                tracing::warn!(
                    namespace = &*namespace,
                    "too many namespaces wait for their pull Secret; this one is tried at its next Pod"
                );
                return;
            }
            namespaces.insert(Arc::clone(&namespace), needs);
        }
        let healer = self.clone();
        tokio::spawn(async move { healer.keep_trying(&namespace).await });
    }

    /// How many namespaces are being healed.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    async fn keep_trying(&self, namespace: &Arc<str>) {
        let give_up = self.clock.monotonic() + PATIENCE;
        let mut wait = FIRST_WAIT;
        loop {
            let needs = self.needs(namespace);
            tokio::time::sleep_until(self.next_try(&needs, wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            let outcome = self.ensurer.retry(namespace, needs.clone()).await;
            let mut namespaces = self.lock();
            let over = match &outcome {
                // Another Pod may have asked for more in the meantime.
                Ok(()) => namespaces.get(namespace).is_none_or(|all| *all == needs),
                Err(error) => error.is_final(),
            };
            if over || self.clock.monotonic() >= give_up {
                namespaces.remove(namespace);
                tracing::info!(
                    namespace = &**namespace,
                    healed = outcome.is_ok(),
                    "stopped healing the pull Secret"
                );
                return;
            }
        }
    }

    /// Not before the tokens may be asked for again, and never all namespaces at one moment.
    fn next_try(&self, needs: &[Need], wait: Duration) -> Instant {
        let by_wait = self.clock.monotonic() + wait;
        let by_tokens = self.ensurer.retry_at(needs);
        by_wait.max(by_tokens) + self.clock.jitter(wait / 2)
    }

    fn needs(&self, namespace: &Arc<str>) -> Vec<Need> {
        self.lock().get(namespace).cloned().unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Vec<Need>>> {
        self.namespaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
