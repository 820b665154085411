//! ServiceAccounts, of which we read and write one thing: whether `imagePullSecrets` names our Secret.
//!
//! The list is atomic: a server-side apply replaces it whole (seen). So it is read, changed and written back under the
//! version that was read, and the entries of others go back as they came, in their order.

pub mod memory;

mod edit;
mod index;
mod keeper;
mod metrics;

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

pub use edit::{Edited, Goal, reach};
pub use index::{Names, ServiceAccountIndex};
pub use keeper::{Keeper, KeeperParts, Plan, Task};
pub use metrics::Metrics;

use crate::secret::StoreError;

/// What is read of a ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccount {
    /// The object's identity.
    pub uid: String,
    /// The version for compare-and-swap.
    pub resource_version: String,
    /// The entries of `imagePullSecrets` as they are, so that a field which a later Kubernetes puts into them survives.
    pub pull_secrets: Vec<Value>,
}

/// Reads ServiceAccounts and writes their `imagePullSecrets`, and nothing else of them. Each call is bounded in time by
/// the implementation.
pub trait ServiceAccountStore: Send + Sync + 'static {
    /// One ServiceAccount; `None` when it (or its namespace) does not exist.
    fn get<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ServiceAccount>, StoreError>>;

    /// Replaces the list of a ServiceAccount that is still in the version that `current` names; it fails as a conflict
    /// otherwise. Every other field stays as it is.
    fn write<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        current: &'a ServiceAccount,
        pull_secrets: &'a [Value],
    ) -> BoxFuture<'a, Result<ServiceAccount, StoreError>>;
}

impl ServiceAccount {
    /// Whether `secret` is in the list.
    pub fn names(&self, secret: &str) -> bool {
        self.pull_secrets.iter().any(|entry| is(entry, secret))
    }

    /// The list as it is to be; `None` where it is so already.
    fn towards(&self, goal: Goal, secret: &str) -> Option<Vec<Value>> {
        let mut list = self.pull_secrets.clone();
        match goal {
            Goal::Named if self.names(secret) => return None,
            Goal::Named => list.push(json!({"name": secret})),
            Goal::Unnamed => list.retain(|entry| !is(entry, secret)),
        }
        (list != self.pull_secrets).then_some(list)
    }
}

fn is(entry: &Value, secret: &str) -> bool {
    entry["name"] == secret
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(pull_secrets: Value) -> ServiceAccount {
        ServiceAccount {
            uid: "u".to_owned(),
            resource_version: "7".to_owned(),
            pull_secrets: serde_json::from_value(pull_secrets).unwrap(),
        }
    }

    #[test]
    fn our_entry_is_put_behind_the_others_and_taken_from_between_them() {
        let theirs = account(json!([{"name": "a"}, {"name": "b", "later": 1}]));
        let named = theirs.towards(Goal::Named, "ours").unwrap();
        assert_eq!(
            json!(named),
            json!([{"name": "a"}, {"name": "b", "later": 1}, {"name": "ours"}])
        );
        assert_eq!(theirs.towards(Goal::Unnamed, "ours"), None);

        let with = account(json!([{"name": "a"}, {"name": "ours"}, {}, {"name": "ours"}]));
        assert_eq!(with.towards(Goal::Named, "ours"), None);
        let unnamed = with.towards(Goal::Unnamed, "ours").unwrap();
        assert_eq!(json!(unnamed), json!([{"name": "a"}, {}]));
        assert_eq!(
            account(json!([])).towards(Goal::Named, "ours").unwrap(),
            [json!({"name": "ours"})]
        );
    }
}
