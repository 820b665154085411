//! Policies in files, which are read again and again: their contents decide, so that it does not matter how they are
//! replaced.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::RegisteredPods;
use super::facts::is_partly_blind;
use super::metrics::Metrics;
use super::status::PARTLY_BLIND;
use crate::clock::Clock;
use crate::health::Condition;
use crate::policy::{Compiled, Policy, PolicySet};
use crate::rulebook::Rulebook;

/// Where policies are that need no cluster.
pub trait PolicySource: Send + Sync + 'static {
    /// All of them, or everything that is wrong with them, in words for people.
    fn read(&self) -> BoxFuture<'_, Result<Vec<Compiled>, String>>;
}

/// What a [`FileKeeper`] works with.
pub struct FileKeeperParts {
    /// Where policies are.
    pub source: Arc<dyn PolicySource>,
    /// What is in force.
    pub rulebook: Arc<Rulebook>,
    /// The settings underneath.
    pub base: Policy,
    /// How often they are read.
    pub poll: Duration,
    /// Which Pods we are asked about.
    pub registered: RegisteredPods,
    /// Time.
    pub clock: Clock,
    /// Counts.
    pub metrics: Metrics,
    /// Tells those who run us.
    pub condition: Condition,
}

/// Keeps in force what files say; while they cannot be read, what they last said.
pub struct FileKeeper {
    parts: FileKeeperParts,
    /// As they were read: in force, their roles' sessions have names.
    last: Mutex<Vec<Compiled>>,
}

impl FileKeeper {
    /// A keeper of these policies, which were read by whoever could still refuse to start, and are in force from now on.
    pub fn new(parts: FileKeeperParts, policies: Vec<Compiled>) -> Self {
        let keeper = Self {
            parts,
            last: Mutex::default(),
        };
        keeper.put_in_force(policies);
        keeper
    }

    /// Reads them for ever. Cancel-safe.
    pub async fn run(&self) {
        loop {
            sleep(self.parts.poll).await;
            match self.parts.source.read().await {
                Ok(policies) => {
                    let is_new = *self.last() != policies;
                    if is_new {
                        self.put_in_force(policies);
                    }
                    self.parts.condition.clear();
                }
                Err(error) => {
                    let message =
                        format!("the policies that were last read stay in force: {error}");
                    tracing::warn!(error, "policies cannot be read");
                    self.parts.condition.set(message);
                }
            }
        }
    }

    fn last(&self) -> MutexGuard<'_, Vec<Compiled>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_in_force(&self, policies: Vec<Compiled>) {
        let FileKeeperParts {
            rulebook,
            base,
            clock,
            metrics,
            registered,
            ..
        } = &self.parts;
        metrics.in_force(policies.len(), 0, clock.now());
        tracing::info!(valid = policies.len(), "policies are in force");
        // Those of the cluster have a status that says it.
        for policy in policies
            .iter()
            .filter(|one| is_partly_blind(one, *registered))
        {
            tracing::warn!(policy = policy.name(), "{PARTLY_BLIND}");
        }
        policies.clone_into(&mut *self.last());
        rulebook.replace(PolicySet::new(base.clone(), policies, Vec::new()));
    }
}
