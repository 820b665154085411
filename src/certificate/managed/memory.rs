//! What a replica keeps between two looks, so that a look at which nothing is new costs little.

use std::sync::Arc;

use super::authority::{AuthorityId, Bundle};
use super::sight::Sight;
use super::state::{State, Unreadable};
use super::store::{Configuration, StoredCertificate};

/// A live configuration, understood.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) configuration: Configuration,
    /// Of each of its webhooks.
    pub(super) bundles: Vec<Bundle>,
}

impl Live {
    /// Whether every webhook of it carries that authority.
    pub(super) fn carries(&self, id: AuthorityId) -> bool {
        self.bundles.iter().all(|bundle| bundle.carries(id))
    }

    /// Whether every webhook of it carries exactly what `wanted` does.
    pub(super) fn is(&self, wanted: &Bundle) -> bool {
        let ids = wanted.ids();
        let mut bundles = self.bundles.iter();
        bundles.all(|bundle| bundle.clean && bundle.ids() == ids)
    }
}

/// What one replica keeps between two looks.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) sight: Sight,
    /// The state that was last read, by its Secret's version: reading keys and checking signatures costs.
    read: Option<(String, Result<Arc<State>, Unreadable>)>,
    /// What the bundles of the configurations held when they were last read.
    bundles: Vec<(Vec<u8>, Bundle)>,
    /// The bundle that was written to, or seen in, every configuration: when theirs changes and ours does not, somebody
    /// else did it.
    pub(super) settled: Option<Bundle>,
    /// What is wrong, as it was last told.
    pub(super) trouble: Option<String>,
}

impl Memory {
    /// Reads a state, unless it is the one that was read last.
    pub(super) fn decode(&mut self, stored: &StoredCertificate) -> Result<Arc<State>, Unreadable> {
        match &self.read {
            Some((version, state)) if *version == stored.version => state.clone(),
            _ => {
                let state = State::decode(&stored.data).map(Arc::new);
                self.read = Some((stored.version.clone(), state.clone()));
                state
            }
        }
    }

    /// Reads the bundles, which are all the same and the same as last time, almost always.
    pub(super) fn parse(&mut self, live: Vec<Configuration>) -> Vec<Live> {
        let mut parsed: Vec<(Vec<u8>, Bundle)> = Vec::new();
        let known = std::mem::take(&mut self.bundles);
        let mut parse = |pem: &Vec<u8>| {
            let found = parsed.iter().chain(&known).find(|(other, _)| other == pem);
            let bundle = found.map_or_else(|| Bundle::read(pem), |(_, bundle)| bundle.clone());
            parsed.push((pem.clone(), bundle.clone()));
            bundle
        };
        let live = live.into_iter().map(|configuration| {
            let bundles = configuration.bundles.iter().map(&mut parse).collect();
            Live {
                configuration,
                bundles,
            }
        });
        let live = live.collect();
        self.bundles = parsed;
        live
    }
}
