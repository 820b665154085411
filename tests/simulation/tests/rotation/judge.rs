//! The invariant: at every moment each replica that calls itself ready serves a leaf that the `caBundle` verifies, as
//! every API server sees it.

use std::time::Duration;

use ecr_admission::certificate::CertificatePair;
use ecr_admission::certificate::managed::authority::Bundle;
use jiff::{SignedDuration, Timestamp};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{RootCertStore, crypto::aws_lc_rs};

/// What the API server asks for.
pub(crate) const NAME: &str = "s.n.svc";
/// A verification is made anew after this time; in between only the leaf's dates are compared.
const VERIFIED_FOR: SignedDuration = SignedDuration::from_secs(30);

struct Verified {
    leaf: CertificateDer<'static>,
    bundle: Vec<u8>,
    when: Timestamp,
    verdict: Result<(), String>,
}

/// Verifies leaves against bundles as an API server does, and remembers.
#[derive(Default)]
pub(crate) struct Judge {
    verified: Vec<Verified>,
    pub(crate) verifications: usize,
    pub(crate) judgements: usize,
}

impl Judge {
    /// Whether an API server with this bundle accepts the pair at a moment, and if not, why.
    pub(crate) fn accepts(
        &mut self,
        pair: &CertificatePair,
        bundle: &[u8],
        at: Timestamp,
        clocks_apart: SignedDuration,
    ) -> Result<(), String> {
        self.judgements += 1;
        // A replica whose clock is behind knows no better than that its leaf still holds.
        let slack = clocks_apart.abs();
        if at > pair.not_after + slack || at < pair.not_before {
            return Err(format!(
                "the leaf is valid {} to {}",
                pair.not_before, pair.not_after
            ));
        }
        let leaf = &pair.certified.cert[0];
        self.verified
            .retain(|known| at.duration_since(known.when) < VERIFIED_FOR);
        let mut known = self.verified.iter();
        if let Some(known) = known.find(|known| known.bundle == bundle && known.leaf == *leaf) {
            return known.verdict.clone();
        }
        self.verifications += 1;
        let verdict = verify(leaf, bundle, at.min(pair.not_after));
        self.verified.push(Verified {
            leaf: leaf.clone(),
            bundle: bundle.to_vec(),
            when: at,
            verdict: verdict.clone(),
        });
        verdict
    }
}

/// The real verification, with authorities outside of their dates left out, as Go does.
pub(crate) fn verify(
    leaf: &CertificateDer<'_>,
    bundle: &[u8],
    at: Timestamp,
) -> Result<(), String> {
    let valid = Bundle::read(bundle).authorities;
    let valid = valid
        .iter()
        .filter(|authority| authority.not_before <= at && at <= authority.not_after);
    let pem = Bundle::of(valid).pem();
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let count = roots.len();
    let provider = std::sync::Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build();
    let verifier = verifier.map_err(|error| error.to_string())?;
    let seconds = Duration::from_secs(at.as_second().try_into().unwrap());
    let name = ServerName::try_from(NAME).unwrap();
    let at = UnixTime::since_unix_epoch(seconds);
    let verdict = verifier.verify_server_cert(leaf, &[], &name, &[], at);
    verdict
        .map(drop)
        .map_err(|error| format!("{error} (the bundle holds {count} valid authorities)"))
}
