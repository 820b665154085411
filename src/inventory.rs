//! What a cluster holds, asked once: namespaces, and the images that are named in them.

mod census;

use futures_util::future::BoxFuture;

use crate::namespace::Pins;
use crate::policy::Labels;
use crate::secret::StoreError;
pub use census::{Census, Kind, Sight, SightPage};

/// A namespace, as far as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Whether it is being deleted: nothing can be created in it any more.
    pub terminating: bool,
    /// The registries that it pins.
    pub registries: Pins,
    /// Whether it is left out when nobody named it: it opted out, or it is being deleted; the words say which.
    pub left_out: Option<&'static str>,
}

/// Tells what is there. Each call is bounded in time by the implementation.
pub trait Inventory: Send + Sync + 'static {
    /// The namespaces that a label selector selects, or all.
    fn namespaces<'a>(
        &'a self,
        selector: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Found>, StoreError>>;

    /// One namespace; `None` when there is none of that name.
    fn namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Found>, StoreError>>;

    /// Every image that the namespace's Pods and workload templates name, repeated or not.
    fn images<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>>;
}
