//! The two kinds of object that the rotation reads and writes, as the adapter shows them.

use futures_util::future::BoxFuture;

use super::state::SecretData;
use crate::secret::StoreError;

/// Our Secret, as it is stored.
#[derive(Clone, Debug)]
pub struct StoredCertificate {
    /// The version for compare-and-swap.
    pub version: String,
    /// Whether it carries our label; otherwise it is somebody else's, and never written.
    pub owned: bool,
    /// Whether it is of our type and not `immutable`.
    pub writable: bool,
    /// Its data.
    pub data: SecretData,
}

/// Reads and writes the one Secret that holds the state. Every write is a compare-and-swap, bounded in time.
pub trait CertificateStore: Send + Sync + 'static {
    /// The Secret; `None` when there is none.
    fn read(&self) -> BoxFuture<'_, Result<Option<StoredCertificate>, StoreError>>;

    /// Makes it; fails when it exists.
    fn create<'a>(&'a self, data: &'a SecretData) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Replaces its data; fails when it has another version by now.
    fn update<'a>(
        &'a self,
        version: &'a str,
        data: &'a SecretData,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// A webhook configuration of ours, as it is live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// What to call it in messages, such as `MutatingWebhookConfiguration "zz-ecr-admission"`.
    pub title: String,
    /// Which of the adapter's configurations it is.
    pub handle: usize,
    /// The version for compare-and-swap.
    pub version: String,
    /// The `caBundle` of each webhook in it, PEM, in order.
    pub bundles: Vec<Vec<u8>>,
}

/// Reads our webhook configurations and writes their `caBundle`, and nothing else of them. Bounded in time.
pub trait WebhookConfigurations: Send + Sync + 'static {
    /// Those that exist.
    fn read(&self) -> BoxFuture<'_, Result<Vec<Configuration>, StoreError>>;

    /// Gives every webhook of `configuration` this `caBundle`; fails when it has another version by now.
    fn write<'a>(
        &'a self,
        configuration: &'a Configuration,
        bundle: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>>;
}
