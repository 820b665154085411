//! A certificate authority for development: made at once, good for one leaf, its key never kept.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{CertifiedIssuer, KeyPair};
use secrecy::{ExposeSecret, SecretString};

use crate::certificate::issue::{self, Validity};
use crate::certificate::pair::PemPair;

/// Validity starts this long ago, for clients whose clock is behind.
const BACKDATE: Duration = Duration::from_mins(5);
/// How long the authority is valid: a year, like the longest leaf.
const CA_LIFE: Duration = Duration::from_hours(365 * 24);
/// How long the leaf is valid unless told otherwise.
pub const LEAF_LIFE_DEFAULT: Duration = Duration::from_hours(90 * 24);
/// The longest leaf: the authority's own life.
pub const LEAF_LIFE_MAX: Duration = CA_LIFE;

/// What was made. The authority's key is dropped after signing the leaf, so nothing else can ever be signed by it.
/// `Debug` never shows the leaf's key.
#[derive(Clone, Debug)]
pub struct DevelopmentCa {
    /// The authority's certificate: what clients trust, and what goes into a `caBundle`.
    pub ca_pem: String,
    /// The server's certificate.
    pub cert_pem: String,
    /// The server's private key (PKCS#8).
    pub key_pem: SecretString,
    /// When the server's certificate expires.
    pub not_after: Timestamp,
}

/// Why no certificate could be made.
#[derive(Debug, thiserror::Error)]
pub enum DevelopmentError {
    /// A name is neither a DNS name nor an IP address.
    #[error(
        "{name:?} is neither a DNS name nor an IP address, so no certificate can be made for it"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// There is no name at all.
    #[error("a certificate needs at least one DNS name or IP address")]
    NoName,
    /// The leaf would outlive its authority.
    #[error("a development certificate is valid for 1 to {max} days, not {asked}", max = LEAF_LIFE_MAX.as_secs() / 86400, asked = .0.as_secs() / 86400)]
    Life(Duration),
    /// The library could not do it.
    #[error("the certificate could not be made: {0}")]
    Generation(#[from] rcgen::Error),
}

impl DevelopmentCa {
    /// Makes an authority and, signed by it, a server certificate for `names` (DNS names or IP addresses) that is valid
    /// for `life` from `now`. ECDSA P-256.
    pub fn new(now: Timestamp, names: &[String], life: Duration) -> Result<Self, DevelopmentError> {
        if names.is_empty() {
            return Err(DevelopmentError::NoName);
        }
        if life.is_zero() || life > LEAF_LIFE_MAX {
            return Err(DevelopmentError::Life(life));
        }
        check_names(names)?;
        let validity = Validity::new(now, BACKDATE, CA_LIFE);
        let authority = issue::authority("ecr-admission development CA", validity);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let validity = Validity::new(now, BACKDATE, life);
        let key = KeyPair::generate()?;
        let certificate = issue::leaf("ecr-admission development", names, validity)?
            .signed_by(&key, &authority)?;
        Ok(Self {
            ca_pem: authority.pem(),
            cert_pem: certificate.pem(),
            key_pem: SecretString::from(key.serialize_pem()),
            not_after: validity.not_after,
        })
    }

    /// The server's pair, as if it had been read from somewhere.
    pub fn pem_pair(&self) -> PemPair {
        PemPair {
            chain: self.cert_pem.clone().into_bytes(),
            key: self.key_pem.expose_secret().as_bytes().to_vec().into(),
            chain_name: "the development certificate".to_owned(),
            key_name: "the development key".to_owned(),
        }
    }
}

fn check_names(names: &[String]) -> Result<(), DevelopmentError> {
    for name in names {
        // A wildcard stands for one label in front.
        let rest = name.strip_prefix("*.").unwrap_or(name);
        rustls::pki_types::ServerName::try_from(rest)
            .map_err(|_| DevelopmentError::Name { name: name.clone() })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    const DAY_SECONDS: i64 = 24 * 60 * 60;

    #[test]
    fn both_certificates_have_bounded_dates_and_their_own_uses() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let made = DevelopmentCa::new(now, &["a.test".to_owned()], LEAF_LIFE_DEFAULT).unwrap();
        for (pem, days, is_ca) in [(&made.ca_pem, 365, true), (&made.cert_pem, 90, false)] {
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            let (_, certificate) = X509Certificate::from_der(&der).unwrap();
            assert_eq!(certificate.is_ca(), is_ca);
            let validity = certificate.validity();
            assert_eq!(validity.not_before.timestamp(), now.as_second() - 300);
            let end = now.as_second() + days * DAY_SECONDS;
            assert_eq!(validity.not_after.timestamp(), end);
        }
        assert_eq!(
            made.not_after.as_second(),
            now.as_second() + 90 * DAY_SECONDS
        );
    }

    #[test]
    fn the_key_is_not_shown_by_debug() {
        let now = Timestamp::UNIX_EPOCH;
        let made = DevelopmentCa::new(now, &["a.test".to_owned()], LEAF_LIFE_DEFAULT).unwrap();
        let key = made.key_pem.expose_secret().lines().nth(1).unwrap();
        assert!(!format!("{made:?}").contains(key));
    }
}
