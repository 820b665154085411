//! What is to be taken out of a Secret, because it is granted no more.

use super::{Granted, Known, SecretWriter};

/// Entries of one Secret that are granted no more. Named one by one, so that whoever takes them out can make sure of
/// them before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocation {
    /// Which Secret: one that was made anew under the same name is another tenant's, perhaps.
    uid: Box<str>,
    /// The `auths` key of each, and the fingerprint of its identity.
    entries: Vec<(Box<str>, Box<str>)>,
}

impl Revocation {
    /// Whether there is nothing to take out.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The `auths` key and the fingerprint of the identity of each entry.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = self.entries.iter();
        entries.map(|(key, identity)| (&**key, &**identity))
    }

    /// Whether an entry under that key is among them.
    pub fn names(&self, key: &str) -> bool {
        self.entries().any(|(named, _)| named == key)
    }

    /// The keys of those that a Secret still holds.
    pub(super) fn of<'k>(&'k self, known: &'k Known) -> impl Iterator<Item = &'k str> {
        let is_same = *self.uid == *known.uid();
        let entries = self.entries().filter(move |_| is_same);
        entries
            .filter(|(key, identity)| known.holds(key, identity))
            .map(|(key, _)| key)
    }
}

impl SecretWriter {
    /// Whether the Secret holds entries that are not granted, and that may be taken away.
    pub fn revokes(&self, known: &Known, granted: Granted<'_>) -> bool {
        self.revoked(known, granted).next().is_some()
    }

    /// All of those.
    pub fn revocation(&self, known: &Known, granted: Granted<'_>) -> Revocation {
        let revoked = self.revoked(known, granted);
        Revocation {
            uid: known.uid().into(),
            entries: revoked
                .map(|(key, identity)| (key.into(), identity.into()))
                .collect(),
        }
    }

    /// What was insisted on just now is left alone: another replica may have other policies for a while, and they must
    /// not fight.
    fn revoked<'k>(
        &'k self,
        known: &'k Known,
        granted: Granted<'k>,
    ) -> impl Iterator<Item = (&'k str, &'k str)> {
        let ungranted = known.ungranted(granted);
        ungranted.filter(|(key, _)| !self.index.has_insisted(&contested(known, key)))
    }
}

/// What two replicas with different identities for one entry would fight over.
pub(super) fn contested(known: &Known, key: &str) -> String {
    format!("{}/{key}", known.uid())
}
