//! Whose tokens a namespace's Secret may hold.

use std::time::Duration;

use ecr_admission::secret::{StoreError, StoredSecret};
use jiff::Timestamp;
use tokio::time::Instant;

use super::audit::NEWER;
use super::docker_config::{auths, password};
use super::ecr::read;
use super::world::Inner;

/// How long a write may take once the cluster was asked whether it is allowed.
const RACE: Duration = Duration::from_secs(10);

impl Inner {
    /// A Secret was written, or was not. A token must be that of the namespace's tenant: what a mirror says that lags
    /// behind is no excuse.
    pub(crate) fn wrote(
        &mut self,
        name: &str,
        before: Option<&StoredSecret>,
        after: &Result<StoredSecret, StoreError>,
        now: Timestamp,
    ) {
        self.audit.wrote(after.is_ok());
        let Ok(after) = after else { return };
        let Some(namespace) = self.population.namespaces.get(name) else {
            return;
        };
        let held = before.map(auths).unwrap_or_default();
        for (host, auth) in auths(after) {
            if host == NEWER || held.iter().any(|(_, known)| *known == auth) {
                continue;
            }
            if let Some((_, replaced)) = held.iter().find(|(known, _)| *known == host) {
                let replaced = password(replaced);
                let (_, _, until) = read(&replaced).unwrap();
                if until > now {
                    self.audit.replaced_in_time(name, host, until);
                }
            }
            let (holder, ..) = read(&password(auth)).unwrap();
            let lately = |at: Instant| at.elapsed() < RACE;
            let (has_policy, since) = self.tenancy.grants(holder);
            let former = namespace.former;
            let was_its = former.is_some_and(|(former, until)| former == holder && lately(until));
            let is_its = namespace.tenant == holder || was_its || lately(namespace.created);
            if !is_its || !(has_policy || lately(since)) {
                let why = if is_its {
                    "which nobody grants it".to_owned()
                } else {
                    format!("which is of {:?}", namespace.tenant)
                };
                self.audit.breach = Some(format!(
                    "a token of {holder:?} for {host} was written to {name}, {why}"
                ));
            }
        }
    }
}
