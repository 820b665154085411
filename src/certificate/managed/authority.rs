//! Authorities and the leaves that they sign.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use rcgen::{Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::plan::Plan;
use crate::certificate::issue::{self, Validity};

/// The SHA-256 of an authority's certificate, shown as hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityId([u8; 32]);

impl fmt::Display for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for AuthorityId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut id = [0; 32];
        if text.len() != 2 * id.len() || !text.is_ascii() {
            return Err(());
        }
        for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(drop)?;
            *byte = u8::from_str_radix(digits, 16).map_err(drop)?;
        }
        Ok(Self(id))
    }
}

/// An authority's certificate: what a `caBundle` is made of.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorityCertificate {
    /// Identifies it.
    pub id: AuthorityId,
    /// Valid from here.
    pub not_before: Timestamp,
    /// Valid until here.
    pub not_after: Timestamp,
    der: CertificateDer<'static>,
}

impl fmt::Debug for AuthorityCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} until {}", self.id, self.not_after)
    }
}

impl AuthorityCertificate {
    /// Reads a certificate; `None` when it is none, or no authority's.
    pub(crate) fn read(der: CertificateDer<'static>) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(&der).ok()?;
        let date = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp());
        if !rest.is_empty() || !parsed.is_ca() {
            return None;
        }
        Some(Self {
            id: AuthorityId(Sha256::digest(&der).into()),
            not_before: date(parsed.validity().not_before).ok()?,
            not_after: date(parsed.validity().not_after).ok()?,
            der,
        })
    }

    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    pub(crate) fn validity(&self) -> Validity {
        Validity {
            not_before: self.not_before,
            not_after: self.not_after,
        }
    }

    fn write_pem(&self, bundle: &mut String) {
        bundle.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = BASE64_STANDARD.encode(&self.der);
        // RFC 7468: lines of 64 characters.
        for (position, character) in encoded.chars().enumerate() {
            if position > 0 && position % 64 == 0 {
                bundle.push('\n');
            }
            bundle.push(character);
        }
        bundle.push_str("\n-----END CERTIFICATE-----\n");
    }
}

/// A `caBundle`: the authorities that clients trust.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// In the order in which they are written.
    pub authorities: Vec<AuthorityCertificate>,
    /// Whether there is nothing else in it.
    pub clean: bool,
}

impl Bundle {
    /// A bundle of `authorities`, each once.
    pub fn of<'a>(authorities: impl IntoIterator<Item = &'a AuthorityCertificate>) -> Self {
        let mut seen = BTreeSet::new();
        Self {
            authorities: authorities
                .into_iter()
                .filter(|authority| seen.insert(authority.id))
                .cloned()
                .collect(),
            clean: true,
        }
    }

    /// Reads what can be read of a bundle in PEM.
    pub fn read(pem: &[u8]) -> Self {
        let mut clean = true;
        let mut authorities = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            match certificate.ok().and_then(AuthorityCertificate::read) {
                Some(authority) => authorities.push(authority),
                None => clean = false,
            }
        }
        Self { authorities, clean }
    }

    /// In PEM.
    pub fn pem(&self) -> String {
        let mut pem = String::new();
        for authority in &self.authorities {
            authority.write_pem(&mut pem);
        }
        pem
    }

    /// Which authorities are in it.
    pub fn ids(&self) -> BTreeSet<AuthorityId> {
        let authorities = self.authorities.iter();
        authorities.map(|authority| authority.id).collect()
    }

    /// Whether it carries that authority.
    pub fn carries(&self, id: AuthorityId) -> bool {
        self.authorities.iter().any(|authority| authority.id == id)
    }
}

/// An authority that can sign. `Debug` never shows its key.
#[derive(Clone, Debug)]
pub struct Authority {
    /// What others trust.
    pub certificate: AuthorityCertificate,
    /// Its private key, PKCS#8 in PEM.
    pub(crate) key: SecretSlice<u8>,
}

impl Authority {
    /// Makes one that is valid from `now`.
    pub(crate) fn make(plan: &Plan, now: Timestamp) -> Result<Self, rcgen::Error> {
        let key = Zeroizing::new(KeyPair::generate()?);
        // A name of its own for each: verifiers look issuers up by name.
        let mark = AuthorityId(Sha256::digest(key.der_bytes()).into()).to_string();
        let validity = Validity::new(now, plan.clock_skew, plan.authority_life);
        let name = format!("ecr-admission CA {mark:.8}");
        let made = issue::authority(&name, validity).self_signed(&*key)?;
        let certificate = AuthorityCertificate::read(made.der().clone())
            .ok_or(rcgen::Error::CouldNotParseCertificate)?;
        Ok(Self {
            certificate,
            key: pem(&key),
        })
    }

    /// A stored one; `None` when the key is unreadable or belongs to another certificate.
    pub(crate) fn stored(certificate: AuthorityCertificate, key: SecretSlice<u8>) -> Option<Self> {
        let pair = read_key(&key)?;
        let (_, parsed) = X509Certificate::from_der(&certificate.der).ok()?;
        let public = parsed.public_key().subject_public_key.data.as_ref();
        (pair.der_bytes() == public).then_some(())?;
        Some(Self { certificate, key })
    }

    /// Makes a leaf for `names` that is valid from `now`, and never longer than its authority.
    pub(crate) fn sign(
        &self,
        plan: &Plan,
        names: &[String],
        now: Timestamp,
    ) -> Result<(String, SecretSlice<u8>), rcgen::Error> {
        let signer = read_key(&self.key).ok_or(rcgen::Error::CouldNotParseKeyPair)?;
        let issuer = Issuer::from_ca_cert_der(self.certificate.der(), &*signer)?;
        let mut validity = Validity::new(now, plan.clock_skew, plan.leaf_life);
        validity.not_after = validity.not_after.min(self.certificate.not_after);
        let key = Zeroizing::new(KeyPair::generate()?);
        let name = names.first().map_or("ecr-admission", String::as_str);
        let leaf = issue::leaf(name, names, validity)?.signed_by(&*key, &issuer)?;
        Ok((leaf.pem(), pem(&key)))
    }
}

fn read_key(pem: &SecretSlice<u8>) -> Option<Zeroizing<KeyPair>> {
    let text = std::str::from_utf8(pem.expose_secret()).ok()?;
    KeyPair::from_pem(text).ok().map(Zeroizing::new)
}

fn pem(key: &KeyPair) -> SecretSlice<u8> {
    key.serialize_pem().into_bytes().into()
}
