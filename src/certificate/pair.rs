//! A certificate pair, checked before it may be served.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest, Sha256};

use crate::certificate::error::PairError;
use crate::certificate::leaf::{LeafFacts, check_expected};

/// A pair as a source delivers it, unchecked. `Debug` never shows the key.
#[derive(Clone, Debug)]
pub struct PemPair {
    /// The chain in PEM, leaf first.
    pub chain: Vec<u8>,
    /// The private key in PEM (PKCS#8, PKCS#1 or SEC1).
    pub key: SecretSlice<u8>,
    /// What to call the chain in messages, such as its file's path.
    pub chain_name: String,
    /// What to call the key in messages.
    pub key_name: String,
}

/// The SHA-256 of a pair's contents; equal contents are not loaded twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl PemPair {
    /// Identifies the contents. Never shown to people, since it is made from the key too.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        // The length keeps the boundary between chain and key.
        hash.update(self.chain.len().to_be_bytes());
        hash.update(&self.chain);
        hash.update(self.key.expose_secret());
        Fingerprint(hash.finalize().into())
    }
}

/// A pair that may be served: the key belongs to the leaf, the leaf is in its dates, is for servers, and has names.
#[derive(Clone, Debug)]
pub struct CertificatePair {
    /// What rustls serves.
    pub certified: Arc<CertifiedKey>,
    /// The DNS names and IP addresses of the leaf.
    pub names: Vec<String>,
    /// The leaf is valid from here.
    pub not_before: Timestamp,
    /// The leaf is valid until here.
    pub not_after: Timestamp,
    /// Identifies the contents.
    pub fingerprint: Fingerprint,
}

impl CertificatePair {
    /// Checks a pair at the time `now`. `expected` are names that the leaf must cover (a DNS name, wildcards honoured,
    /// or an IP address); none means that any will do.
    pub fn check(pem: &PemPair, expected: &[String], now: Timestamp) -> Result<Self, PairError> {
        let chain = parse_chain(pem)?;
        let key = parse_key(pem)?;
        let leaf = chain.first().ok_or_else(|| no_certificate(pem))?;
        let facts = LeafFacts::read(leaf, &pem.chain_name)?;
        facts.check(&pem.chain_name, now)?;
        check_expected(leaf, expected, &facts.names, &pem.chain_name)?;

        let signing = aws_lc_rs::sign::any_supported_type(&key).map_err(|_| {
            PairError::new(format!(
                "the private key in {} is of a kind that cannot be used: use ECDSA (P-256, P-384), RSA or Ed25519",
                pem.key_name
            ))
        })?;
        let certified = CertifiedKey::new(chain, signing);
        certified.keys_match().map_err(|_| {
            PairError::new(format!(
                "the private key in {} does not belong to the first certificate in {}: the two files must come from \
                 one issue, and the chain must start with the server's own certificate",
                pem.key_name, pem.chain_name
            ))
        })?;
        Ok(Self {
            certified: Arc::new(certified),
            names: facts.names,
            not_before: facts.not_before,
            not_after: facts.not_after,
            fingerprint: pem.fingerprint(),
        })
    }
}

fn no_certificate(pem: &PemPair) -> PairError {
    PairError::new(format!(
        "{} holds no certificate: it must hold the server's chain in PEM, its own certificate first",
        pem.chain_name
    ))
}

fn parse_chain(pem: &PemPair) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem.chain)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            PairError::new(format!(
                "{} is not well-formed PEM: {error}",
                pem.chain_name
            ))
        })?;
    if chain.is_empty() {
        return Err(no_certificate(pem));
    }
    Ok(chain)
}

