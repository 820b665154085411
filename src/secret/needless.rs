//! What needs no write: what is there already, and what is better left alone.

use super::revocation::contested;
use super::write::Aim;
use super::{Known, Put, SecretWriter};
use crate::pull_secret::Freshness;

impl SecretWriter {
    /// Whether the index alone shows that nothing is to be written: so a token that cannot be renewed for hours, or a
    /// clock that is wrong, costs no call per admission.
    pub(super) fn is_done(&self, known: &Known, Aim { puts, revocation }: Aim<'_>) -> bool {
        let mut puts = puts.iter();
        known.is_owned()
            && known.is_trusted(self.clock.monotonic())
            && revocation.of(known).next().is_none()
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
