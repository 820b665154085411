//! What a namespace needs: one credential for each registry.

use std::sync::Arc;

use jiff::Timestamp;

use super::judge::NeedRef;
use crate::image::ecr::EcrHost;
use crate::policy::Identity;
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

    /// The need behind an entry of a Secret whose other entries a repair must put back.
    pub(super) fn of_entry(key: &str) -> Option<Self> {
        Some(Self::new(key, &EcrHost::parse(key)?, Identity::Controller))
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
