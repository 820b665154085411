//! Read, change, write, again: until our Secret is named, or is not.

use std::time::Duration;

use super::{ServiceAccount, ServiceAccountStore};
use crate::clock::Clock;
use crate::secret::{StoreError, StoreErrorKind};

/// How often a write is tried again because somebody else wrote in between: each round one of the rivals succeeds, and
/// rivals are replicas, a controller and a person at most.
const ATTEMPTS: u32 = 10;
/// The longest random pause before the next try.
const PAUSE: Duration = Duration::from_millis(50);

/// What is wanted of a ServiceAccount's `imagePullSecrets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// That it names our Secret.
    Named,
    /// That it does not.
    Unnamed,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edited {
    /// Written; this is what is there now.
    Changed(ServiceAccount),
    /// It was as wanted.
    Unchanged(ServiceAccount),
    /// There is no such ServiceAccount.
    Missing,
}

/// Makes one ServiceAccount name `secret` in its `imagePullSecrets`, or not name it. Entries of others, their order and
/// all other fields stay; whoever writes at the same time loses nothing.
///
/// # Errors
/// The store's; a conflict when others wrote in between ten times in a row. Nothing was changed then.
pub async fn reach(
    goal: Goal,
    store: &dyn ServiceAccountStore,
    clock: &Clock,
    (namespace, name): (&str, &str),
    secret: &str,
) -> Result<Edited, StoreError> {
    let mut attempt = 1;
    loop {
        let Some(current) = store.get(namespace, name).await? else {
            return Ok(Edited::Missing);
        };
        let Some(list) = current.towards(goal, secret) else {
            return Ok(Edited::Unchanged(current));
        };
        match store.write(namespace, name, &current, &list).await {
            Ok(after) => return Ok(Edited::Changed(after)),
            Err(error) if is_overtaken(&error) && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(clock.jitter(PAUSE)).await;
    }
}

/// Whether somebody else changed or deleted it since it was read.
fn is_overtaken(error: &StoreError) -> bool {
    matches!(
        error.kind,
        StoreErrorKind::Conflict | StoreErrorKind::NotFound
    )
}
