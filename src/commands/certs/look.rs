//! What a live server shows in a handshake.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const PATIENCE: Duration = Duration::from_secs(5);

/// The chain that the server at `address` (HOST:PORT) shows to a client that asks for `name`. The handshake ends there:
/// nothing is sent to a server that has not been verified. (The server counts it as a handshake that failed for a reason
/// of protocol.)
pub(super) async fn chain(
    address: &str,
    name: &str,
) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let recorder = Arc::new(Recorder::default());
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&recorder) as Arc<_>)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned())
        .with_context(|| format!("{name:?} is no name of a server"))?;
    let handshake = async {
        let tcp = TcpStream::connect(address).await?;
        let connected = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await;
        Ok::<_, io::Error>(connected.err())
    };
    let ended = timeout(PATIENCE, handshake).await;
    let ended = ended.with_context(|| format!("{address} does not answer within {PATIENCE:?}"))?;
    let ended = ended.with_context(|| format!("cannot connect to {address}"))?;
    let seen = recorder.0.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.is_empty() {
        let why = ended.map_or_else(String::new, |error| format!(": {error}"));
        bail!("{address} shows no certificate{why}");
    }
    Ok(seen.clone())
}

/// Writes down the chain, and accepts none.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<CertificateDer<'static>>>);

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let chain = std::iter::once(end_entity).chain(intermediates);
        let chain = chain.map(|certificate| certificate.clone().into_owned());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = chain.collect();
        Err(Error::General("only looked at".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only looked at".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("only looked at".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
