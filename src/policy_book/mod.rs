//! The `EcrPolicies` that the program goes by: read, put in force, and told about.
//!
//! A policy that cannot be read is never passed over: it stands for what it may have withheld until somebody mends it. And
//! a definition that is gone is no word about the policies: the last ones stay in force.

mod book;
mod census;
mod entry;
mod facts;
mod files;
mod keeper;
pub mod memory;
mod metrics;
mod status;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;

use crate::secret::StoreError;
pub use book::{BookParts, PolicyBook};
pub use census::Census;
pub use entry::{Unread, read_spec};
pub use files::{FileKeeper, FileKeeperParts, PolicySource};
pub use keeper::{KeeperParts, StatusKeeper};
pub use metrics::Metrics;
pub use status::{Assumable, Facts, Standing, wanted};

/// Which Pods the API server asks about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum RegisteredPods {
    /// Those that name something like ECR.
    #[default]
    Ecr,
    /// Every one, so that rules about all images see all images.
    All,
}

/// An EcrPolicy as it is stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyObject {
    /// The object's identity.
    pub uid: String,
    /// The version for compare-and-swap.
    pub resource_version: String,
    /// Which spec it is, counted by the API server; zero where it does not.
    pub generation: i64,
    /// May be anything: the schema that guards it may have been another one, or none.
    pub spec: Value,
    /// The same.
    pub status: Value,
}

/// What has become of the CustomResourceDefinition of EcrPolicy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Definition {
    /// It is there.
    Present,
    /// It is being deleted, or gone already, and its objects with it.
    Leaving,
}

/// Where EcrPolicies are. Each call is bounded in time by the implementation.
pub trait PolicyStore: Send + Sync + 'static {
    /// Replaces what `status` names of the status of a policy that is still in the version and of the identity that
    /// `current` names; it fails as a conflict otherwise.
    fn write_status<'a>(
        &'a self,
        name: &'a str,
        current: &'a PolicyObject,
        status: &'a Value,
    ) -> BoxFuture<'a, Result<PolicyObject, StoreError>>;

    /// What has become of the definition. Policies are deleted together with it, and then their deletion is nobody's
    /// decision about them.
    fn definition(&self) -> BoxFuture<'_, Result<Definition, StoreError>>;
}
