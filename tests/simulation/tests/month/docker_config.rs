//! What a Secret holds, read without the product's own code.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ecr_admission::secret::StoredSecret;
use secrecy::ExposeSecret;
use serde::Deserialize;

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, default)]
    auths: BTreeMap<&'a str, Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    auth: &'a str,
}

/// What each registry's `auth` is; nothing for somebody's edit, which need not be JSON.
pub(crate) fn auths(stored: &StoredSecret) -> Vec<(&str, &str)> {
    let document = stored.docker_config.as_ref();
    let document = document.map(|document| serde_json::from_slice(document.expose_secret()));
    let Document { auths } = match document {
        Some(Ok(document)) => document,
        Some(Err(error)) => {
            assert!(!error.is_data(), "no docker configuration: {error}");
            return Vec::new();
        }
        None => return Vec::new(),
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
