//! Why a pair may not be served.

/// Why a pair may not be served: one sentence that names the file and the reason, free of key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PairError(String);

impl PairError {
    /// An error in the words of a source.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}
