//! What every certificate that we make has in common: ECDSA P-256, dates on both sides, and one use.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, date_time_ymd,
};

/// When a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
}

impl Validity {
    /// From `now` for `life`, begun `backdate` earlier for clients whose clock is behind. In whole seconds, as X.509
    /// counts.
    pub(crate) fn new(now: Timestamp, backdate: Duration, life: Duration) -> Self {
        let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let not_before = jiff::SignedDuration::try_from(backdate)
            .ok()
            .and_then(|backdate| now.checked_sub(backdate).ok())
            .unwrap_or(now);
        Self {
            not_before: Timestamp::from_second(not_before.as_second()).unwrap_or(not_before),
            not_after: crate::clock::add(now, Duration::from_secs(life.as_secs())),
        }
    }
}

/// An authority called `name` that signs servers' certificates and no other authorities.
pub(crate) fn authority(name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    describe(&mut params, name, validity);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A server's certificate for `names`, DNS names or IP addresses.
pub(crate) fn leaf(
    name: &str,
    names: &[String],
    validity: Validity,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names.to_vec())?;
    describe(&mut params, name, validity);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn describe(params: &mut CertificateParams, name: &str, validity: Validity) {
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // Both dates are always set: rcgen's default is valid until the year 4096.
    let at = |time: Timestamp| {
        let seconds = u64::try_from(time.as_second()).unwrap_or_default();
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    params.not_before = at(validity.not_before);
    params.not_after = at(validity.not_after);
}
