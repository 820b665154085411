//! Metrics of listeners and of background tasks.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::activity::Waiting;

/// Handles on the metrics of this folder; clones share them.
#[derive(Clone, Debug, Default)]
pub struct ServerMetrics {
    connections: Family<ListenerLabel, Gauge>,
    refused: Family<ListenerLabel, Counter>,
    accept_errors: Family<ListenerLabel, Counter>,
    timeouts: Family<TimeoutLabel, Counter>,
    handshake_errors: Family<HandshakeLabel, Counter>,
    restarts: Family<TaskLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TimeoutLabel {
    listener: &'static str,
    waiting_for: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HandshakeLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabel {
    task: &'static str,
}

impl ServerMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "connections_in_flight",
            "Open connections, handshakes included",
            metrics.connections.clone(),
        );
        registry.register(
            "connections_refused",
            "Connections closed at once because a limit of connections was reached",
            metrics.refused.clone(),
        );
        registry.register(
            "accept_errors",
            "Failures to accept a connection",
            metrics.accept_errors.clone(),
        );
        registry.register(
            "connections_timed_out",
            "Connections closed because the client kept us waiting, by what for",
            metrics.timeouts.clone(),
        );
        registry.register(
            "tls_handshake_errors",
            "Failed TLS handshakes by reason",
            metrics.handshake_errors.clone(),
        );
        registry.register(
            "tasks_restarted",
            "Background tasks that ended or panicked and were started again",
            metrics.restarts.clone(),
        );
        for failure in HandshakeFailure::ALL {
            let _exists = metrics.handshake_errors.get_or_create(&failure.label());
        }
        metrics
    }

    pub(crate) fn listener(&self, listener: &'static str) -> ListenerMetrics {
        // Series that exist at 0, so that the first of its kind is seen as an increase.
        for waiting in Waiting::ALL {
            let waiting_for = waiting.label();
            let _exists = self.timeouts.get_or_create(&TimeoutLabel {
                listener,
                waiting_for,
            });
        }
        let label = ListenerLabel { listener };
        ListenerMetrics {
            connections: self.connections.get_or_create_owned(&label),
            refused: self.refused.get_or_create_owned(&label),
            accept_errors: self.accept_errors.get_or_create_owned(&label),
            listener,
            all: self.clone(),
        }
    }

    pub(crate) fn restarted(&self, task: &'static str) {
        self.restarts.get_or_create(&TaskLabel { task }).inc();
    }

    /// Makes the series of a task exist at 0, so that its first restart is seen as an increase.
    pub(crate) fn expect_task(&self, task: &'static str) {
        let _exists = self.restarts.get_or_create(&TaskLabel { task });
    }
}

/// The metrics of one listener.
#[derive(Clone, Debug)]
pub(crate) struct ListenerMetrics {
    pub(crate) connections: Gauge,
    pub(crate) refused: Counter,
    pub(crate) accept_errors: Counter,
    listener: &'static str,
    all: ServerMetrics,
}

impl ListenerMetrics {
    /// Counts a connection as open until the guard is dropped.
    pub(crate) fn open(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    pub(crate) fn timed_out(&self, waiting: Waiting) {
        let label = TimeoutLabel {
            listener: self.listener,
            waiting_for: waiting.label(),
        };
        self.all.timeouts.get_or_create(&label).inc();
    }

    pub(crate) fn handshake_failed(&self, failure: HandshakeFailure) {
        self.all
            .handshake_errors
            .get_or_create(&failure.label())
            .inc();
    }
}

#[derive(Debug)]
pub(crate) struct OpenConnection(Gauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeFailure {
    /// The client stalled.
    Timeout,
    /// The client went away: a port probe, or a client that gave up.
    Closed,
    /// The client does not accept our certificate: its CA bundle, or the name it asks for, does not fit.
    CertificateRejected,
    /// The client shows no certificate, and has to.
    ClientCertificateMissing,
    /// We do not accept the client's certificate.
    ClientCertificateRefused,
    /// What came is no TLS.
    NotTls,
    /// Anything else, such as no common version or cipher.
    Protocol,
}

impl HandshakeFailure {
    const ALL: [Self; 7] = [
        Self::Timeout,
        Self::Closed,
        Self::CertificateRejected,
        Self::ClientCertificateMissing,
        Self::ClientCertificateRefused,
        Self::NotTls,
        Self::Protocol,
    ];

    const fn label(self) -> HandshakeLabel {
        let reason = match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::CertificateRejected => "certificate_rejected",
            Self::ClientCertificateMissing => "client_certificate_missing",
            Self::ClientCertificateRefused => "client_certificate_refused",
            Self::NotTls => "not_tls",
            Self::Protocol => "protocol",
        };
        HandshakeLabel { reason }
    }
}
