//! Runs the rotation: reads what is stored and live, writes what is to change, serves what may be served.

mod bundles;
mod step;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::memory::Memory;
use super::plan::Plan;
use super::store::{CertificateStore, WebhookConfigurations};
use super::trouble::Trouble;
use crate::certificate::expiry::Expiry;
use crate::certificate::metrics::CertificateMetrics;
use crate::certificate::resolver::ServedCertificate;
use crate::clock::Clock;
use crate::health::{Condition, Health};

/// How often everything is looked at when no watch tells of a change.
const INTERVAL: Duration = Duration::from_secs(15);
/// The least time between two looks, whatever watches say: somebody who keeps resetting a `caBundle` must not make us
/// spin.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the dates of what is served are looked at.
const DATES_INTERVAL: Duration = Duration::from_secs(1);
/// Steps in a row without a pause: make a Secret, announce it, see it.
const STEPS_MAX: u32 = 8;

/// The outside of a [`Keeper`].
pub struct KeeperParts {
    /// Our Secret.
    pub store: Arc<dyn CertificateStore>,
    /// Our webhook configurations.
    pub configurations: Arc<dyn WebhookConfigurations>,
    /// Notified when either may have changed.
    pub changed: Arc<Notify>,
    /// Time.
    pub clock: Clock,
    /// Where steps are counted.
    pub metrics: CertificateMetrics,
}

/// Keeps this replica's certificate, and its part in everybody's rotation.
pub struct Keeper {
    plan: Plan,
    parts: KeeperParts,
    served: Arc<ServedCertificate>,
    expiry: Expiry,
    secret: Condition,
    bundle: Condition,
    memory: Mutex<Memory>,
}

/// What a look has led to.
enum Outcome {
    /// Everything is as it should be; the next thing happens after that time, if not before.
    Settled(Duration),
    /// The rotation went on: look again.
    Advanced,
    /// What somebody else had changed was put right: look again.
    Repaired,
}

impl Keeper {
    /// A keeper that has nothing yet: not ready until [`Keeper::run`] has got a certificate that clients trust.
    pub fn new(plan: Plan, parts: KeeperParts, health: &Health) -> Self {
        let expiry = Expiry::new(parts.clock.clone(), health, parts.metrics.clone());
        expiry.nothing("no certificate yet");
        Self {
            plan,
            expiry,
            served: Arc::default(),
            secret: health.condition("certificate-secret"),
            bundle: health.condition("certificate-bundle"),
            memory: Mutex::default(),
            parts,
        }
    }

    /// What is served, for the listener.
    pub fn served(&self) -> Arc<ServedCertificate> {
        Arc::clone(&self.served)
    }

    /// Works for ever. Cancel-safe.
    pub async fn run(&self) {
        let dates = async {
            loop {
                self.check_dates();
                sleep(DATES_INTERVAL).await;
            }
        };
        tokio::join!(self.work(), dates);
    }

    async fn work(&self) {
        let mut failures = 0;
        loop {
            match self.steps().await {
                Ok(next) => {
                    failures = 0;
                    self.secret.clear();
                    self.memory().trouble = None;
                    self.check_dates();
                    self.pause(next).await;
                }
                Err(trouble) => {
                    self.report(trouble);
                    self.check_dates();
                    let longest = self.longest_backoff(failures);
                    failures = (failures + 1).min(8);
                    sleep(longest / 2 + self.parts.clock.jitter(longest / 2)).await;
                }
            }
        }
    }

    /// Grows with every failure in a row, and never costs more than a small part of a leaf's life: whoever sleeps through
    /// its end serves an expired certificate although a new one is stored.
    fn longest_backoff(&self, failures: u32) -> Duration {
        let growing = (PAUSE * 2u32.pow(failures)).min(INTERVAL);
        growing.min((self.plan.leaf_life / 16).max(PAUSE))
    }

    /// Until a change is told, the time has come, or the interval is over.
    async fn pause(&self, next: Duration) {
        let next = next.min(INTERVAL);
        // Replicas that share a cause do not all act at once; the first one's step then is everybody's.
        let wait = next + self.parts.clock.jitter(next / 8);
        let least = PAUSE.min(wait);
        sleep(least).await;
        let _told = timeout(wait.saturating_sub(least), self.parts.changed.notified()).await;
    }

    fn report(&self, trouble: Trouble) {
        let mut memory = self.memory();
        if memory.trouble.as_ref() != Some(&trouble.message) {
            warn!(reason = %trouble.message, "certificates cannot be looked after");
        }
        self.secret.set(trouble.message.clone());
        memory.trouble = Some(trouble.message);
    }

    /// Looks and acts until there is nothing more to do now.
    async fn steps(&self) -> Result<Duration, Trouble> {
        let mut advanced = false;
        for _ in 0..STEPS_MAX {
            match self.step().await {
                Ok(Outcome::Settled(next)) => return Ok(next),
                Ok(Outcome::Advanced) => advanced = true,
                Ok(Outcome::Repaired) => {}
                Err(trouble) if trouble.conflict => {
                    let pause = self.parts.clock.jitter(PAUSE / 4);
                    sleep(pause).await;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        if advanced {
            // Lives are so short, or the API server so slow, that the next thing is due before this one is done.
            return Ok(PAUSE);
        }
        Err(Trouble::new(
            "the certificate Secret or the caBundle is changed by somebody else all the time",
        ))
    }

    fn check_dates(&self) {
        let memory = self.memory();
        let Some(served) = self.served.current() else {
            let trouble = memory.trouble.as_deref().unwrap_or("it is being made");
            self.expiry
                .nothing(format!("no certificate yet: {trouble}"));
            return;
        };
        let trusted = memory
            .sight
            .served
            .as_ref()
            .is_some_and(|served| served.trusted);
        let objection = (!trusted).then(|| {
            "the webhook configurations do not carry the authority of the served certificate yet".to_owned()
        });
        self.expiry.check(&served, objection);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
