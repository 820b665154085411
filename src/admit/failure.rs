//! Why a namespace has no usable credential.

use std::sync::Arc;

use crate::pull_secret::merge::MOST_ENTRIES;
use crate::rulebook::Unconfirmed;
use crate::secret::{StoreErrorKind, WriteError};
use crate::token::MintError;

use super::new_entries::{MOST_NEW, WINDOW};

/// Why a namespace has no usable credential. The text is for the Pod's author.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum EnsureError {
    #[error("{registry}: {error}")]
    NoToken {
        registry: Arc<str>,
        error: MintError,
    },
    #[error(transparent)]
    NotWritten(#[from] WriteError),
    #[error(transparent)]
    Unconfirmed(#[from] Unconfirmed),
    #[error("it was not ready in time")]
    TooSlow,
    #[error("ecr-admission is busy with other namespaces; try again in a moment")]
    Busy,
    #[error(
        "namespace {namespace} asked for more than {MOST_NEW} new ECR registries within {} minutes; try again later",
        WINDOW.as_secs() / 60
    )]
    TooManyNew { namespace: String },
    #[error(
        "this Pod names more than {MOST_ENTRIES} ECR registries, which is more than a Secret holds"
    )]
    TooManyRegistries,
    #[error("making it ended unexpectedly; see the log of ecr-admission")]
    Ended,
}

impl EnsureError {
    /// The value of the `result` label in metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::NoToken { error, .. } => error.kind.label(),
            Self::NotWritten(WriteError::Foreign { .. }) => "foreign",
            Self::NotWritten(WriteError::Full { .. }) => "full",
            Self::NotWritten(WriteError::Store(error))
            | Self::Unconfirmed(Unconfirmed::Unread(error)) => error.kind.label(),
            Self::Unconfirmed(Unconfirmed::Changed { .. }) => "overtaken",
            Self::TooSlow => "deadline",
            Self::Busy => "busy",
            Self::TooManyNew { .. } => "too_many_new",
            Self::TooManyRegistries => "too_many_registries",
            Self::Ended => "internal",
        }
    }

    /// Whether trying again can never help: the namespace is gone or going, or the Pod asks for too much.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::NotWritten(WriteError::Store(error))
            | Self::Unconfirmed(Unconfirmed::Unread(error)) => matches!(
                error.kind,
                StoreErrorKind::NamespaceMissing | StoreErrorKind::NamespaceTerminating
            ),
            Self::TooManyRegistries => true,
            _ => false,
        }
    }
}
