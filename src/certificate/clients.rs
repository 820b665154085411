//! Which clients may connect, when clients have to show a certificate: those whose authority is in a bundle, which is
//! read again when its contents change.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::certificate::error::PairError;
use crate::health::{Condition, Health};

/// Where the authorities of clients come from.
pub trait AuthoritySource: Send + Sync + 'static {
    /// Reads the bundle as it is now: PEM, unchecked. The error is a sentence that names what cannot be read.
    fn read(&self) -> BoxFuture<'_, Result<Vec<u8>, PairError>>;
}

/// The clients that are accepted right now. Every client must show a certificate.
#[derive(Debug)]
pub struct AcceptedClients(ArcSwap<Verifier>);

#[derive(Debug)]
struct Verifier {
    bundle: Vec<u8>,
    verifier: Arc<dyn ClientCertVerifier>,
}

impl Verifier {
    fn new(bundle: Vec<u8>) -> Result<Self, PairError> {
        let refused = |reason: &dyn std::fmt::Display| {
            PairError::new(format!("the clients' authorities cannot be used: {reason}"))
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&bundle) {
            let certificate = certificate.map_err(|error| refused(&error))?;
            roots.add(certificate).map_err(|error| refused(&error))?;
        }
        if roots.is_empty() {
            return Err(refused(&"there is no certificate in PEM in the file"));
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| refused(&error))?;
        Ok(Self { bundle, verifier })
    }
}

/// Polls the source by contents and keeps [`AcceptedClients`] at its newest good bundle.
#[derive(Debug)]
pub struct ClientReloader<S> {
    source: S,
    accepted: Arc<AcceptedClients>,
    interval: Duration,
    reload: Condition,
}

impl<S: AuthoritySource> ClientReloader<S> {
    /// Reads the first bundle: without a good one nobody could connect, so that is an error to start with.
    pub async fn start(source: S, interval: Duration, health: &Health) -> Result<Self, PairError> {
        let verifier = Verifier::new(source.read().await?)?;
        Ok(Self {
            source,
            accepted: Arc::new(AcceptedClients(ArcSwap::from_pointee(verifier))),
            interval,
            reload: health.condition("client-ca-reload"),
        })
    }

    /// Who is accepted, for the listener.
    pub fn accepted(&self) -> Arc<AcceptedClients> {
        Arc::clone(&self.accepted)
    }

    /// Polls for ever.
    pub async fn run(&self) {
        let mut last_refusal = None;
        loop {
            sleep(self.interval).await;
            match self.changed().await {
                Ok(changed) => {
                    last_refusal = None;
                    self.reload.clear();
                    if let Some(verifier) = changed {
                        info!("accepting clients of new authorities");
                        self.accepted.0.store(Arc::new(verifier));
                    }
                }
                Err(refusal) => {
                    self.reload
                        .set(format!("{refusal}; the previous authorities stay in use"));
                    if last_refusal.as_ref() != Some(&refusal) {
                        warn!(reason = %refusal, "new client authorities refused, the previous ones stay in use");
                        last_refusal = Some(refusal);
                    }
                }
            }
        }
    }

    async fn changed(&self) -> Result<Option<Verifier>, PairError> {
        let bundle = self.source.read().await?;
        if bundle == self.accepted.0.load().bundle {
            return Ok(None);
        }
        Verifier::new(bundle).map(Some)
    }
}

/// By whatever bundle is the newest; a connection that is open stays open.
impl ClientCertVerifier for AcceptedClients {
    /// None: a client with one certificate shows it without, and hints cannot change under a running server.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let current = self.0.load();
        current
            .verifier
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let current = self.0.load();
        current.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let current = self.0.load();
        current.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().verifier.supported_verify_schemes()
    }
}
