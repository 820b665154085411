//! What a step of the rotation changes, in words.

use std::fmt;

/// One thing that a new state changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An authority and a leaf where there was nothing.
    Created,
    /// An authority and a leaf in place of what could not be used.
    Recreated,
    /// The last good state in place of what somebody destroyed.
    Restored,
    /// A new authority that clients have to learn before it signs anything.
    AuthorityAnnounced,
    /// The new authority signs from now on, and the leaf is its first.
    AuthorityReplaced,
    /// A new leaf of the same authority.
    LeafRenewed,
    /// An authority that is still in use somewhere is trusted again.
    TrustRestored,
    /// An authority whose last leaf has expired is trusted no more.
    TrustEnded,
}

impl Change {
    /// Whether somebody else's doing called for it, and not time.
    pub(in crate::certificate::managed) fn is_repair(self) -> bool {
        matches!(self, Self::Recreated | Self::Restored | Self::TrustRestored)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "made an authority and a leaf",
            Self::Recreated => "made an authority and a leaf in place of unusable ones",
            Self::Restored => "put back what somebody had destroyed",
            Self::AuthorityAnnounced => "announced a new authority",
            Self::AuthorityReplaced => "replaced the authority and the leaf",
            Self::LeafRenewed => "renewed the leaf",
            Self::TrustRestored => "kept the trust in an authority that is still in use",
            Self::TrustEnded => "ended the trust in an authority whose leaves have expired",
        })
    }
}
