//! What a Secret holds, read without the product's own code.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ecr_admission::secret::StoredSecret;
use secrecy::ExposeSecret;
use serde::Deserialize;

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    auths: BTreeMap<&'a str, Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    auth: &'a str,
}

/// What each registry's `auth` is; nothing for somebody's edit that is no such document.
pub(crate) fn auths(stored: &StoredSecret) -> Vec<(&str, &str)> {
    let document = stored.docker_config.as_ref();
    let document = document.map(|document| serde_json::from_slice(document.expose_secret()));
    let Some(Ok(Document { auths })) = document else {
        return Vec::new();
    };
    let auths = auths.into_iter();
    auths.map(|(host, entry)| (host, entry.auth)).collect()
}

/// The password in an `auth`.
pub(crate) fn password(auth: &str) -> String {
    let pair = BASE64_STANDARD.decode(auth).unwrap();
    let (_, password) = str::from_utf8(&pair).unwrap().split_once(':').unwrap();
    password.to_owned()
}
