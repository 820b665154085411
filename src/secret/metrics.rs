//! What is counted about Secrets.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::SecretIndex;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

/// Counts of writes.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    writes: Family<Labels, Counter>,
    conflicts: Counter,
}

impl Metrics {
    /// Registers the metrics, those read from `index` at each scrape included.
    pub fn register(registry: &mut Registry, index: Arc<SecretIndex>) -> Self {
        let metrics = Self::default();
        registry.register(
            "secret_writes",
            "Writes of pull Secrets by result",
            metrics.writes.clone(),
        );
        registry.register(
            "secret_write_conflicts",
            "Writes of pull Secrets that were tried again because somebody else wrote in between",
            metrics.conflicts.clone(),
        );
        registry.register_collector(Box::new(IndexCollector(index)));
        metrics
    }

    pub(super) fn wrote(&self, result: &'static str) {
        self.writes.get_or_create(&Labels { result }).inc();
    }

    pub(super) fn conflicted(&self) {
        self.conflicts.inc();
    }
}

#[derive(Debug)]
struct IndexCollector(Arc<SecretIndex>);

impl Collector for IndexCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let secrets = ConstGauge::new(i64::try_from(self.0.len()).unwrap_or(i64::MAX));
        let described = encoder.encode_descriptor(
            "secret_index_size",
            "Pull Secrets known to the index",
            None,
            secrets.metric_type(),
        )?;
        secrets.encode(described)?;
        let oldest = self.0.oldest_token().unwrap_or_default();
        let oldest = ConstGauge::new(oldest.as_secs_f64());
        let described = encoder.encode_descriptor(
            "oldest_token_age",
            "Age of the oldest token in any pull Secret",
            Some(&Unit::Seconds),
            oldest.metric_type(),
        )?;
        oldest.encode(described)
    }
}
