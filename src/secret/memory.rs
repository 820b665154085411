//! Pull Secrets in memory: what `demo` runs on, and a double for tests. It keeps the promises of [`SecretStore`] that
//! the API server keeps, which one contract suite asks of both.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, ready};
use secrecy::{ExposeSecret, SecretSlice};

use super::{
    DataWriter, SecretContent, SecretMetadata, SecretStore, StoreError, StoreErrorKind,
    StoredSecret,
};
use crate::clock::Clock;
use crate::watch::Mirror;

/// The pause between bookmarks, as the API server keeps it.
const BOOKMARK_PAUSE: Duration = Duration::from_mins(1);

/// A cluster's pull Secrets in memory, with every namespace there unless told otherwise.
pub struct MemorySecretStore {
    clock: Clock,
    cluster: Mutex<Cluster>,
}

#[derive(Default)]
struct Cluster {
    /// Counts writes; each write's count is its resourceVersion.
    version: u64,
    secrets: BTreeMap<String, StoredSecret>,
    namespaces: HashMap<String, NamespacePhase>,
    mirrors: Vec<Arc<dyn Mirror<SecretMetadata>>>,
}

/// What a namespace lets happen in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NamespacePhase {
    /// Everything.
    #[default]
    Active,
    /// Nothing new.
    Terminating,
    /// It does not exist.
    Missing,
}

