//! What a namespace needs: one credential for each registry.

use std::sync::Arc;

use jiff::Timestamp;

use super::judge::NeedRef;
use crate::image::ecr::EcrHost;
use crate::policy::decide::identity_of_key;
use crate::policy::{Identity, Policy};
use crate::secret::Wanted;
use crate::token::TokenKey;

/// A credential that a namespace needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    key: Arc<str>,
    token: TokenKey,
    /// When a Pod last used it; `None` for one that asks for it now.
    used_at: Option<Timestamp>,
}

impl From<&NeedRef<'_>> for Need {
    fn from(need: &NeedRef<'_>) -> Self {
        Self::new(need.key, &need.host, need.identity.clone())
    }
}

impl Need {
    fn new(key: &str, host: &EcrHost<'_>, identity: Identity) -> Self {
        Self {
            key: key.into(),
            token: TokenKey {
                identity,
                partition: host.partition,
                region: host.region.into(),
            },
            used_at: None,
        }
    }

    /// The need behind an `auths` key of a namespace's Secret; `None` when nothing with that key is granted.
    pub(super) fn of_entry(policy: &Policy, key: &str) -> Option<Self> {
        let (host, identity) = identity_of_key(policy, key)?;
        Some(Self::new(key, &host, identity.clone()))
    }

    /// The same as policy has it now, which may have changed since; `None` when it is not granted any more.
    pub(super) fn granted_by(self, policy: &Policy) -> Option<Self> {
        let (_, identity) = identity_of_key(policy, &self.key)?;
        if self.token.identity == *identity {
            return Some(self);
        }
        let used_at = self.used_at;
        let now = Self::of_entry(policy, &self.key)?;
        Some(Self { used_at, ..now })
    }

    /// The same, last used then.
    pub(super) fn used_at(self, at: Timestamp) -> Self {
        Self {
            used_at: Some(at),
            ..self
        }
    }

    /// When a Pod last used it.
    pub(super) fn last_use(&self, now: Timestamp) -> Timestamp {
        self.used_at.unwrap_or(now)
    }

    /// The `auths` key.
    pub(super) fn key(&self) -> &Arc<str> {
        &self.key
    }

    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            key: &self.key,
            identity: self.token.identity.fingerprint(),
            generation: 0,
        }
    }

    pub(super) fn token(&self) -> &TokenKey {
        &self.token
    }
}

impl NeedRef<'_> {
    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            key: self.key,
            identity: self.identity.fingerprint(),
            generation: 0,
        }
    }
}
