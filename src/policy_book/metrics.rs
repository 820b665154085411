//! What is counted about policies.

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Written {
    result: &'static str,
}

/// Counts of policies.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    policies: Family<State, Gauge>,
    changed: Gauge,
    conflicts: Gauge,
    writes: Family<Written, Counter>,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "policies",
            "EcrPolicies by state: ready ones are in force, the namespaces of invalid ones are granted nothing",
            metrics.policies.clone(),
        );
        registry.register(
            "policies_changed_timestamp_seconds",
            "When other policies were last put in force, as a Unix time",
            metrics.changed.clone(),
        );
        registry.register(
            "policy_conflicts",
            "EcrPolicies that lose a part of theirs to others",
            metrics.conflicts.clone(),
        );
        registry.register(
            "policy_status_writes",
            "Writes of the status of EcrPolicies by result",
            metrics.writes.clone(),
        );
        metrics
    }

    pub(super) fn in_force(&self, ready: usize, invalid: usize, now: Timestamp) {
        for (state, count) in [("ready", ready), ("invalid", invalid)] {
            let gauge = self.policies.get_or_create(&State { state });
            gauge.set(number(count));
        }
        self.changed.set(now.as_second());
    }

    pub(super) fn conflicts(&self, count: usize) {
        self.conflicts.set(number(count));
    }

    pub(super) fn wrote(&self, result: &'static str) {
        self.writes.get_or_create(&Written { result }).inc();
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
