//! What is counted about tokens.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{MintError, TokenKey};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    region: String,
    result: &'static str,
}

/// Counts of mints. A region is named only once it has given a token: others come from image names, which anybody can
/// invent, and a label must not grow with those.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    mints: Family<Labels, Counter>,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "token_mints",
            "Calls of ecr:GetAuthorizationToken by region and result; a region that never answered is \"other\"",
            metrics.mints.clone(),
        );
        metrics
    }

    pub(super) fn minted(&self, key: &TokenKey, error: Option<&MintError>) {
        let ok = Labels {
            region: key.region.to_string(),
            result: "ok",
        };
        let Some(error) = error else {
            self.mints.get_or_create(&ok).inc();
            return;
        };
        let known = self.mints.get(&ok).is_some();
        let region = if known { ok.region } else { "other".to_owned() };
        let labels = Labels {
            region,
            result: error.kind.label(),
        };
        self.mints.get_or_create(&labels).inc();
    }
}
