//! Certificates that look after themselves: an authority and one leaf in a Secret of ours, changed by compare-and-swap
//! only, and the `caBundle` of our webhook configurations.
//!
//! All replicas serve that one leaf, and none knows of the others. A new authority goes into the `caBundle` first
//! (*announced*); the replica that has itself seen it there for long enough lets it sign the next leaf (*replaced*); each
//! replica serves that leaf when it has itself seen its authority there for long enough; and the old authority stays in
//! the `caBundle` (*retiring*) until its last leaf has expired, because a replica that is cut off from the API server
//! serves that leaf until then.
//!
//! | module | is |
//! |---|---|
//! | [`plan`] | lives, renewal, and times to wait |
//! | [`authority`] | authorities, the leaves that they sign, and bundles |
//! | [`state`] | what the Secret holds |
//! | [`rotation`] | the state machine: pure |
//! | [`store`] | the traits of the Secret and of the configurations |
//! | [`keeper`] | the loop around it |

pub mod authority;
pub mod keeper;
mod memory;
pub mod plan;
pub mod rotation;
mod sight;
pub mod state;
pub mod store;
mod trouble;
pub(crate) mod verify;

pub use keeper::{Keeper, KeeperParts};
pub use plan::Plan;
pub use state::{SecretData, State};
pub use store::{CertificateStore, Configuration, StoredCertificate, WebhookConfigurations};
