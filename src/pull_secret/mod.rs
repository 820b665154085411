//! What a pull Secret holds: tokens as dockerconfigjson, their state as an annotation, and how new entries are merged
//! into what is there. Pure: every function that needs the time takes it.

pub mod docker_config;
pub mod freshness;
pub mod merge;
pub mod state;

pub use freshness::Freshness;
pub use merge::{Merge, NewEntry, merge};
pub use state::{Entry, State};

use secrecy::SecretString;

/// What a Secret is to hold.
#[derive(Clone, Debug)]
pub struct SecretContent {
    /// The dockerconfigjson document, as JSON text.
    pub docker_config: SecretString,
    /// The state annotation.
    pub state: String,
    /// The annotation for people: when the first entry expires.
    pub expires_at: String,
}
