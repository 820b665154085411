//! The `caBundle` of every webhook configuration of ours.

use tracing::{info, warn};

use super::super::authority::Bundle;
use super::super::memory::Live;
use super::super::state::State;
use super::super::trouble::Trouble;
use super::{Keeper, Outcome};
use crate::certificate::metrics::BundleWrite;

impl Keeper {
    /// Makes every live bundle that of `state`; `None` when nothing had to be changed.
    pub(super) async fn write_bundles(
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
}
