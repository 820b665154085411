//! Merging new entries into what a Secret holds, without losing what others put there.

use std::collections::HashSet;

use jiff::Timestamp;
use secrecy::ExposeSecret;

use super::SecretContent;
use super::docker_config::DockerConfig;
use super::state::{Entry, State, StateEntry, between};

/// The most entries of one Secret: a Secret holds 1 MiB, and Pods can name invented accounts.
pub const MOST_ENTRIES: usize = 64;
/// The largest document that is written, in bytes: the API's limit of 1 MiB for all values of a Secret, less a margin.
const LARGEST_DOCUMENT: usize = 1_000_000;

/// An entry to put into a Secret. No `Debug`: it holds a password.
#[derive(Clone)]
pub struct NewEntry<'a> {
    /// The `auths` key.
    pub key: &'a str,
    /// The token's password.
    pub password: &'a str,
    /// When the token was made, by AWS's clock.
    pub issued_at: Timestamp,
    /// When it stops working, by AWS's clock.
    pub expires_at: Timestamp,
    /// The fingerprint of its identity.
    pub identity: &'a str,
    /// The generation of the policy that granted it; 0 where none did.
    pub generation: u64,
    /// When a Pod last used it.
    pub used_at: Timestamp,
}

/// What a merge comes to.
#[derive(Debug)]
pub enum Merge {
    /// This is to be written.
    Write(SecretContent),
    /// The Secret is full: say which keys Pods use, and merge again.
    Full,
    /// The Secret is full of entries in use: nothing can give way.
    Exhausted,
}

/// What the Secret holds now. `trusted` is false when somebody else wrote the data: none of it is kept then, because
/// an entry whose token was tampered with would look fresh.
#[derive(Clone, Copy, Debug, Default)]
pub struct Current<'a> {
    /// The state annotation.
    pub state: Option<&'a str>,
    /// The dockerconfigjson document.
    pub docker_config: Option<&'a [u8]>,
    /// Whether the data is as we wrote it.
    pub trusted: bool,
    /// The keys of entries that are to go.
    pub revoked: &'a [&'a str],
}

/// Puts `new` into `current`. Entries that live, and entries that only a newer version understands, are kept unless they are revoked;
/// expired ones and ones without state are dropped. At the cap, entries whose registry host `in_use` does not name give way, those that
/// expire first before the others.
pub fn merge(
    current: Current<'_>,
    new: &[NewEntry<'_>],
    in_use: Option<&HashSet<String>>,
    now: Timestamp,
) -> Merge {
    let mut state = State::parse(current.state);
    let mut config = current
        .docker_config
        .map(DockerConfig::parse)
        .unwrap_or_default();
    state.entries.retain(|key, entry| {
        let kept = current.trusted && config.contains(key);
        kept && outlives(entry, now) && !current.revoked.contains(&key.as_str())
    });
    for entry in new {
        let known = Entry::new(
            entry.issued_at,
            entry.expires_at,
            entry.identity,
            entry.generation,
            entry.used_at,
        );
        let slot = &mut state.entries;
        slot.insert(entry.key.to_owned(), StateEntry::Known(known));
        config.insert(entry.key, entry.password);
    }
    config.retain(|key| state.entries.contains_key(key));

    let surplus = state.entries.len().saturating_sub(MOST_ENTRIES);
    if surplus > 0 {
        let Some(in_use) = in_use else {
            return Merge::Full;
        };
        if !make_room(&mut state, surplus, new, in_use) {
            return Merge::Exhausted;
        }
        config.retain(|key| state.entries.contains_key(key));
    }

    let docker_config = config.render();
    if docker_config.expose_secret().len() > LARGEST_DOCUMENT {
        return Merge::Exhausted;
    }
    Merge::Write(SecretContent {
        docker_config,
        state: state.render(),
        expires_at: state.first_expiry(),
    })
}

fn outlives(entry: &StateEntry, now: Timestamp) -> bool {
    match entry {
        StateEntry::Known(entry) => !between(now, entry.expires_at).is_zero(),
        StateEntry::Unknown(_) => true,
    }
}

/// Removes `surplus` entries that nobody uses; false when there are not as many.
fn make_room(
    state: &mut State,
    surplus: usize,
    new: &[NewEntry<'_>],
    in_use: &HashSet<String>,
) -> bool {
    let mut idle: Vec<(Timestamp, String)> = state
        .known()
        .filter(|(key, _)| {
            let host = key.split('/').next().unwrap_or(key);
            !in_use.contains(host) && !new.iter().any(|entry| entry.key == *key)
        })
        .map(|(key, entry)| (entry.expires_at, key.to_owned()))
        .collect();
    if idle.len() < surplus {
        return false;
    }
    idle.sort();
    for (_, key) in idle.into_iter().take(surplus) {
        state.entries.remove(&key);
    }
    true
}
