//! Argo CD's repository Secrets: a namespace asks for them by an annotation, and each holds the credentials of one registry
//! path for as long as it is asked for.
//!
//! They have fixed names, so that RBAC can pin every verb but `create` to them: the namespace of Argo CD holds the keys of
//! whole clusters, and our account can read none of them.

pub mod memory;

mod ask;
mod keeper;

use futures_util::future::BoxFuture;
use secrecy::SecretString;

pub use ask::{Asked, Refused, Repository, asked};
pub use keeper::{Keeper, KeeperParts};

use crate::secret::{SecretMetadata, StoreError};

/// The annotation of a namespace that asks: registry hosts with paths, comma-separated.
pub const ANNOTATION: &str = "ecr-admission.dev/argocd-repositories";
/// The label by which Argo CD finds them (argo-cd `common.LabelKeySecretType`).
pub const TYPE_LABEL: (&str, &str) = ("argocd.argoproj.io/secret-type", "repository");
/// The most of one namespace.
pub const MOST: usize = 16;
/// What the name of each starts with; a number from 1 to [`MOST`] follows.
pub const NAME_PREFIX: &str = "ecr-admission-repository-";

/// The names that there are.
pub fn names() -> impl Iterator<Item = String> {
    (1..=MOST).map(|number| format!("{NAME_PREFIX}{number}"))
}

/// What one holds beside what is the same in all: the type `helm`, OCI, the user `AWS`.
#[derive(Clone, Debug)]
pub struct RepositoryContent {
    /// The registry's host and the path, without a scheme (argo-cd docs/user-guide/helm.md).
    pub url: String,
    /// The token.
    pub password: SecretString,
    /// The state annotation, in the form of that of a pull Secret.
    pub state: String,
    /// The annotation for people: when it expires.
    pub expires_at: String,
}

/// One as it is read; its password is not looked at.
#[derive(Clone, Debug)]
pub struct StoredRepository {
    /// As of a pull Secret; the data's writer is that of the password.
    pub metadata: SecretMetadata,
    /// The URL, where everything else but the password is as we write it.
    pub url: Option<String>,
}

/// Reads and writes repository Secrets. Every write is a compare-and-swap, as in
/// [`SecretStore`](crate::secret::SecretStore).
pub trait RepositoryStore: Send + Sync + 'static {
    /// One Secret; `None` when it (or its namespace) does not exist.
    fn get<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredRepository>, StoreError>>;

    /// Creates it with our labels.
    fn create<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        content: &'a RepositoryContent,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Updates labels, annotations and data in place, and restores tracking as
    /// [`SecretStore::update`](crate::secret::SecretStore::update) does.
    fn update<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        current: &'a SecretMetadata,
        content: &'a RepositoryContent,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Deletes exactly the object and version that `current` names.
    fn delete<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        current: &'a SecretMetadata,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}
