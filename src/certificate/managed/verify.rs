//! Whether clients that trust an authority accept a leaf.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::authority::AuthorityCertificate;
use super::state::Leaf;

/// Whether a client that trusts `authority` alone accepts the leaf for all its names, while it is valid.
pub(crate) fn is_signed_by(leaf: &Leaf, authority: &AuthorityCertificate) -> bool {
    let Ok(certificate) = CertificateDer::from_pem_slice(&leaf.pem.chain) else {
        return false;
    };
    let (chain, at) = ([certificate], leaf.validity.not_after);
    leaf.names
        .iter()
        .all(|name| accept(&chain, std::slice::from_ref(authority), name, at).is_ok())
}

/// Whether a client that trusts `authorities` accepts the first certificate of `chain`, asked for `name`, at a moment;
/// the error says why not. As Go does and webpki does not, it minds the dates of authorities.
pub(crate) fn accept(
    chain: &[CertificateDer<'_>],
    authorities: &[AuthorityCertificate],
    name: &str,
    at: Timestamp,
) -> Result<(), String> {
    let (leaf, intermediates) = chain.split_first().ok_or("there is no certificate")?;
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        if (authority.not_before..=authority.not_after).contains(&at) {
            let added = roots.add(authority.der().clone());
            added.map_err(|error| error.to_string())?;
        }
    }
    if roots.is_empty() {
        return Err("it carries no authority that is valid now".to_owned());
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| error.to_string())?;
    let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    verifier
        .verify_server_cert(leaf, intermediates, &name, &[], at)
        .map(drop)
        .map_err(|error| error.to_string())
}
