//! What is counted about admissions.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::outcome::Verdict;
use crate::review::Operation;

/// Upper bounds in seconds: the warm path takes microseconds, an ensure up to the API server's 30 seconds.
const BUCKETS: [f64; 14] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AdmissionLabels {
    operation: &'static str,
    verdict: &'static str,
    reason: &'static str,
}

/// A Pod whose namespace's Secret is fresh.
const WARM: AdmissionLabels = AdmissionLabels {
    operation: "create",
    verdict: Verdict::Injected.label(),
    reason: "warm",
};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EnsureLabels {
    result: &'static str,
}

/// Counts and latencies of admissions and ensures.
#[derive(Clone, Debug)]
pub struct Metrics {
    admissions: Family<AdmissionLabels, Counter>,
    /// The one of [`WARM`], by far the most common: the family hashes three strings to find it.
    warm: Counter,
    duration: Histogram,
    ensures: Family<EnsureLabels, Counter>,
    ensure_duration: Histogram,
    refreshes: Family<EnsureLabels, Counter>,
    refreshes_due: Gauge,
    reconciliations: Family<EnsureLabels, Counter>,
    unhealable: Gauge,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> Self {
        let admissions = Family::<AdmissionLabels, Counter>::default();
        let metrics = Self {
            warm: admissions.get_or_create_owned(&WARM),
            admissions,
            duration: Histogram::new(BUCKETS),
            ensures: Family::default(),
            ensure_duration: Histogram::new(BUCKETS),
            refreshes: Family::default(),
            refreshes_due: Gauge::default(),
            reconciliations: Family::default(),
            unhealable: Gauge::default(),
        };
        registry.register(
            "admissions",
            "Admission reviews by operation, verdict and reason",
            metrics.admissions.clone(),
        );
        registry.register_with_unit(
            "admission_duration",
            "Time from a review's arrival to its answer",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "ensures",
            "Attempts to make a namespace's pull Secret fresh, by result",
            metrics.ensures.clone(),
        );
        registry.register_with_unit(
            "ensure_duration",
            "Time that an attempt to make a pull Secret fresh took",
            Unit::Seconds,
            metrics.ensure_duration.clone(),
        );
        registry.register(
            "refreshes",
            "Secrets that came due for renewal, by result",
            metrics.refreshes.clone(),
        );
        // Told from the start: that nothing was refreshed is news.
        let result = "renewed";
        drop(metrics.refreshes.get_or_create(&EnsureLabels { result }));
        registry.register(
            "refreshes_due",
            "Secrets that were due for renewal at the last look",
            metrics.refreshes_due.clone(),
        );
        registry.register(
            "reconciliations",
            "Times that all Pods were looked through for registries that nobody made a Secret for, by result",
            metrics.reconciliations.clone(),
        );
        registry.register(
            "pods_to_recreate",
            "Pods that fail to pull from ECR and do not name the pull Secret, at the last look through all Pods",
            metrics.unhealable.clone(),
        );
        metrics
    }

    pub(super) fn admitted(
        &self,
        operation: Operation,
        verdict: Verdict,
        reason: &'static str,
        took: Duration,
    ) {
        let operation = match operation {
            Operation::Create => "create",
            Operation::Update => "update",
            Operation::Other => "other",
        };
        let labels = AdmissionLabels {
            operation,
            verdict: verdict.label(),
            reason,
        };
        if labels == WARM {
            self.warm.inc();
        } else {
            self.admissions.get_or_create(&labels).inc();
        }
        self.duration.observe(took.as_secs_f64());
    }

    pub(super) fn found_due(&self, secrets: usize) {
        let secrets = i64::try_from(secrets).unwrap_or(i64::MAX);
        self.refreshes_due.set(secrets);
    }

    pub(super) fn refreshed(&self, result: &'static str) {
        self.refreshes.get_or_create(&EnsureLabels { result }).inc();
    }

    pub(super) fn reconciled(&self, result: &'static str) {
        let labels = EnsureLabels { result };
        self.reconciliations.get_or_create(&labels).inc();
    }

    pub(super) fn found_unhealable(&self, pods: usize) {
        self.unhealable.set(i64::try_from(pods).unwrap_or(i64::MAX));
    }

    pub(super) fn ensured(&self, took: Duration, failure: Option<&'static str>) {
        let result = failure.unwrap_or("ok");
        self.ensures.get_or_create(&EnsureLabels { result }).inc();
        self.ensure_duration.observe(took.as_secs_f64());
    }
}
