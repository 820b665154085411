//! What keeps certificates from being looked after, in sentences for people.

use super::store::StoredCertificate;
use crate::secret::{StoreError, StoreErrorKind};

/// Why a look has led to nothing. A sentence for people.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) message: String,
    /// Whether somebody else was first: to be tried again at once.
    pub(super) conflict: bool,
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self {
            conflict: matches!(
                error.kind,
                StoreErrorKind::Conflict | StoreErrorKind::AlreadyExists | StoreErrorKind::NotFound
            ),
            message: error.message,
        }
    }
}

impl Trouble {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            conflict: false,
        }
    }
}

/// Whether the Secret may be written by us at all.
pub(super) fn check_ownership(stored: &StoredCertificate) -> Result<(), Trouble> {
    if !stored.owned {
        return Err(Trouble::new(
            "the certificate Secret is not ours: it lacks the label app.kubernetes.io/managed-by: ecr-admission; \
             delete it, or choose another name by --tls-secret-name",
        ));
    }
    if !stored.writable {
        return Err(Trouble::new(
            "the certificate Secret cannot be updated: it must be of type kubernetes.io/tls and not immutable; delete it",
        ));
    }
    Ok(())
}
