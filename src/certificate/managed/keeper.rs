//! Runs the rotation: reads what is stored and live, writes what is to change, serves what may be served.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::authority::Bundle;
use super::memory::{Live, Memory};
use super::plan::Plan;
use super::rotation::{Change, Proposal, Stored, due, propose};
use super::state::{SecretData, State, Unreadable};
use super::store::{CertificateStore, StoredCertificate, WebhookConfigurations};
use super::trouble::{Trouble, check_ownership};
use crate::certificate::expiry::{Expiry, Remaining};
use crate::certificate::metrics::{BundleWrite, CertificateMetrics, Reload, Rotation};
use crate::certificate::pair::CertificatePair;
use crate::certificate::reload::log_served;
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

    async fn step(&self) -> Result<Outcome, Trouble> {
        // The order matters. A bundle is written over a version that was read before the Secret was: if a newer state
        // has been written since, and its bundle too, then ours is refused instead of undoing it.
        let live = self.parts.configurations.read().await?;
        let stored = self.parts.store.read().await?;
        let live = self.memory().parse(live);
        let now = self.parts.clock.monotonic();

        let Some(stored) = stored else {
            let (state, changes) = self.propose_anew(Stored::Nothing, &live)?;
            self.parts.store.create(&state.encode()).await?;
            return Ok(self.written(&changes));
        };
        check_ownership(&stored)?;
        let state = self.memory().decode(&stored);
        let state = match state {
            Ok(state) => state,
            Err(Unreadable::Newer(version)) => {
                return Err(Trouble::new(format!(
                    "the certificate Secret is of version {version}: a newer ecr-admission wrote it, and only that one \
                     can go on with it"
                )));
            }
            Err(Unreadable::Garbage(reason, salvaged)) => {
                warn!(reason, "the certificate Secret is unusable and made anew");
                let proposal = self.propose_anew(Stored::Garbage(&salvaged), &live)?;
                return self.update(&stored, proposal).await;
            }
        };
        let known_at = {
            let mut memory = self.memory();
            memory.sight.see(&state, &live, now);
            memory.sight.known_at(&state, &self.plan)
        };
        let refusal = self.serve(&state, now);
        let next_is_known = known_at.is_some_and(|known_at| known_at <= now);
        if let Some(proposal) = self.propose(Stored::State(&state), next_is_known)? {
            return self.update(&stored, proposal).await;
        }
        if let Some(outcome) = self.write_bundles(&state, &live).await? {
            return Ok(outcome);
        }
        match refusal {
            Some(refusal) => Err(Trouble::new(refusal)),
            None => Ok(Outcome::Settled(self.next(&state, known_at))),
        }
    }

    /// How long until the next thing is to be done, if nobody changes anything.
    fn next(&self, state: &State, known_at: Option<Instant>) -> Duration {
        let now = self.parts.clock.now();
        let due = due(state, &self.plan).duration_since(now);
        let due = Duration::try_from(due).unwrap_or_default();
        let now = self.parts.clock.monotonic();
        known_at.map_or(due, |known_at| due.min(known_at - now))
    }

    fn propose_anew(&self, stored: Stored<'_>, live: &[Live]) -> Result<Proposal, Trouble> {
        self.memory().sight.see_live(live);
        let proposal = self.propose(stored, false)?;
        proposal.ok_or_else(|| Trouble::new("no certificate could be made"))
    }

    fn propose(
        &self,
        stored: Stored<'_>,
        next_is_known: bool,
    ) -> Result<Option<Proposal>, Trouble> {
        let knowledge = self.memory().sight.knowledge(next_is_known);
        propose(stored, &knowledge, &self.plan, self.parts.clock.now())
            .map_err(|error| Trouble::new(format!("no certificate could be made: {error}")))
    }

    async fn update(
        &self,
        stored: &StoredCertificate,
        (state, changes): Proposal,
    ) -> Result<Outcome, Trouble> {
        let data: SecretData = state.encode();
        self.parts.store.update(&stored.version, &data).await?;
        Ok(self.written(&changes))
    }

    /// Tells of what was written.
    fn written(&self, changes: &[Change]) -> Outcome {
        for change in changes {
            info!("certificates: {change}");
            let rotations = match change {
                Change::Created | Change::Recreated | Change::AuthorityReplaced => {
                    &[Rotation::Authority, Rotation::Leaf][..]
                }
                Change::LeafRenewed => &[Rotation::Leaf],
                Change::Restored
                | Change::AuthorityAnnounced
                | Change::TrustRestored
                | Change::TrustEnded => &[],
            };
            for &rotation in rotations {
                self.parts.metrics.rotated(rotation);
            }
        }
        if changes.iter().all(|change| change.is_repair()) {
            Outcome::Repaired
        } else {
            Outcome::Advanced
        }
    }

    /// Makes every live bundle that of `state`; `None` when nothing had to be changed.
    async fn write_bundles(
        &self,
        state: &State,
        live: &[Live],
    ) -> Result<Option<Outcome>, Trouble> {
        let wanted = state.bundle();
        let wrong: Vec<_> = live
            .iter()
            .filter(|live| !live.is(&wanted))
            .map(|live| &live.configuration)
            .collect();
        if wrong.is_empty() {
            self.settle(&wanted, live.is_empty());
            return Ok(None);
        }
        let settled = self.memory().settled.clone();
        let was_settled = settled.is_some_and(|settled| settled.ids() == wanted.ids());
        let pem = wanted.pem();
        let mut failed = None;
        for configuration in wrong {
            match self.parts.configurations.write(configuration, &pem).await {
                Ok(()) if was_settled => {
                    warn!(configuration = %configuration.title, "somebody changed the caBundle: repaired");
                    self.parts.metrics.bundle_written(BundleWrite::Repair);
                }
                Ok(()) => {
                    info!(configuration = %configuration.title, "caBundle written");
                    self.parts.metrics.bundle_written(BundleWrite::Rotation);
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            None => {
                self.memory().settled = Some(wanted);
                let advanced = !was_settled;
                Ok(Some(if advanced {
                    Outcome::Advanced
                } else {
                    Outcome::Repaired
                }))
            }
            Some(error) => {
                let trouble = Trouble::from(error);
                // Another replica was first.
                if !trouble.conflict {
                    self.bundle.set(trouble.message.clone());
                }
                Err(trouble)
            }
        }
    }

    fn settle(&self, wanted: &Bundle, nobody_calls: bool) {
        self.memory().settled = Some(wanted.clone());
        if nobody_calls {
            self.bundle.set(
                "there is no webhook configuration of ours, so the API server calls nobody: apply the manifests",
            );
        } else {
            self.bundle.clear();
        }
    }

    /// Serves the state's leaf as soon as clients accept it. Returns why it cannot be served, if so.
    fn serve(&self, state: &State, now: Instant) -> Option<String> {
        let current = self.served.current();
        let usable =
            current.is_some_and(|served| self.expiry.remaining(&served) != Remaining::Unusable);
        let leaf = state.leaf.as_ref()?;
        let mut memory = self.memory();
        let sight = &mut memory.sight;
        if !sight.prefers(state, &self.plan, usable, now) {
            return None;
        }
        let pair = match CertificatePair::check(&leaf.pem, &[], self.parts.clock.now()) {
            Ok(pair) => pair,
            Err(refusal) => return Some(refusal.to_string()),
        };
        sight.now_serves(state, &pair);
        drop(memory);
        log_served("serving a new certificate", &pair);
        self.served.replace(pair);
        self.parts.metrics.reloaded(Reload::Loaded);
        self.check_dates();
        None
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
