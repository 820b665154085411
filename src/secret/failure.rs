//! Why entries could not be put into a Secret.

use super::StoreError;

/// Why entries could not be put into a Secret. The text says what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriteError {
    /// A Secret of our name without our label.
    #[error(
        "Secret {secret:?} in namespace {namespace:?} is not ours, it lacks the label \
         app.kubernetes.io/managed-by=ecr-admission: delete it, or put the label on it to have its content replaced"
    )]
    Foreign {
        /// The Secret's name.
        secret: String,
        /// Its namespace.
        namespace: String,
    },
    /// No room, and nothing that could give way.
    #[error(
        "Secret {secret:?} in namespace {namespace:?} is full ({} registries, all in use): spread the Pods over more \
         namespaces",
        crate::pull_secret::merge::MOST_ENTRIES
    )]
    Full {
        /// The Secret's name.
        secret: String,
        /// Its namespace.
        namespace: String,
    },
    /// The store failed; its sentence names the Secret and the namespace.
    #[error(transparent)]
    Store(#[from] StoreError),
}
