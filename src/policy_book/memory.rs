//! EcrPolicies in memory: a double for tests that keeps the promises of [`PolicyStore`] which the API server keeps.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, ready};
use serde_json::Value;

use super::{Definition, PolicyObject, PolicyStore};
use crate::secret::{StoreError, StoreErrorKind};

/// A cluster's policies in memory.
#[derive(Default)]
pub struct MemoryPolicies(Mutex<Cluster>);

#[derive(Default)]
struct Cluster {
    version: u64,
    writes: usize,
    refusal: Option<StoreError>,
    definition: Option<Result<Definition, StoreError>>,
    policies: BTreeMap<String, PolicyObject>,
}

impl MemoryPolicies {
    /// Makes a policy, or changes the spec of one.
    pub fn apply(&self, name: &str, spec: Value) -> PolicyObject {
        let mut cluster = self.lock();
        cluster.version += 1;
        let version = cluster.version;
        let policy = cluster.policies.entry(name.to_owned()).or_default();
        if policy.uid.is_empty() {
            policy.uid = format!("uid-{version}");
        }
        policy.resource_version = version.to_string();
        policy.generation += 1;
        policy.spec = spec;
        policy.clone()
    }

    /// Deletes a policy; the version in which that was.
    pub fn remove(&self, name: &str) -> String {
        let mut cluster = self.lock();
        cluster.version += 1;
        cluster.policies.remove(name);
        cluster.version.to_string()
    }

    /// Writes over the status of a policy, as somebody else might.
    pub fn set_status(&self, name: &str, status: Value) -> Option<PolicyObject> {
        let mut cluster = self.lock();
        cluster.version += 1;
        let version = cluster.version.to_string();
        let policy = cluster.policies.get_mut(name)?;
        policy.resource_version = version;
        policy.status = status;
        Some(policy.clone())
    }

    /// What is there.
    pub fn look(&self, name: &str) -> Option<PolicyObject> {
        self.lock().policies.get(name).cloned()
    }

    /// How many writes came, refused ones included.
    pub fn writes(&self) -> usize {
        self.lock().writes
    }

    /// Refuses each write from now on, or none.
    pub fn refuse(&self, refusal: Option<StoreError>) {
        self.lock().refusal = refusal;
    }

    /// Says so about the definition from now on.
    pub fn define(&self, definition: Result<Definition, StoreError>) {
        self.lock().definition = Some(definition);
    }

    fn write(
        &self,
        name: &str,
        current: &PolicyObject,
        status: &Value,
    ) -> Result<PolicyObject, StoreError> {
        let mut cluster = self.lock();
        cluster.writes += 1;
        if let Some(refusal) = &cluster.refusal {
            return Err(refusal.clone());
        }
        let failed = |kind, cause: &str| StoreError {
            kind,
            message: format!("cannot write the status of EcrPolicy \"{name}\": {cause}"),
        };
        let found = cluster.policies.get(name).cloned();
        let mut found =
            found.ok_or_else(|| failed(StoreErrorKind::NotFound, "it does not exist"))?;
        if (&found.uid, &found.resource_version) != (&current.uid, &current.resource_version) {
            let cause = "somebody else changed it at the same time";
            return Err(failed(StoreErrorKind::Conflict, cause));
        }
        json_patch::merge(&mut found.status, status);
        cluster.version += 1;
        found.resource_version = cluster.version.to_string();
        cluster.policies.insert(name.to_owned(), found.clone());
        Ok(found)
    }

    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PolicyStore for MemoryPolicies {
    fn write_status<'a>(
        &'a self,
        name: &'a str,
        current: &'a PolicyObject,
        status: &'a Value,
    ) -> BoxFuture<'a, Result<PolicyObject, StoreError>> {
        // As a call is: not at once.
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.write(name, current, status)
        })
    }

    fn definition(&self) -> BoxFuture<'_, Result<Definition, StoreError>> {
        let known = self.lock().definition.clone();
        Box::pin(ready(known.unwrap_or(Ok(Definition::Present))))
    }
}
