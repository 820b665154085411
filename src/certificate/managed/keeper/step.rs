//! One step of the rotation: read, and write or serve what follows from it.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::super::memory::Live;
use super::super::rotation::{Change, Proposal, Stored, due, propose};
use super::super::state::{SecretData, State, Unreadable};
use super::super::store::StoredCertificate;
use super::super::trouble::{Trouble, check_ownership};
use super::{Keeper, Outcome};
use crate::certificate::expiry::Remaining;
use crate::certificate::metrics::{Reload, Rotation};
use crate::certificate::pair::CertificatePair;
use crate::certificate::reload::log_served;

impl Keeper {
    pub(super) async fn step(&self) -> Result<Outcome, Trouble> {
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
}
