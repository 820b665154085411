//! What is counted about ServiceAccounts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

/// Counts of writes, and what is still to be written.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    writes: Family<Labels, Counter>,
    astray: Gauge,
    contested: Gauge,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "service_account_writes",
            "Writes of imagePullSecrets of ServiceAccounts by result",
            metrics.writes.clone(),
        );
        registry.register(
            "service_accounts_astray",
            "ServiceAccounts that should name the pull Secret and do not, or the other way round",
            metrics.astray.clone(),
        );
        registry.register(
            "service_accounts_contested",
            "Those of them that somebody else has just changed back",
            metrics.contested.clone(),
        );
        metrics
    }

    pub(super) fn wrote(&self, result: &'static str) {
        self.writes.get_or_create(&Labels { result }).inc();
    }

    pub(super) fn found(&self, astray: usize, contested: usize) {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.astray.set(number(astray));
        self.contested.set(number(contested));
    }
}
