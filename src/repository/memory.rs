//! Repository Secrets in memory: a double for tests that keeps the promises of [`RepositoryStore`].

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, ready};
use secrecy::ExposeSecret;

use super::{RepositoryContent, RepositoryStore, StoredRepository};
use crate::secret::{DataWriter, SecretMetadata, StoreError, StoreErrorKind};

/// A cluster's repository Secrets in memory, by namespace and name.
#[derive(Default)]
pub struct MemoryRepositories(Mutex<Cluster>);

#[derive(Default)]
struct Cluster {
    version: u64,
    writes: usize,
    secrets: BTreeMap<(String, String), (StoredRepository, String)>,
}

impl MemoryRepositories {
    /// What is there: each URL, and its password.
    pub fn look(&self, namespace: &str) -> BTreeMap<String, (Option<String>, String)> {
        let cluster = self.lock();
        let here = cluster
            .secrets
            .iter()
            .filter(|((at, _), _)| at == namespace);
        here.map(|((_, name), (stored, password))| {
            (name.clone(), (stored.url.clone(), password.clone()))
        })
        .collect()
    }

    /// How many writes and deletions there were.
    pub fn writes(&self) -> usize {
        self.lock().writes
    }

    /// Puts a Secret of somebody else there.
    pub fn put_foreign(&self, namespace: &str, name: &str) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut cluster = self.lock();
        let mut stored = cluster.next(None);
        stored.metadata.owned = false;
        cluster.secrets.insert(key, (stored, String::new()));
    }

    /// Changes one past every rule, as somebody else might.
    pub fn edit(&self, namespace: &str, name: &str, edit: impl FnOnce(&mut StoredRepository)) {
        let key = (namespace.to_owned(), name.to_owned());
        let mut cluster = self.lock();
        cluster.version += 1;
        let version = cluster.version.to_string();
        if let Some((stored, _)) = cluster.secrets.get_mut(&key) {
            edit(stored);
            stored.metadata.resource_version = version;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn create(&self, key: (String, String), content: &RepositoryContent) -> Result<(), StoreError> {
        let mut cluster = self.lock();
        cluster.writes += 1;
        if cluster.secrets.contains_key(&key) {
            return refuse(StoreErrorKind::AlreadyExists);
        }
        let stored = cluster.next(Some(content));
        let password = content.password.expose_secret().to_owned();
        cluster.secrets.insert(key, (stored, password));
        Ok(())
    }

    fn update(
        &self,
        key: (String, String),
        current: &SecretMetadata,
        content: &RepositoryContent,
    ) -> Result<(), StoreError> {
        let mut cluster = self.lock();
        cluster.writes += 1;
        cluster.expect(&key, current)?;
        let mut stored = cluster.next(Some(content));
        stored.metadata.uid.clone_from(&current.uid);
        let password = content.password.expose_secret().to_owned();
        cluster.secrets.insert(key, (stored, password));
        Ok(())
    }

    fn delete(&self, key: &(String, String), current: &SecretMetadata) -> Result<(), StoreError> {
        let mut cluster = self.lock();
        cluster.writes += 1;
        cluster.expect(key, current)?;
        cluster.secrets.remove(key);
        Ok(())
    }
}

impl Cluster {
    fn next(&mut self, content: Option<&RepositoryContent>) -> StoredRepository {
        self.version += 1;
        StoredRepository {
            metadata: SecretMetadata {
                uid: format!("uid-{}", self.version),
                resource_version: self.version.to_string(),
                owned: true,
                state: content.map(|content| content.state.clone()),
                data_writer: DataWriter::Us { at: None },
            },
            url: content.map(|content| content.url.clone()),
        }
    }

    fn expect(&self, key: &(String, String), current: &SecretMetadata) -> Result<(), StoreError> {
        match self.secrets.get(key) {
            None => refuse(StoreErrorKind::NotFound),
            Some((stored, _)) if stored.metadata.resource_version != current.resource_version => {
                refuse(StoreErrorKind::Conflict)
            }
            Some(_) => Ok(()),
        }
    }
}

fn refuse<T>(kind: StoreErrorKind) -> Result<T, StoreError> {
    Err(StoreError {
        kind,
        message: format!("cannot write a repository Secret: {}", kind.label()),
    })
}

impl RepositoryStore for MemoryRepositories {
    fn get<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredRepository>, StoreError>> {
        let key = (namespace.to_owned(), name.to_owned());
        let found = self
            .lock()
            .secrets
            .get(&key)
            .map(|(stored, _)| stored.clone());
        Box::pin(ready(Ok(found)))
    }

    fn create<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        content: &'a RepositoryContent,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let key = (namespace.to_owned(), name.to_owned());
        Box::pin(ready(self.create(key, content)))
    }

    fn update<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        current: &'a SecretMetadata,
        content: &'a RepositoryContent,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let key = (namespace.to_owned(), name.to_owned());
        Box::pin(ready(self.update(key, current, content)))
    }

    fn delete<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        current: &'a SecretMetadata,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let key = (namespace.to_owned(), name.to_owned());
        Box::pin(ready(self.delete(&key, current)))
    }
}
