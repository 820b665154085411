//! What is counted about Events.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

/// Counts of Events by what became of them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    events: Family<Labels, Counter>,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "events",
            "Events about objects that somebody must act on, by what became of them",
            metrics.events.clone(),
        );
        // Told from the start: that nothing was dropped is news.
        let result = "dropped";
        drop(metrics.events.get_or_create(&Labels { result }));
        metrics
    }

    pub(super) fn count(&self, result: &'static str) {
        self.events.get_or_create(&Labels { result }).inc();
    }
}
