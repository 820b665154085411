//! What our Secret holds, and how it is written there.
//!
//! | key | holds |
//! |---|---|
//! | `tls.crt`, `tls.key` | the leaf that every replica serves |
//! | `ca.crt` | every authority that the `caBundle` carries, the one that signs leaves first |
//! | `ca.key` | the key of the authority that signs leaves |
//! | `next-ca.key` | the key of the authority that is to sign them, while one authority replaces another |
//! | `state.json` | which authority in `ca.crt` plays which part, and until when the retiring ones stay |

use std::collections::BTreeMap;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::{ExposeSecret, SecretSlice};
use serde::{Deserialize, Serialize};

use super::authority::{Authority, AuthorityCertificate, AuthorityId, Bundle};
use super::verify;
use crate::certificate::issue::Validity;
use crate::certificate::leaf::LeafFacts;
use crate::certificate::pair::{Fingerprint, PemPair};

/// The keys of the Secret, every one that we write.
pub const KEYS: [&str; 6] = [CERT, KEY, CA, CA_KEY, NEXT_CA_KEY, STATE];
const CERT: &str = "tls.crt";
const KEY: &str = "tls.key";
const CA: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const NEXT_CA_KEY: &str = "next-ca.key";
const STATE: &str = "state.json";

/// The version of `state.json` that we write.
const VERSION: u32 = 1;

/// The data of the Secret, by key.
pub type SecretData = BTreeMap<String, SecretSlice<u8>>;

/// A leaf with its key.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// As it is served.
    pub pem: PemPair,
    /// The DNS names that it is for.
    pub names: Vec<String>,
    pub(crate) validity: Validity,
    pub(crate) fingerprint: Fingerprint,
}

impl Leaf {
    /// Reads a leaf; `None` when it is none.
    pub(crate) fn read(certificate: &[u8], key: SecretSlice<u8>) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(certificate).ok()?;
        let facts = LeafFacts::read(&der, CERT).ok()?;
        let pem = PemPair {
            chain: certificate.to_vec(),
            key,
            chain_name: "tls.crt of our Secret".to_owned(),
            key_name: "tls.key of our Secret".to_owned(),
        };
        Some(Self {
            names: facts.names,
            validity: Validity {
                not_before: facts.not_before,
                not_after: facts.not_after,
            },
            fingerprint: pem.fingerprint(),
            pem,
        })
    }
}

/// An authority that signs no more, trusted as long as somebody may serve a leaf of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retiring {
    /// The authority.
    pub certificate: AuthorityCertificate,
    /// It leaves the bundle then.
    pub until: Timestamp,
}

/// The state of the rotation, as all replicas share it.
#[derive(Clone, Debug)]
pub struct State {
    /// Signs leaves.
    pub signer: Authority,
    /// Will sign them once clients trust it.
    pub next: Option<Authority>,
    /// What every replica serves; `None` when what was stored is none that the signer signed.
    pub leaf: Option<Leaf>,
    /// Signed leaves that may still be served.
    pub retiring: Vec<Retiring>,
    /// Authorities whose keys were given up as compromised, and until when they would be valid: never trusted again.
    pub distrusted: BTreeMap<AuthorityId, Timestamp>,
}

/// Stored data that is no state.
#[derive(Clone, Debug)]
pub enum Unreadable {
    /// It is garbage, for this reason; the authorities that can be read in it.
    Garbage(&'static str, Bundle),
    /// A newer version of the program wrote it.
    Newer(u32),
}

#[derive(Deserialize, Serialize)]
struct Wire {
    version: u32,
    #[serde(default)]
    signer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(default)]
    retiring: BTreeMap<String, Timestamp>,
    #[serde(default)]
    distrusted: BTreeMap<String, Timestamp>,
}

impl State {
    /// Every authority that clients have to trust.
    pub fn bundle(&self) -> Bundle {
        let signing = std::iter::once(&self.signer).chain(&self.next);
        let signing = signing.map(|authority| &authority.certificate);
        Bundle::of(signing.chain(self.retiring.iter().map(|retiring| &retiring.certificate)))
    }

    /// As data of a Secret.
    pub fn encode(&self) -> SecretData {
        let wire = Wire {
            version: VERSION,
            signer: self.signer.certificate.id.to_string(),
            next: self
                .next
                .as_ref()
                .map(|next| next.certificate.id.to_string()),
            retiring: self
                .retiring
                .iter()
                .map(|retiring| (retiring.certificate.id.to_string(), retiring.until))
                .collect(),
            distrusted: self
                .distrusted
                .iter()
                .map(|(id, until)| (id.to_string(), *until))
                .collect(),
        };
        let mut data = SecretData::new();
        // A map with string keys always serialises.
        let wire = serde_json::to_vec_pretty(&wire).unwrap_or_default();
        data.insert(STATE.to_owned(), wire.into());
        data.insert(CA.to_owned(), self.bundle().pem().into_bytes().into());
        data.insert(CA_KEY.to_owned(), self.signer.key.clone());
        if let Some(next) = &self.next {
            data.insert(NEXT_CA_KEY.to_owned(), next.key.clone());
        }
        // Its type demands both keys, filled or not.
        let (certificate, key) = match &self.leaf {
            Some(leaf) => (leaf.pem.chain.clone(), leaf.pem.key.clone()),
            None => (Vec::new(), Vec::new().into()),
        };
        data.insert(CERT.to_owned(), certificate.into());
        data.insert(KEY.to_owned(), key);
        data
    }

