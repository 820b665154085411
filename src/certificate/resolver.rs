//! What is served right now.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certificate::pair::CertificatePair;

/// The pair that new handshakes are answered with. Replacing it drops no connection; a pair stays until a better one
/// replaces it. Before the first one, handshakes fail.
#[derive(Debug, Default)]
pub struct ServedCertificate(ArcSwapOption<CertificatePair>);

impl ServedCertificate {
    /// Serves `pair` until it is replaced.
    pub fn new(pair: CertificatePair) -> Arc<Self> {
        Arc::new(Self(ArcSwapOption::from_pointee(pair)))
    }

    /// The pair that is served, once there is one: what metrics and readiness report, as opposed to what lies on disk.
    pub fn current(&self) -> Option<Arc<CertificatePair>> {
        self.0.load_full()
    }

    /// Serves `pair` from the next handshake on.
    pub fn replace(&self, pair: CertificatePair) {
        self.0.store(Some(Arc::new(pair)));
    }
}

impl ResolvesServerCert for ServedCertificate {
    /// The same pair for every name: the API server asks for the Service's name, a person with curl for localhost.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let served = self.0.load();
        Some(Arc::clone(&served.as_ref()?.certified))
    }
}
