//! The state annotation: what is known of each `auths` entry, without its token.
//!
//! The format only grows: a reader keeps what it does not know, so that old and new replicas live side by side.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The version of an entry that this code writes.
pub const VERSION: u32 = 1;

/// The whole annotation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// By `auths` key: a registry host, or `host/path/` where two identities share a host.
    #[serde(default)]
    pub entries: BTreeMap<String, StateEntry>,
    /// What a newer version put beside the entries.
    #[serde(flatten)]
    beside: Map<String, Value>,
}

/// One entry: readable, or of a shape that only a newer version knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StateEntry {
    /// An entry that this code can judge, perhaps with fields that it does not know.
    Known(Entry),
    /// Kept as it is, and made anew when it is needed.
    Unknown(Value),
}

/// What is known of one `auths` entry. Times are AWS's (see [`crate::token::Token`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The version of the writer's format; a newer one is not rewritten while it has life.
    #[serde(rename = "v")]
    pub version: u32,
    /// When the token was made.
    pub issued_at: Timestamp,
    /// When it stops working.
    pub expires_at: Timestamp,
    /// The fingerprint of the identity that it was made with.
    pub identity: String,
    /// The generation of the policy that granted it; 0 where none did. A newer one is not rewritten while it has life.
    #[serde(default)]
    pub generation: u64,
    /// When a Pod last used it, as far as an admission or a renewal has seen; earlier versions did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<Timestamp>,
    /// Marked as unused by the refresh: counts as absent, so that an admission ensures it anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retiring: bool,
    /// What a newer version wrote beside these.
    #[serde(flatten)]
    beside: Map<String, Value>,
}

impl Entry {
    /// A new entry of this code's version, used when it is made.
    pub fn new(
        issued_at: Timestamp,
        expires_at: Timestamp,
        identity: &str,
        generation: u64,
        used_at: Timestamp,
    ) -> Self {
        Self {
            version: VERSION,
            issued_at,
            expires_at,
            identity: identity.to_owned(),
            generation,
            used_at: Some(used_at),
            retiring: false,
            beside: Map::new(),
        }
    }

    /// The token's whole life.
    pub fn life(&self) -> Duration {
        between(self.issued_at, self.expires_at)
    }
}

/// The time from one moment to a later one; zero when it is not later.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

impl State {
    /// Reads an annotation. What is no state at all (somebody's edit) reads as empty, and is then written anew.
    pub fn parse(annotation: Option<&str>) -> Self {
        annotation
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default()
    }

    /// The annotation's text.
    pub fn render(&self) -> String {
        // A map of strings, numbers and values that came from JSON always serialises.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The entries that this code can judge.
    pub fn known(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().filter_map(|(key, entry)| match entry {
            StateEntry::Known(entry) => Some((key.as_str(), entry)),
            StateEntry::Unknown(_) => None,
        })
    }

    /// When the first entry expires, for people; empty when there is none.
    pub fn first_expiry(&self) -> String {
        let first = self.known().map(|(_, entry)| entry.expires_at).min();
        first.map_or_else(String::new, |at| at.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWER: &str = r#"{"entries":{
        "a":{"v":2,"issuedAt":"2026-11-21T00:00:00Z","expiresAt":"2026-11-21T12:00:00Z","identity":"controller","new":[1]},
        "b":{"v":3,"lease":"unreadable"}},"beside":{"x":1}}"#;

    #[test]
    fn what_a_newer_version_wrote_survives_reading_and_writing() {
        let state = State::parse(Some(NEWER));
        let (before, after): (Value, Value) = (
            serde_json::from_str(NEWER).unwrap(),
            serde_json::from_str(&state.render()).unwrap(),
        );
        assert_eq!(after["entries"]["b"], before["entries"]["b"]);
        assert_eq!(after["entries"]["a"]["new"], before["entries"]["a"]["new"]);
        assert_eq!(after["beside"], before["beside"]);
        assert_eq!(state.known().map(|(key, _)| key).collect::<Vec<_>>(), ["a"]);
        assert_eq!(state.first_expiry(), "2026-11-21T12:00:00Z");
    }

    #[test]
    fn an_edited_annotation_reads_as_empty() {
        for garbage in ["", "{", "[]", "{\"entries\":[]}", "\u{0}"] {
            assert_eq!(State::parse(Some(garbage)), State::default(), "{garbage:?}");
        }
        assert_eq!(State::parse(None).first_expiry(), "");
    }

    #[test]
    fn dates_out_of_order_are_a_life_of_zero() {
        let entry = Entry::new(
            Timestamp::MAX,
            Timestamp::MIN,
            "controller",
            0,
            Timestamp::MIN,
        );
        assert_eq!(entry.life(), Duration::ZERO);
    }
}
