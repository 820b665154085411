//! Taking ecr-admission out of a cluster: in which order, and what is left alone.
//!
//! First that nobody asks us any more, then that no replica lives which would put back what is taken away, and only then
//! what they have written. The policies that limit our account stay until its rights go too.

mod order;

use futures_util::future::BoxFuture;

pub use order::{Choice, clean};

use crate::secret::{SecretMetadata, StoreError};

/// A kind of object that is deleted by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What calls us before a Pod is stored.
    MutatingWebhookConfiguration,
    /// What calls us before anything checked is stored.
    ValidatingWebhookConfiguration,
    /// What binds the API server's own injection.
    MutatingAdmissionPolicyBinding,
    /// The API server's own injection.
    MutatingAdmissionPolicy,
    /// The replicas.
    Deployment,
    /// One whose `imagePullSecrets` name our Secret.
    ServiceAccount,
    /// A pull Secret, one with a certificate, or one with a repository's credentials.
    Secret,
}

impl Kind {
    /// As Kubernetes writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MutatingWebhookConfiguration => "MutatingWebhookConfiguration",
            Self::ValidatingWebhookConfiguration => "ValidatingWebhookConfiguration",
            Self::MutatingAdmissionPolicyBinding => "MutatingAdmissionPolicyBinding",
            Self::MutatingAdmissionPolicy => "MutatingAdmissionPolicy",
            Self::Deployment => "Deployment",
            Self::ServiceAccount => "ServiceAccount",
            Self::Secret => "Secret",
        }
    }
}

/// One object of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for one that is in none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What became of one object.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Which.
    pub object: Object,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an object.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Deleted, scaled to zero, or rid of our entry.
    Done,
    /// It would have been, but nothing was to be changed.
    Would,
    /// Left as it is, for this reason.
    Kept(&'static str),
    /// It could not be.
    Failed(StoreError),
}

/// A Secret that was found by its name.
#[derive(Clone, Debug)]
pub struct FoundSecret {
    /// Where it is.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Which version it is in, and whether it is ours.
    pub metadata: SecretMetadata,
}

/// What is installed in a cluster. Each call is bounded in time by the implementation.
pub trait Installation: Send + Sync {
    /// Whether an object is there.
    fn exists<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Deletes an object; whether it was there.
    fn delete<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// Tells a Deployment to have no Pods; whether it is there.
    fn scale_to_zero<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// How many Pods of a Deployment have not ended.
    fn pods<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, Result<usize, StoreError>>;

    /// The ServiceAccounts that name the pull Secret: namespace and name.
    fn service_accounts(&self) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>>;

    /// The Secrets of a name, in one namespace or in all.
    fn secrets<'a>(
        &'a self,
        namespace: Option<&'a str>,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<FoundSecret>, StoreError>>;

    /// Deletes exactly the Secret and version that was found.
    fn delete_secret<'a>(&'a self, found: &'a FoundSecret)
    -> BoxFuture<'a, Result<(), StoreError>>;
}
