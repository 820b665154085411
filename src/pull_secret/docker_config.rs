//! The `.dockerconfigjson` document: `{"auths": {"host": {"auth": "base64 of user:password"}}}`.
//!
//! Source: `kubernetes.io/dockerconfigjson` in pkg/credentialprovider/config.go. An entry is written as `docker login`
//! writes it, with `auth` alone. A document that does not parse makes *every* image of a Pod fail, so what is rendered
//! here is JSON by construction.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// The user name of every ECR token.
/// Source: GetAuthorizationToken, whose `authorizationToken` is base64 of `AWS:password`.
pub const USERNAME: &str = "AWS";

/// A dockerconfigjson document. Each entry is kept as the JSON text that it came as.
#[derive(Clone, Debug, Default)]
pub struct DockerConfig {
    auths: BTreeMap<String, SecretString>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    auths: BTreeMap<String, &'a RawValue>,
}

impl DockerConfig {
    /// Reads a document; one that does not parse (somebody's edit) reads as empty, and is then written anew. Entries that
    /// the kubelet could not read are left out: one of them makes every image of a Pod fail.
    pub fn parse(document: &[u8]) -> Self {
        let Ok(wire) = serde_json::from_slice::<Wire<'_>>(document) else {
            return Self::default();
        };
        let auths = wire.auths.into_iter();
        Self {
            auths: auths
                .filter(|(_, entry)| is_readable(entry))
                .map(|(key, entry)| (key, SecretString::from(entry.get())))
                .collect(),
        }
    }

    /// Whether there is an entry for `key`.
    pub fn contains(&self, key: &str) -> bool {
        self.auths.contains_key(key)
    }

    /// The keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.auths.keys().map(String::as_str)
    }

    /// Puts a token's password under `key`.
    pub fn insert(&mut self, key: &str, password: &str) {
        let pair = Zeroizing::new(format!("{USERNAME}:{password}"));
        let auth = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
        let entry = format!(r#"{{"auth":"{}"}}"#, *auth);
        self.auths.insert(key.to_owned(), entry.into());
    }

    /// Keeps the entries whose key satisfies `keep`.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        self.auths.retain(|key, _| keep(key));
    }

    /// The document's text.
    pub fn render(&self) -> SecretString {
        let entries = self.auths.iter();
        let length: usize = entries
            .map(|(key, entry)| key.len() + entry.expose_secret().len() + 16)
            .sum();
        // Reserved in full: a string that grows leaves copies of tokens behind that nobody wipes.
        let mut text = String::with_capacity(length + 16);
        text.push_str(r#"{"auths":{"#);
        for (index, (key, entry)) in self.auths.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(&serde_json::Value::from(key.as_str()).to_string());
            text.push(':');
            text.push_str(entry.expose_secret());
        }
        text.push_str("}}");
        text.into()
    }
}

/// Whether the kubelet can read an entry: its four fields are strings or null (in any case, as Go matches them), and
/// `auth` is base64 of `user:password`.
/// Source: `DockerConfigEntry.UnmarshalJSON` in pkg/credentialprovider/config.go.
fn is_readable(entry: &RawValue) -> bool {
    let Ok(fields) = serde_json::from_str::<BTreeMap<String, &RawValue>>(entry.get()) else {
        return false;
    };
    fields.iter().all(|(name, value)| {
        let name = name.to_ascii_lowercase();
        if !matches!(name.as_str(), "auth" | "username" | "password" | "email") {
            return true;
        }
        let text = serde_json::from_str::<Option<String>>(value.get());
        text.is_ok_and(|text| {
            let text = SecretString::from(text.unwrap_or_default());
            name != "auth" || is_auth(text.expose_secret())
        })
    })
}

/// Whether a text is empty or base64 (padded or not) of two parts around a colon.
fn is_auth(text: &str) -> bool {
    let pair = STANDARD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text));
    pair.map(Zeroizing::new)
        .is_ok_and(|pair| text.is_empty() || pair.contains(&b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_what_docker_login_writes() {
        let mut config = DockerConfig::default();
        config.insert("example.test", "pass");
        assert_eq!(
            config.render().expose_secret(),
            r#"{"auths":{"example.test":{"auth":"QVdTOnBhc3M="}}}"#
        );
    }

    #[test]
    fn other_entries_are_kept_to_the_letter() {
        let mut config =
            DockerConfig::parse(br#"{"auths":{"b":{"auth" : "QVdTOmI=", "email":"\u0065"}}}"#);
        config.insert("a", "x");
        let text = config.render();
        assert!(
            text.expose_secret()
                .contains(r#""b":{"auth" : "QVdTOmI=", "email":"\u0065"}"#)
        );
        assert_eq!(config.keys().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn garbage_reads_as_empty_and_empty_is_what_the_kubelet_reads_as_no_credentials() {
        for garbage in [
            "",
            "null",
            "{",
            r#"{"auths":[]}"#,
            r#"{"auth":{}}"#,
            "\u{ff}",
        ] {
            let config = DockerConfig::parse(garbage.as_bytes());
            assert_eq!(config.render().expose_secret(), r#"{"auths":{}}"#);
        }
    }

    #[test]
    fn an_entry_that_the_kubelet_cannot_read_is_left_out_because_it_would_break_every_image() {
        let broken = [
            "null",
            "5",
            "[]",
            r#""text""#,
            r#"{"auth":5}"#,
            r#"{"auth":"no base64!"}"#,
            r#"{"auth":"bm9jb2xvbg=="}"#,
            r#"{"Auth":{}}"#,
            r#"{"username":["a"]}"#,
        ];
        for entry in broken {
            let document = format!(r#"{{"auths":{{"a":{entry},"b":{{"auth":"QVdTOmI="}}}}}}"#);
            let config = DockerConfig::parse(document.as_bytes());
            assert_eq!(config.keys().collect::<Vec<_>>(), ["b"], "{entry}");
        }
        let readable = [
            "{}",
            r#"{"auth":""}"#,
            r#"{"auth":null}"#,
            r#"{"auth":"QVdTOmI"}"#,
            r#"{"username":"a","password":"b","identitytoken":{"new":1}}"#,
        ];
        for entry in readable {
            let document = format!(r#"{{"auths":{{"a":{entry}}}}}"#);
            let config = DockerConfig::parse(document.as_bytes());
            assert_eq!(config.render().expose_secret(), document, "{entry}");
        }
    }

    #[test]
    fn debug_shows_no_token() {
        let mut config = DockerConfig::default();
        config.insert("a", "hunter2");
        let shown = format!("{config:?}");
        assert!(!shown.contains("hunter2") && !shown.contains(&STANDARD.encode("AWS:hunter2")));
    }
}
