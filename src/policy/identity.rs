//! Who pulls: the AWS identity behind a token.

use std::fmt;

/// The AWS identity that a token is made with, hence part of every token's cache key: two identities never share a
/// token, even for one registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Identity {
    /// The controller's own base credentials, from the SDK's default chain.
    Controller,
}

impl Identity {
    /// What a Secret's state records of the identity that wrote an entry: stable over restarts and versions, and free
    /// of anything secret.
    pub fn fingerprint(&self) -> &str {
        match self {
            Self::Controller => "controller",
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller => f.write_str("the controller's own AWS identity"),
        }
    }
}
