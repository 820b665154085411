//! The TLS side of the listener.

use std::io;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, RootCertStore, ServerConfig,
    ServerConnection,
};

use crate::server::metrics::HandshakeFailure;

/// HTTP/2's name in ALPN.
pub(crate) const ALPN_H2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// TLS 1.2 and 1.3 with the certificate that `resolver` gives at each handshake.
///
/// Sessions are not resumed: the API server's client keeps no tickets, so storing them costs memory for nothing.
pub fn server_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, Error> {
    server_config_for(resolver, WebPkiClientVerifier::no_client_auth())
}

/// The same for clients that `clients` accepts.
pub fn server_config_for(
    resolver: Arc<dyn ResolvesServerCert>,
    clients: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Makes one handshake in memory, as far as the server's signature, before the first client comes: the first one of a
/// process costs tens of milliseconds. It also proves that the key can sign.
pub fn warm_up(config: &Arc<ServerConfig>) -> Result<(), Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    // It trusts nobody, so it ends the handshake when it has our certificate: the costly part is done by then, and no
    // verifier that accepts anything has to exist.
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name =
        ServerName::try_from("localhost").map_err(|error| Error::General(error.to_string()))?;
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::clone(config))?;

    let in_memory = |error: io::Error| Error::General(error.to_string());
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).map_err(in_memory)?;
    }
    let mut hello = bytes.as_slice();
    while !hello.is_empty() {
        server.read_tls(&mut hello).map_err(in_memory)?;
        server.process_new_packets()?;
    }
    let mut bytes = Vec::new();
    while server.wants_write() {
        server.write_tls(&mut bytes).map_err(in_memory)?;
    }
    let mut flight = bytes.as_slice();
    while !flight.is_empty() {
        client.read_tls(&mut flight).map_err(in_memory)?;
        if client.process_new_packets().is_err() {
            break;
        }
    }
    Ok(())
}

/// Sorts the failure of a handshake for the metric.
pub(crate) fn handshake_failure(error: &io::Error) -> HandshakeFailure {
    let Some(tls) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    else {
        return HandshakeFailure::Closed;
    };
    match tls {
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            // Its CA has the name of ours and another key.
            | AlertDescription::DecryptError,
        ) => HandshakeFailure::CertificateRejected,
        Error::InvalidMessage(_) => HandshakeFailure::NotTls,
        Error::NoCertificatesPresented => HandshakeFailure::ClientCertificateMissing,
        Error::InvalidCertificate(_) => HandshakeFailure::ClientCertificateRefused,
        _ => HandshakeFailure::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::certificate::development::DevelopmentCa;
    use crate::certificate::{CertificatePair, ServedCertificate};
    use crate::clock::Clock;

    #[test]
    fn the_warm_up_needs_no_socket_and_no_trust() {
        let now = Clock::system().now();
        let ca = DevelopmentCa::new(now, &["a.test".to_owned()], Duration::from_hours(1)).unwrap();
        let pair = CertificatePair::check(&ca.pem_pair(), &[], now).unwrap();
        let config = server_config(ServedCertificate::new(pair)).unwrap();
        warm_up(&Arc::new(config)).unwrap();
    }

    #[test]
    fn the_warm_up_fails_when_there_is_no_certificate() {
        #[derive(Debug)]
        struct Nothing;
        impl ResolvesServerCert for Nothing {
            fn resolve(
                &self,
                _: rustls::server::ClientHello<'_>,
            ) -> Option<Arc<rustls::sign::CertifiedKey>> {
                None
            }
        }
        let config = server_config(Arc::new(Nothing)).unwrap();
        assert!(warm_up(&Arc::new(config)).is_err());
    }

    #[test]
    fn failures_are_sorted_by_who_can_cure_them() {
        let of =
            |error: Error| handshake_failure(&io::Error::new(io::ErrorKind::InvalidData, error));
        let unknown_ca = Error::AlertReceived(AlertDescription::UnknownCA);
        assert_eq!(of(unknown_ca), HandshakeFailure::CertificateRejected);
        let not_tls = Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        assert_eq!(of(not_tls), HandshakeFailure::NotTls);
        let missing = Error::NoCertificatesPresented;
        assert_eq!(of(missing), HandshakeFailure::ClientCertificateMissing);
        let refused = Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        assert_eq!(of(refused), HandshakeFailure::ClientCertificateRefused);
        let closed = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(handshake_failure(&closed), HandshakeFailure::Closed);
    }
}
