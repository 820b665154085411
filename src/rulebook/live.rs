//! The cluster as it is at this moment, for what a mirror that lags must not decide.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use crate::namespace::Namespace;
use crate::policy::decide::identity_of_key;
use crate::policy::{Identity, PolicySet, PolicyVersion};
use crate::secret::{StoreError, StoreErrorKind};

use super::census::Census;

/// Reads past every mirror and cache.
pub trait LiveReads: Send + Sync + 'static {
    /// A namespace as it is now. [`StoreErrorKind::NamespaceMissing`] when it is not there.
    fn namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Namespace, StoreError>>;

    /// The version of the `EcrPolicy` of that name, if there is one.
    fn policy<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<PolicyVersion>, StoreError>>;

    /// The versions of all `EcrPolicies`; `None` where the cluster does not know such objects.
    fn policies(&self) -> BoxFuture<'_, Result<Option<PolicyVersions>, StoreError>>;
}

/// The versions of the policies of a cluster, by name.
pub type PolicyVersions = BTreeMap<String, PolicyVersion>;

/// Where no policy tells namespaces apart, nobody asks.
pub struct NothingLive;

impl LiveReads for NothingLive {
    fn namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Namespace, StoreError>> {
        let error = StoreError {
            kind: StoreErrorKind::NamespaceMissing,
            message: format!("there is no namespace {name:?}"),
        };
        ready(Err(error)).boxed()
    }

    fn policy<'a>(
        &'a self,
        _name: &'a str,
    ) -> BoxFuture<'a, Result<Option<PolicyVersion>, StoreError>> {
        ready(Ok(None)).boxed()
    }

    fn policies(&self) -> BoxFuture<'_, Result<Option<PolicyVersions>, StoreError>> {
        ready(Ok(None)).boxed()
    }
}

/// Why a role's token is not written, or an entry not taken out. For people.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Unconfirmed {
    /// The cluster is ahead of what was decided by.
    #[error(
        "the policies or the labels of namespace {namespace:?} have just changed, and what it is granted is decided anew"
    )]
    Changed {
        /// The namespace.
        namespace: String,
    },
    /// It could not be read.
    #[error(transparent)]
    Unread(#[from] StoreError),
}

impl Unconfirmed {
    fn changed(namespace: &str) -> Self {
        Self::Changed {
            namespace: namespace.to_owned(),
        }
    }
}

pub(super) async fn confirm(
    live: &dyn LiveReads,
    set: &PolicySet,
    namespace: &str,
    roles: &[(&str, &Identity)],
) -> Result<(), Unconfirmed> {
    let changed = || Unconfirmed::changed(namespace);
    let now = live.namespace(namespace).await?;
    let policy = set.in_namespace(namespace, &now.labels);
    for (key, identity) in roles {
        let granted = identity_of_key(&policy, key);
        if granted.is_none_or(|(_, granted)| granted != *identity) {
            return Err(changed());
        }
        if !has_grantor(live, set, (namespace, &now), identity).await? {
            return Err(changed());
        }
    }
    Ok(())
}

/// Whether none of `entries` is granted to a namespace as it is now. `entries`: the `auths` key and the fingerprint of the
/// identity of each.
pub(super) async fn confirm_ungranted(
    live: &dyn LiveReads,
    census: &Census,
    set: &PolicySet,
    namespace: &str,
    mut entries: impl Iterator<Item = (&str, &str)>,
) -> Result<(), Unconfirmed> {
    // Without policies, the same is granted to all.
    let labels = if set.is_empty() {
        Arc::default()
    } else {
        live.namespace(namespace).await?.labels
    };
    let policy = set.in_namespace(namespace, &labels);
    if entries.any(|(key, identity)| policy.grants_key(key, identity)) {
        return Err(Unconfirmed::changed(namespace));
    }
    // Policies from files are what they are.
    if !set.is_of_cluster() {
        return Ok(());
    }
    match census.take().await? {
        // Without a definition there is none that says otherwise: the last known ones hold.
        None => Ok(()),
        Some(versions) if set.is_of(&versions) => Ok(()),
        Some(_) => Err(Unconfirmed::changed(namespace)),
    }
}

/// Whether some policy that grants this identity is still what it was when it was compiled.
async fn has_grantor(
    live: &dyn LiveReads,
    set: &PolicySet,
    (name, namespace): (&str, &Namespace),
    identity: &Identity,
) -> Result<bool, StoreError> {
    for policy in set.grantors(name, &namespace.labels, identity) {
        match policy.version() {
            // One from a file is what it is.
            None => return Ok(true),
            Some(version) if live.policy(policy.name()).await?.as_ref() == Some(version) => {
                return Ok(true);
            }
            Some(_) => {}
        }
    }
    Ok(false)
}