    /// Reads the data of a Secret. What can be made anew (a leaf, a next authority) is left out when it is unusable;
    /// without the signer there is no state.
    pub fn decode(data: &SecretData) -> Result<Self, Unreadable> {
        let get = |key: &str| data.get(key).map_or(&[][..], |value| value.expose_secret());
        let mut trusted = Bundle::read(get(CA));
        let Ok(wire) = serde_json::from_slice::<Wire>(get(STATE)) else {
            return Err(Unreadable::Garbage("state.json cannot be read", trusted));
        };
        if wire.version > VERSION {
            return Err(Unreadable::Newer(wire.version));
        }
        let mut take = |id: &str| {
            let found = trusted.authorities.iter();
            let position = found.clone().position(|other| other.id.to_string() == id)?;
            Some(trusted.authorities.swap_remove(position))
        };
        let signer = take(&wire.signer);
        let next = wire.next.as_deref().and_then(&mut take);
        let retiring = wire
            .retiring
            .iter()
            .filter_map(|(id, until)| {
                let certificate = take(id)?;
                Some(Retiring {
                    certificate,
                    until: *until,
                })
            })
            .collect();
        let distrusted = wire.distrusted.iter();
        let distrusted = distrusted.filter_map(|(id, until)| Some((id.parse().ok()?, *until)));

        let key = |name: &str| get(name).to_vec().into();
        let Some(signer) = signer.and_then(|signer| Authority::stored(signer, key(CA_KEY))) else {
            let trusted = Bundle::read(get(CA));
            return Err(Unreadable::Garbage("no authority has its key", trusted));
        };
        let leaf = Leaf::read(get(CERT), key(KEY))
            .filter(|leaf| verify::is_signed_by(leaf, &signer.certificate));
        Ok(Self {
            next: next.and_then(|next| Authority::stored(next, key(NEXT_CA_KEY))),
            signer,
            leaf,
            retiring,
            distrusted: distrusted.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::managed::plan::Plan;

    fn now() -> Timestamp {
        "2026-11-21T00:00:00Z".parse().unwrap()
    }

    fn state() -> State {
        let plan = Plan::for_service("s", "n");
        let make = || Authority::make(&plan, now()).unwrap();
        let signer = make();
        let (certificate, key) = signer.sign(&plan, &plan.names, now()).unwrap();
        State {
            leaf: Leaf::read(certificate.as_bytes(), key),
            signer,
            next: Some(make()),
            retiring: vec![Retiring {
                certificate: make().certificate,
                until: now(),
            }],
            distrusted: [(make().certificate.id, now())].into(),
        }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let state = state();
        let read = State::decode(&state.encode()).unwrap();
        assert_eq!(read.signer.certificate, state.signer.certificate);
        let next = |state: &State| state.next.as_ref().unwrap().certificate.id;
        assert_eq!(next(&read), next(&state));
        let leaf = |state: &State| state.leaf.as_ref().unwrap().fingerprint;
        assert_eq!(leaf(&read), leaf(&state));
        assert_eq!(read.retiring, state.retiring);
        assert_eq!(read.distrusted, state.distrusted);
        assert_eq!(read.bundle(), Bundle::read(state.bundle().pem().as_bytes()));
    }

    #[test]
    fn a_leaf_of_another_signer_is_left_out_and_so_is_an_authority_without_its_key() {
        let (one, other) = (state(), state());
        let mut data = one.encode();
        for key in [CERT, KEY] {
            data.insert(key.to_owned(), other.encode()[key].clone());
        }
        data.remove(NEXT_CA_KEY);
        let read = State::decode(&data).unwrap();
        assert!(read.leaf.is_none() && read.next.is_none());
        data.insert(CA_KEY.to_owned(), other.encode()[CA_KEY].clone());
        let Err(Unreadable::Garbage(_, salvaged)) = State::decode(&data) else {
            panic!("it was read");
        };
        assert_eq!(salvaged.ids(), one.bundle().ids());
    }

    #[test]
    fn garbage_in_any_key_is_no_panic_and_a_newer_version_is_left_alone() {
        let data = state().encode();
        for key in KEYS {
            for garbage in [
                &b""[..],
                b"\xff\xfe",
                b"{}",
                b"-----BEGIN CERTIFICATE-----\n",
            ] {
                let mut data = data.clone();
                data.insert(key.to_owned(), garbage.to_vec().into());
                drop(State::decode(&data));
            }
        }
        let mut newer = data;
        let text = String::from_utf8(newer[STATE].expose_secret().to_vec()).unwrap();
        let text = text.replace("\"version\": 1", "\"version\": 2");
        newer.insert(STATE.to_owned(), text.into_bytes().into());
        let read = State::decode(&newer);
        assert!(matches!(read, Err(Unreadable::Newer(2))), "{read:?}");
    }

    #[test]
    fn no_key_is_shown_by_debug() {
        let state = state();
        let shown = format!("{state:?} {:?}", state.encode());
        assert!(
            !shown.contains("PRIVATE") && !shown.contains("MIG"),
            "{shown}"
        );
        assert!(shown.contains("REDACTED"), "{shown}");
    }
}
