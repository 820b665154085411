//! The pull Secret as the API server keeps it: what we read of it, and the store that reads and writes it.
//!
//! One Secret per namespace, of one fixed name, so that RBAC can pin every verb but `create` to that name.

pub mod memory;

mod failure;
mod index;
mod known;
mod metrics;
mod names;
mod needless;
mod pods;
mod refusals;
mod revocation;
mod write;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::SecretSlice;

pub use crate::pull_secret::SecretContent;
pub use failure::WriteError;
pub use index::{Lookup, SecretIndex};
pub use known::{Known, Standing, Wanted};
pub use metrics::Metrics;
pub use pods::{PodImages, PodPage, PodSight};
pub use revocation::Revocation;
pub use write::{Put, SecretWriter};

/// Whether an entry, by its `auths` key and the fingerprint of its identity, is what its namespace is granted.
pub type Granted<'a> = &'a (dyn Fn(&str, &str) -> bool + Sync);

/// The label that makes a Secret ours; one of our name without it is foreign and never written.
pub const OWNER_LABEL: (&str, &str) = ("app.kubernetes.io/managed-by", "ecr-admission");
/// The field manager of our writes, found again in `metadata.managedFields`.
pub const FIELD_MANAGER: &str = "ecr-admission";
/// The annotation that holds the state: versioned JSON, never token bytes.
pub const STATE_ANNOTATION: &str = "ecr-admission.dev/state";
/// The annotation for people: when the first entry expires.
pub const EXPIRES_ANNOTATION: &str = "ecr-admission.dev/expires-at";
/// The type of a pull Secret, and its only key.
pub const SECRET_TYPE: &str = "kubernetes.io/dockerconfigjson";
/// The key in `data` that the kubelet reads.
pub const DATA_KEY: &str = ".dockerconfigjson";

/// What a metadata-only watch shows of a Secret of our name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretMetadata {
    /// The object's identity: differs when it was deleted and made anew.
    pub uid: String,
    /// The version for compare-and-swap.
    pub resource_version: String,
    /// Whether [`OWNER_LABEL`] is on it.
    pub owned: bool,
    /// The value of [`STATE_ANNOTATION`].
    pub state: Option<String>,
    /// Who last wrote the data, by `managedFields`.
    pub data_writer: DataWriter,
}

/// Who last wrote `data[".dockerconfigjson"]`. An aid for repair, not a security control: anybody who may update the
/// Secret can claim our field manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataWriter {
    /// [`FIELD_MANAGER`] owns the field (perhaps with others, who then wrote the same value); `at` is the API server's
    /// time of that manager's last write.
    Us {
        /// The API server's time of our last write.
        at: Option<Timestamp>,
    },
    /// Only somebody else owns it.
    SomebodyElse,
    /// No manager is recorded for it: somebody cleared `managedFields`, and tracking stays off until a server-side
    /// apply with force.
    Untracked,
}

/// A whole Secret of our name, as a GET or a write returns it.
#[derive(Clone, Debug)]
pub struct StoredSecret {
    /// What the watch shows too.
    pub metadata: SecretMetadata,
    /// Whether its type is [`SECRET_TYPE`] and it is not `immutable`: otherwise it cannot be updated, only replaced.
    pub writable: bool,
    /// The bytes under [`DATA_KEY`].
    pub docker_config: Option<SecretSlice<u8>>,
}

/// Reads and writes the pull Secrets, one a namespace. Every write is a compare-and-swap: a create fails when the
/// Secret exists, an update or delete when it is no longer the object and version that `current` names. Each call is
/// bounded in time by the implementation.
pub trait SecretStore: Send + Sync + 'static {
    /// The Secret of a namespace; `None` when it (or the namespace) does not exist.
    fn get<'a>(
        &'a self,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredSecret>, StoreError>>;

    /// Creates it with our type and label.
    fn create<'a>(
        &'a self,
        namespace: &'a str,
        content: &'a SecretContent,
    ) -> BoxFuture<'a, Result<StoredSecret, StoreError>>;

    /// Updates data and our two annotations in place; labels, annotations and data keys of others stay as they are.
    /// Where nobody tracks the data ([`DataWriter::Untracked`]) the write also restores tracking.
    fn update<'a>(
        &'a self,
        namespace: &'a str,
        current: &'a SecretMetadata,
        content: &'a SecretContent,
    ) -> BoxFuture<'a, Result<StoredSecret, StoreError>>;

    /// Deletes exactly the object and version that `current` names.
    fn delete<'a>(
        &'a self,
        namespace: &'a str,
        current: &'a SecretMetadata,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// Why the store could not do it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What kind of failure; decides what happens next.
    pub kind: StoreErrorKind,
    /// The cause in one sentence, for people. Never holds data of a Secret.
    pub message: String,
}

/// The kinds of failure that call for different actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// Somebody else wrote in between: read again, merge, retry.
    Conflict,
    /// A create found the Secret there: read again, merge, retry.
    AlreadyExists,
    /// The Secret to update or delete is gone.
    NotFound,
    /// The namespace does not exist.
    NamespaceMissing,
    /// The namespace is being deleted: nothing new can be created in it.
    NamespaceTerminating,
    /// Refused: RBAC, a quota, or another admission; the message names which.
    Refused,
    /// The API server asked us to slow down, or failed on its own.
    Unavailable,
    /// No connection to the API server.
    Unreachable,
    /// No answer in time.
    TimedOut,
}

impl StoreErrorKind {
    /// The value of the `result` label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::AlreadyExists => "already_exists",
            Self::NotFound => "not_found",
            Self::NamespaceMissing => "namespace_missing",
            Self::NamespaceTerminating => "namespace_terminating",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
        }
    }
}
