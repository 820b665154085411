//! The server's own certificate: what it says of itself, and whether clients would accept it.

use std::net::{Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::certificate::error::PairError;

/// What the leaf says of itself.
pub(crate) struct LeafFacts {
    /// The DNS names and IP addresses that it is for.
    pub(crate) names: Vec<String>,
    /// Valid from here.
    pub(crate) not_before: Timestamp,
    /// Valid until here.
    pub(crate) not_after: Timestamp,
    for_servers: bool,
}

impl LeafFacts {
    /// Reads them; `file` is named in the error.
    pub(crate) fn read(leaf: &CertificateDer<'_>, file: &str) -> Result<Self, PairError> {
        let unreadable = |what: &str| {
            PairError::new(format!(
                "the first certificate in {file} cannot be read: {what}"
            ))
        };
        let (_, parsed) =
            X509Certificate::from_der(leaf).map_err(|_| unreadable("it is not X.509 in DER"))?;
        let date = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp())
                .map_err(|_| unreadable("a date is out of range"))
        };
        let names = parsed
            .subject_alternative_name()
            .map_err(|_| unreadable("its subject alternative names are malformed"))?
            .map(|extension| {
                extension
                    .value
                    .general_names
                    .iter()
                    .filter_map(name)
                    .collect()
            })
            .unwrap_or_default();
        // Without the extension a certificate is for every use.
        let for_servers = parsed
            .extended_key_usage()
            .map_err(|_| unreadable("its extended key usage is malformed"))?
            .is_none_or(|usage| usage.value.server_auth || usage.value.any);
        Ok(Self {
            names,
            not_before: date(parsed.validity().not_before)?,
            not_after: date(parsed.validity().not_after)?,
            for_servers,
        })
    }

    /// Whether a client would accept it at the time `now`.
    pub(crate) fn check(&self, file: &str, now: Timestamp) -> Result<(), PairError> {
        let subject = format!("the first certificate in {file}");
        if now > self.not_after {
            return Err(PairError::new(format!(
                "{subject} expired at {} (it is {now}): renew it",
                self.not_after
            )));
        }
        if now < self.not_before {
            return Err(PairError::new(format!(
                "{subject} is not valid before {} (it is {now}): compare the clocks of this machine and of the issuer",
                self.not_before
            )));
        }
        if !self.for_servers {
            return Err(PairError::new(format!(
                "{subject} is not for servers: its extended key usage lacks serverAuth"
            )));
        }
        if self.names.is_empty() {
            return Err(PairError::new(format!(
                "{subject} has no subject alternative name (DNS or IP), so no client accepts it: the API server asks \
                 for <service>.<namespace>.svc"
            )));
        }
        Ok(())
    }
}

/// The DNS names and IP addresses that a certificate is for; none when it cannot be read.
pub fn subject_names(certificate: &CertificateDer<'_>) -> Vec<String> {
    LeafFacts::read(certificate, "").map_or_else(|_| Vec::new(), |facts| facts.names)
}

/// A subject alternative name that a server can be asked for.
fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|v4| Ipv4Addr::from(v4).to_string()),
            16 => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|v6| Ipv6Addr::from(v6).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// Whether the leaf is for every one of the `expected` names.
pub(crate) fn check_expected(
    leaf: &CertificateDer<'_>,
    expected: &[String],
    names: &[String],
    file: &str,
) -> Result<(), PairError> {
    if expected.is_empty() {
        return Ok(());
    }
    let parsed = ParsedCertificate::try_from(leaf).map_err(|error| {
        PairError::new(format!(
            "the first certificate in {file} is refused: {error}"
        ))
    })?;
    for wanted in expected {
        let covered = ServerName::try_from(wanted.as_str())
            .is_ok_and(|wanted| rustls::client::verify_server_name(&parsed, &wanted).is_ok());
        if !covered {
            return Err(PairError::new(format!(
                "the first certificate in {file} is for {}, not for {wanted}",
                names.join(", ")
            )));
        }
    }
    Ok(())
}
