//! Metrics of the served certificate.

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Handles on the metrics of the served certificate; clones share them.
#[derive(Clone, Debug, Default)]
pub struct CertificateMetrics {
    not_after: Gauge,
    reloads: Family<ReloadLabel, Counter>,
    rotations: Family<RotationLabel, Counter>,
    bundle_writes: Family<BundleWriteLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RotationLabel {
    part: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BundleWriteLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabel {
    result: &'static str,
}

/// How a changed pair was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reload {
    Loaded,
    Refused,
}

impl Reload {
    const fn label(self) -> ReloadLabel {
        let result = match self {
            Self::Loaded => "loaded",
            Self::Refused => "refused",
        };
        ReloadLabel { result }
    }
}

/// What this replica has made anew.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rotation {
    Authority,
    Leaf,
}

impl Rotation {
    const fn label(self) -> RotationLabel {
        let part = match self {
            Self::Authority => "authority",
            Self::Leaf => "leaf",
        };
        RotationLabel { part }
    }
}

/// Why this replica has written a `caBundle`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BundleWrite {
    /// The authorities changed.
    Rotation,
    /// Somebody else changed it.
    Repair,
}

impl BundleWrite {
    const fn label(self) -> BundleWriteLabel {
        let reason = match self {
            Self::Rotation => "rotation",
            Self::Repair => "repair",
        };
        BundleWriteLabel { reason }
    }
}

impl CertificateMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register_with_unit(
            "certificate_not_after_timestamp",
            "When the certificate that is served expires, as a Unix time",
            Unit::Seconds,
            metrics.not_after.clone(),
        );
        registry.register(
            "certificate_reloads",
            "Changed certificate pairs by what became of them",
            metrics.reloads.clone(),
        );
        for result in [Reload::Loaded, Reload::Refused] {
            let _exists = metrics.reloads.get_or_create(&result.label());
        }
        metrics
    }

    /// The same, with what self-managed certificates count beside it.
    pub fn register_managed(registry: &mut Registry) -> Self {
        let metrics = Self::register(registry);
        registry.register(
            "certificate_rotations",
            "Authorities and leaves that this replica has made, by which of the two",
            metrics.rotations.clone(),
        );
        registry.register(
            "certificate_bundle_writes",
            "Writes of a caBundle by this replica: a rotation of ours, or a repair after somebody else's change",
            metrics.bundle_writes.clone(),
        );
        for rotation in [Rotation::Authority, Rotation::Leaf] {
            let _exists = metrics.rotations.get_or_create(&rotation.label());
        }
        for reason in [BundleWrite::Rotation, BundleWrite::Repair] {
            let _exists = metrics.bundle_writes.get_or_create(&reason.label());
        }
        metrics
    }

    pub(crate) fn rotated(&self, rotation: Rotation) {
        self.rotations.get_or_create(&rotation.label()).inc();
    }

    pub(crate) fn bundle_written(&self, reason: BundleWrite) {
        self.bundle_writes.get_or_create(&reason.label()).inc();
    }

    pub(crate) fn served(&self, not_after: Timestamp) {
        self.not_after.set(not_after.as_second());
    }

    pub(crate) fn reloaded(&self, result: Reload) {
        self.reloads.get_or_create(&result.label()).inc();
    }
}
