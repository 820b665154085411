//! ServiceAccounts in memory: a double for tests that keeps the promises of [`ServiceAccountStore`] which the API server
//! keeps.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, ready};
use serde_json::Value;

use super::{ServiceAccount, ServiceAccountStore};
use crate::secret::{StoreError, StoreErrorKind};

type Hook = Box<dyn FnMut(&MemoryServiceAccounts) + Send>;

/// A cluster's ServiceAccounts in memory.
#[derive(Default)]
pub struct MemoryServiceAccounts {
    cluster: Mutex<Cluster>,
    before_write: Mutex<Option<Hook>>,
}

#[derive(Default)]
struct Cluster {
    version: u64,
    writes: usize,
    refusal: Option<StoreError>,
    accounts: BTreeMap<(String, String), ServiceAccount>,
}

impl MemoryServiceAccounts {
    /// Makes a ServiceAccount, or changes the list of one, as somebody else in the cluster might.
    pub fn set(&self, namespace: &str, name: &str, pull_secrets: &[Value]) {
        let mut cluster = self.lock();
        cluster.version += 1;
        let version = cluster.version.to_string();
        let key = (namespace.to_owned(), name.to_owned());
        let before = cluster.accounts.get(&key);
        let uid = before.map_or_else(|| format!("uid-{version}"), |before| before.uid.clone());
        let account = ServiceAccount {
            uid,
            resource_version: version,
            pull_secrets: pull_secrets.to_vec(),
        };
        cluster.accounts.insert(key, account);
    }

    /// Deletes a ServiceAccount.
    pub fn remove(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        self.lock().accounts.remove(&key);
    }

    /// What is there.
    pub fn look(&self, namespace: &str, name: &str) -> Option<ServiceAccount> {
        let key = (namespace.to_owned(), name.to_owned());
        self.lock().accounts.get(&key).cloned()
    }

    /// How many writes came, refused ones included.
    pub fn writes(&self) -> usize {
        self.lock().writes
    }

    /// Refuses each write from now on, or none.
    pub fn refuse(&self, refusal: Option<StoreError>) {
        self.lock().refusal = refusal;
    }

    /// Does something just before each write arrives.
    pub fn before_each_write(&self, hook: impl FnMut(&Self) + Send + 'static) {
        *self.hook() = Some(Box::new(hook));
    }

    fn write(
        &self,
        (namespace, name): (&str, &str),
        current: &ServiceAccount,
        pull_secrets: &[Value],
    ) -> Result<ServiceAccount, StoreError> {
        let hook = self.hook().take();
        if let Some(mut hook) = hook {
            hook(self);
            self.hook().get_or_insert(hook);
        }
        let refusal = {
            let mut cluster = self.lock();
            cluster.writes += 1;
            cluster.refusal.clone()
        };
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let failed = |kind, cause: &str| StoreError {
            kind,
            message: format!(
                "cannot write ServiceAccount \"{name}\" in namespace \"{namespace}\": {cause}"
            ),
        };
        let found = self.look(namespace, name);
        let found = found.ok_or_else(|| failed(StoreErrorKind::NotFound, "it does not exist"))?;
        if found.resource_version != current.resource_version {
            let cause = "somebody else changed it at the same time";
            return Err(failed(StoreErrorKind::Conflict, cause));
        }
        self.set(namespace, name, pull_secrets);
        Ok(self.look(namespace, name).unwrap_or(found))
    }

    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hook(&self) -> MutexGuard<'_, Option<Hook>> {
        self.before_write
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServiceAccountStore for MemoryServiceAccounts {
    fn get<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<ServiceAccount>, StoreError>> {
        Box::pin(ready(Ok(self.look(namespace, name))))
    }

    fn write<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        current: &'a ServiceAccount,
        pull_secrets: &'a [Value],
    ) -> BoxFuture<'a, Result<ServiceAccount, StoreError>> {
        Box::pin(async move { self.write((namespace, name), current, pull_secrets) })
    }
}
