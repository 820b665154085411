//! ServiceAccounts that are to name the Secret.

use super::outcome::{AccountResult, NamedBy};
use crate::clock::Clock;
use crate::service_account::{Edited, Goal, ServiceAccountStore, reach};

/// Sees to it that a ServiceAccount names the Secret, or says whether it does.
pub(super) async fn name_secret(
    store: &dyn ServiceAccountStore,
    clock: &Clock,
    (namespace, name): (&str, &str),
    secret: &str,
    dry_run: bool,
) -> Result<NamedBy, String> {
    let result = if dry_run {
        let account = store.get(namespace, name).await;
        account.map(|account| account.map(|account| account.names(secret)))
    } else {
        let edited = reach(Goal::Named, store, clock, (namespace, name), secret).await;
        edited.map(|edited| match edited {
            Edited::Changed(_) => Some(false),
            Edited::Unchanged(_) => Some(true),
            Edited::Missing => None,
        })
    };
    match result {
        Ok(Some(named)) => Ok(NamedBy {
            name: name.to_owned(),
            result: if named {
                AccountResult::Unchanged
            } else {
                AccountResult::Added
            },
        }),
        Ok(None) => Err(format!(
            "there is no ServiceAccount {name:?} in namespace {namespace:?}"
        )),
        Err(error) => Err(error.to_string()),
    }
}
