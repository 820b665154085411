//! What is read of Pods: the images that they name, and whether they can pull them with our Secret.

use futures_util::future::BoxFuture;

use super::StoreError;

/// Lists the Pods that have not ended, in pages, as views that nobody keeps.
pub trait PodImages: Send + Sync + 'static {
    /// Every image string of every Pod of the namespace that has not ended, repeated or not.
    fn images<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>>;

    /// A page of the Pods of one namespace or of all: the first, or the one behind [`PodPage::next`].
    fn page<'a>(
        &'a self,
        namespace: Option<&'a str>,
        next: Option<&'a str>,
    ) -> BoxFuture<'a, Result<PodPage, StoreError>>;
}

/// Some Pods.
#[derive(Clone, Debug, Default)]
pub struct PodPage {
    /// The Pods.
    pub pods: Vec<PodSight>,
    /// What to ask the next page with; `None` behind the last.
    pub next: Option<String>,
}

/// What is seen of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSight {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Every image string, repeated or not.
    pub images: Vec<String>,
    /// Those that the kubelet says it cannot pull.
    pub failing: Vec<String>,
    /// Whether it has not started yet, so that it may still turn out to be unable to pull.
    pub pending: bool,
    /// The names in its `imagePullSecrets`.
    pub pull_secrets: Vec<String>,
    /// Whether it switches injection off.
    pub opts_out: bool,
    /// Whether it pulls nothing any more or nothing by the API: it is being deleted, or mirrors a static Pod.
    pub beyond_help: bool,
}
