//! The cluster as it is at this moment, for what a mirror that lags must not decide.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use crate::namespace::Namespace;
use crate::policy::decide::identity_of_key;
use crate::policy::{Identity, Labels, PolicySet, PolicyVersion};
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

/// Why a token is not written, or an entry not taken out. For people.
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

/// Whether each of `wanted` (the `auths` key and the identity) is granted to a namespace with these labels, by a policy
/// that is still what it was when it was compiled.
pub(super) async fn confirm(
    live: &dyn LiveReads,
    set: &PolicySet,
    (namespace, labels): (&str, &Labels),
    wanted: &[(&str, &Identity)],
) -> Result<(), Unconfirmed> {
    let policy = set.in_namespace(namespace, labels);
    for (key, identity) in wanted {
        let granted = identity_of_key(&policy, key);
        let is_granted = granted.is_some_and(|(_, granted)| granted == *identity);
        if !is_granted || !has_grantor(live, set, (namespace, labels), identity).await? {
            return Err(Unconfirmed::changed(namespace));
        }
    }
    Ok(())
}

/// Whether none of `entries` is granted to a namespace with these labels. `entries`: the `auths` key and the fingerprint of
/// the identity of each.
pub(super) async fn confirm_ungranted(
    census: &Census,
    set: &PolicySet,
    (namespace, labels): (&str, &Labels),
    mut entries: impl Iterator<Item = (&str, &str)>,
) -> Result<(), Unconfirmed> {
    let policy = set.in_namespace(namespace, labels);
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

/// Whether some policy that grants this identity is still what it was when it was compiled; or none does, because it is
/// granted by default.
async fn has_grantor(
    live: &dyn LiveReads,
    set: &PolicySet,
    (namespace, labels): (&str, &Labels),
    identity: &Identity,
) -> Result<bool, StoreError> {
    let mut grantors = set.grantors(namespace, labels, identity).peekable();
    if grantors.peek().is_none() {
        return Ok(*identity == Identity::Controller);
    }
    for policy in grantors {
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