fn parse_key(pem: &PemPair) -> Result<PrivateKeyDer<'static>, PairError> {
    let contents = pem.key.expose_secret();
    // The parser's own error is left out: it may quote the input.
    PrivateKeyDer::from_pem_slice(contents).map_err(|_| {
        let encrypted = contents
            .windows(b"ENCRYPTED".len())
            .any(|window| window == b"ENCRYPTED");
        let reason = if encrypted {
            "holds an encrypted private key: decrypt it first"
        } else {
            "holds no private key in PEM"
        };
        PairError::new(format!("{} {reason}", pem.key_name))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::certificate::development::DevelopmentCa;

    const DAY: Duration = Duration::from_hours(24);

    fn now() -> Timestamp {
        "2026-11-21T00:00:00Z".parse().unwrap()
    }

    fn made(names: &[&str]) -> PemPair {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        DevelopmentCa::new(now(), &names, DAY).unwrap().pem_pair()
    }

    fn refusal(pem: &PemPair, expected: &[&str], now: Timestamp) -> String {
        let expected: Vec<_> = expected.iter().map(|&name| name.to_owned()).collect();
        CertificatePair::check(pem, &expected, now)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_good_pair_tells_its_names_and_dates() {
        let pem = made(&["ecr-admission.ns.svc", "10.0.0.1", "fd00::1"]);
        let expected = ["ecr-admission.ns.svc".to_owned(), "10.0.0.1".to_owned()];
        let pair = CertificatePair::check(&pem, &expected, now()).unwrap();
        assert_eq!(pair.names, ["ecr-admission.ns.svc", "10.0.0.1", "fd00::1"]);
        assert_eq!(pair.not_after, crate::clock::add(now(), DAY));
        assert!(pair.not_before < now());
        assert_eq!(pair.fingerprint, pem.fingerprint());
    }

    #[test]
    fn a_chain_is_accepted_with_its_leaf_first_and_refused_otherwise() {
        let ca = DevelopmentCa::new(now(), &["a.test".to_owned()], DAY).unwrap();
        let mut pem = ca.pem_pair();
        pem.chain.extend_from_slice(ca.ca_pem.as_bytes());
        let pair = CertificatePair::check(&pem, &[], now()).unwrap();
        assert_eq!(pair.certified.cert.len(), 2);

        pem.chain = format!("{}{}", ca.ca_pem, ca.cert_pem).into_bytes();
        assert!(CertificatePair::check(&pem, &[], now()).is_err());
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let pem = PemPair {
            key: made(&["a.test"]).key,
            ..made(&["a.test"])
        };
        assert!(refusal(&pem, &[], now()).contains("does not belong"));
    }

    #[test]
    fn dates_are_checked_on_both_sides() {
        let pem = made(&["a.test"]);
        let later = crate::clock::add(now(), DAY + Duration::from_secs(1));
        assert!(refusal(&pem, &[], later).contains("expired at 2026-11-22T00:00:00Z"));
        let earlier = "2026-11-20T23:54:59Z".parse().unwrap();
        assert!(refusal(&pem, &[], earlier).contains("not valid before 2026-11-20T23:55:00Z"));
    }

    #[test]
    fn a_name_that_is_not_covered_is_refused_and_wildcards_cover() {
        let pem = made(&["*.ns.svc"]);
        assert!(
            refusal(&pem, &["ecr-admission.other.svc"], now())
                .contains("not for ecr-admission.other.svc")
        );
        let covered = ["ecr-admission.ns.svc".to_owned()];
        assert!(CertificatePair::check(&pem, &covered, now()).is_ok());
    }

    #[test]
    fn a_certificate_that_no_client_would_accept_is_refused() {
        let self_signed = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::default();
            change(&mut params);
            PemPair {
                chain: params.self_signed(&key).unwrap().pem().into_bytes(),
                key: key.serialize_pem().into_bytes().into(),
                ..made(&["a.test"])
            }
        };
        let no_name = self_signed(&|_| {});
        assert!(refusal(&no_name, &[], now()).contains("no subject alternative name"));
        let for_clients = self_signed(&|params| {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        });
        assert!(refusal(&for_clients, &[], now()).contains("serverAuth"));
    }

    #[test]
    fn garbage_is_refused_with_the_name_of_its_file_and_never_shows_the_key() {
        let good = made(&["a.test"]);
        let key = String::from_utf8(good.key.expose_secret().to_vec()).unwrap();
        let secret_line = key.lines().nth(1).unwrap();
        let keys = [
            key.replacen('M', "!", 1),
            key.replace("PRIVATE", "ENCRYPTED PRIVATE"),
            String::new(),
        ];
        for bad in keys {
            let pem = PemPair {
                key: bad.into_bytes().into(),
                key_name: "/tls/tls.key".to_owned(),
                ..good.clone()
            };
            let refusal = refusal(&pem, &[], now());
            assert!(refusal.contains("/tls/tls.key"), "{refusal}");
            assert!(!refusal.contains(secret_line), "{refusal}");
            assert!(!format!("{pem:?}").contains(secret_line));
        }
        let half = &good.chain[..good.chain.len() / 2];
        for bad in [
            half,
            b"",
            b"\xff\x00",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            let pem = PemPair {
                chain: bad.to_vec(),
                chain_name: "/tls/tls.crt".to_owned(),
                ..good.clone()
            };
            let refusal = refusal(&pem, &[], now());
            assert!(refusal.contains("/tls/tls.crt"), "{refusal}");
        }
    }
}
