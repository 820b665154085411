//! What needs no write: what is there already, and what is better left alone.

use super::write::Aim;
use super::{Granted, Known, Put, SecretWriter};
use crate::pull_secret::Freshness;

impl SecretWriter {
    /// Whether the Secret holds entries that are not granted, and that may be taken away.
    pub fn revokes(&self, known: &Known, granted: Granted<'_>) -> bool {
        self.revoked(known, granted).next().is_some()
    }

    /// The keys of those. What was insisted on just now is left alone: another replica may have other policies for a
    /// while, and they must not fight.
    pub(super) fn revoked<'k>(
        &'k self,
        known: &'k Known,
        granted: Granted<'k>,
    ) -> impl Iterator<Item = &'k str> {
        let ungranted = known.ungranted(granted);
        ungranted.filter(|key| !self.index.has_insisted(&contested(known, key)))
    }

    /// Whether the index alone shows that nothing is to be written: so a token that cannot be renewed for hours, or a
    /// clock that is wrong, costs no call per admission.
    pub(super) fn is_done(&self, known: &Known, Aim { puts, granted }: Aim<'_>) -> bool {
        let mut puts = puts.iter();
        known.is_owned()
            && known.is_trusted(self.clock.monotonic())
            && !self.revokes(known, granted)
            && puts.all(|put| self.is_satisfied(known, *put))
    }

    /// Whether an entry needs no write: it is fresh, better left alone, or was insisted on just now.
    pub(super) fn is_satisfied(&self, known: &Known, put: Put<'_>) -> bool {
        let now = self.clock.moment();
        (!self.eager && known.freshness(put.wanted, now) == Freshness::Fresh)
            || known.keep(put.wanted, put.token.expires_at, now)
            || (known.differs_by_identity(put.wanted, now)
                && self.index.has_insisted(&contested(known, put.wanted.key)))
    }

    pub(super) fn remember_insisting(
        &self,
        known: &Known,
        trusted: bool,
        puts: &[Put<'_>],
        revoked: &[&str],
    ) {
        if !trusted {
            let uid = known.uid();
            tracing::warn!(secret = %self.secret, uid, "somebody else had edited the Secret's data; it was written anew");
            self.index.insisted(uid);
        }
        let now = self.clock.moment();
        for put in puts {
            if known.differs_by_identity(put.wanted, now) {
                self.index.insisted(&contested(known, put.wanted.key));
            }
        }
        for key in revoked {
            self.index.insisted(&contested(known, key));
        }
    }
}

/// What two replicas with different identities for one entry would fight over.
fn contested(known: &Known, key: &str) -> String {
    format!("{}/{key}", known.uid())
}