impl MemorySecretStore {
    /// An empty store; `clock` dates the writes.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            cluster: Mutex::default(),
        }
    }

    /// Changes a namespace's phase; one that goes missing takes its Secret with it.
    pub fn set_namespace(&self, namespace: &str, phase: NamespacePhase) {
        let mut cluster = self.lock();
        if phase == NamespacePhase::Missing {
            cluster.replace(namespace, None);
        }
        cluster.namespaces.insert(namespace.to_owned(), phase);
    }

    /// Changes a namespace's Secret past every rule, as somebody else in the cluster might: `change` gets what is there
    /// and says what shall be. The resourceVersion is ours to give; so is the uid of a Secret that is new.
    pub fn change(
        &self,
        namespace: &str,
        change: impl FnOnce(Option<StoredSecret>) -> Option<StoredSecret>,
    ) {
        let mut cluster = self.lock();
        let before = cluster.secrets.get(namespace).cloned();
        let after = change(before);
        cluster.replace(namespace, after);
    }

    /// What a list of all of them returns, and the resourceVersion of the list.
    pub fn list(&self) -> (BTreeMap<String, SecretMetadata>, String) {
        let cluster = self.lock();
        let secrets = cluster.secrets.iter();
        let secrets =
            secrets.map(|(namespace, secret)| (namespace.clone(), secret.metadata.clone()));
        (secrets.collect(), cluster.version.to_string())
    }

    /// Feeds a mirror with what is there and with every change from now on, in order and at once.
    pub fn attach(&self, mirror: Arc<dyn Mirror<SecretMetadata>>) {
        let mut cluster = self.lock();
        for (namespace, secret) in &cluster.secrets {
            mirror.apply(namespace, secret.metadata.clone());
        }
        let keys: HashSet<String> = cluster.secrets.keys().cloned().collect();
        mirror.listed(&keys, &cluster.version.to_string());
        mirror.heard();
        cluster.mirrors.push(mirror);
    }

    /// Tells the attached mirrors once a minute that they are alive, as a watch's bookmarks do, until it is dropped.
    pub async fn bookmarks(&self) -> Infallible {
        loop {
            tokio::time::sleep(BOOKMARK_PAUSE).await;
            for mirror in &self.lock().mirrors {
                mirror.heard();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self, uid: String, content: &SecretContent) -> StoredSecret {
        StoredSecret {
            metadata: SecretMetadata {
                uid,
                resource_version: String::new(),
                owned: true,
                state: Some(content.state.clone()),
                data_writer: DataWriter::Us {
                    at: Some(self.clock.now()),
                },
            },
            writable: true,
            docker_config: Some(SecretSlice::from(
                content.docker_config.expose_secret().as_bytes().to_vec(),
            )),
        }
    }

    fn create(&self, namespace: &str, content: &SecretContent) -> Result<StoredSecret, StoreError> {
        let mut cluster = self.lock();
        match cluster.phase(namespace) {
            NamespacePhase::Active => {}
            NamespacePhase::Terminating => {
                return refuse(StoreErrorKind::NamespaceTerminating, namespace);
            }
            NamespacePhase::Missing => return refuse(StoreErrorKind::NamespaceMissing, namespace),
        }
        if cluster.secrets.contains_key(namespace) {
            return refuse(StoreErrorKind::AlreadyExists, namespace);
        }
        Ok(cluster.put(namespace, self.written(String::new(), content)))
    }

    fn update(
        &self,
        namespace: &str,
        current: &SecretMetadata,
        content: &SecretContent,
    ) -> Result<StoredSecret, StoreError> {
        let mut cluster = self.lock();
        let stored = cluster.expect(namespace, current)?;
        if !stored.writable {
            return refuse(StoreErrorKind::Refused, namespace);
        }
        let owned = stored.metadata.owned;
        let mut secret = self.written(current.uid.clone(), content);
        secret.metadata.owned = owned;
        Ok(cluster.put(namespace, secret))
    }

    fn delete(&self, namespace: &str, current: &SecretMetadata) -> Result<(), StoreError> {
        let mut cluster = self.lock();
        cluster.expect(namespace, current)?;
        cluster.replace(namespace, None);
        Ok(())
    }
}

impl Cluster {
    fn phase(&self, namespace: &str) -> NamespacePhase {
        self.namespaces.get(namespace).copied().unwrap_or_default()
    }

    /// The Secret there, if it is the object and version that `current` names.
    fn expect(
        &self,
        namespace: &str,
        current: &SecretMetadata,
    ) -> Result<&StoredSecret, StoreError> {
        match self.secrets.get(namespace) {
            None => refuse(StoreErrorKind::NotFound, namespace),
            Some(stored)
                if (&stored.metadata.uid, &stored.metadata.resource_version)
                    != (&current.uid, &current.resource_version) =>
            {
                refuse(StoreErrorKind::Conflict, namespace)
            }
            Some(stored) => Ok(stored),
        }
    }

    fn put(&mut self, namespace: &str, mut secret: StoredSecret) -> StoredSecret {
        self.version += 1;
        secret.metadata.resource_version = self.version.to_string();
        if secret.metadata.uid.is_empty() {
            secret.metadata.uid = format!("uid-{}", self.version);
        }
        for mirror in &self.mirrors {
            mirror.apply(namespace, secret.metadata.clone());
            mirror.heard();
        }
        self.secrets.insert(namespace.to_owned(), secret.clone());
        secret
    }

    fn replace(&mut self, namespace: &str, secret: Option<StoredSecret>) {
        if let Some(secret) = secret {
            self.put(namespace, secret);
        } else if self.secrets.remove(namespace).is_some() {
            self.version += 1;
            for mirror in &self.mirrors {
                mirror.delete(namespace, &self.version.to_string());
                mirror.heard();
            }
        }
    }
}

fn refuse<T>(kind: StoreErrorKind, namespace: &str) -> Result<T, StoreError> {
    let cause = match kind {
        StoreErrorKind::NamespaceTerminating => "the namespace is being terminated",
        StoreErrorKind::NamespaceMissing => "the namespace does not exist",
        StoreErrorKind::AlreadyExists => "it already exists",
        StoreErrorKind::NotFound => "it does not exist",
        StoreErrorKind::Conflict => "somebody else changed it at the same time",
        _ => "it is of another type, or immutable",
    };
    Err(StoreError {
        kind,
        message: format!("cannot write the pull Secret in namespace \"{namespace}\": {cause}"),
    })
}

impl SecretStore for MemorySecretStore {
    fn get<'a>(
        &'a self,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredSecret>, StoreError>> {
        Box::pin(ready(Ok(self.lock().secrets.get(namespace).cloned())))
    }

    fn create<'a>(
        &'a self,
        namespace: &'a str,
        content: &'a SecretContent,
    ) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(async move { self.create(namespace, content) })
    }

    fn update<'a>(
        &'a self,
        namespace: &'a str,
        current: &'a SecretMetadata,
        content: &'a SecretContent,
    ) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(async move { self.update(namespace, current, content) })
    }

    fn delete<'a>(
        &'a self,
        namespace: &'a str,
        current: &'a SecretMetadata,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move { self.delete(namespace, current) })
    }
}
