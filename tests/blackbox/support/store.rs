//! A Secret store in front of the one in memory that counts calls and fails when told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecr_admission::secret::memory::MemorySecretStore;
use ecr_admission::secret::{
    SecretContent, SecretMetadata, SecretStore, StoreError, StoreErrorKind, StoredSecret,
};
use futures_util::future::BoxFuture;

/// A call of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Get,
    Create,
    Update,
    Delete,
}

/// What happens to a call.
pub(crate) enum Trouble {
    /// It goes through.
    None,
    /// It fails and changes nothing.
    Fail(StoreErrorKind),
    /// It goes through after a while.
    Slow(Duration),
    /// It never returns.
    Hang,
    /// It panics.
    Panic,
}

type Before = Box<dyn FnMut(Call, &MemorySecretStore) -> Trouble + Send>;

pub(crate) struct CountingStore {
    pub(crate) cluster: Arc<MemorySecretStore>,
    calls: Mutex<Vec<Call>>,
    before: Mutex<Before>,
}

impl CountingStore {
    pub(crate) fn new(cluster: Arc<MemorySecretStore>) -> Self {
        Self {
            cluster,
            calls: Mutex::default(),
            before: Mutex::new(Box::new(|_, _| Trouble::None)),
        }
    }

    /// Asks `before` what happens to each call from now on; it may change the cluster first, as a rival would.
    pub(crate) fn before(
        &self,
        before: impl FnMut(Call, &MemorySecretStore) -> Trouble + Send + 'static,
    ) {
        *self.before.lock().unwrap() = Box::new(before);
    }

    /// Every write fails.
    pub(crate) fn refuse_writes(&self, kind: StoreErrorKind) {
        self.before(move |call, _| match call {
            Call::Get => Trouble::None,
            _ => Trouble::Fail(kind),
        });
    }

    pub(crate) fn heal(&self) {
        self.before(|_, _| Trouble::None);
    }

    /// The calls since the last time this was asked.
    pub(crate) fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    async fn call(&self, call: Call) -> Result<(), StoreError> {
        self.calls.lock().unwrap().push(call);
        let trouble = (self.before.lock().unwrap())(call, &self.cluster);
        match trouble {
            Trouble::None => Ok(()),
            Trouble::Fail(kind) => Err(StoreError {
                kind,
                message: format!(
                    "cannot {call:?} Secret \"ecr-pull-secret\": the API server said {}",
                    kind.label()
                ),
            }),
            Trouble::Slow(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Trouble::Hang => std::future::pending().await,
            Trouble::Panic => panic!("the store broke"),
        }
    }
}

impl SecretStore for CountingStore {
    fn get<'a>(
        &'a self,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredSecret>, StoreError>> {
        Box::pin(async move {
            self.call(Call::Get).await?;
            self.cluster.get(namespace).await
        })
    }

    fn create<'a>(
        &'a self,
        namespace: &'a str,
        content: &'a SecretContent,
    ) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(async move {
            self.call(Call::Create).await?;
            SecretStore::create(&*self.cluster, namespace, content).await
        })
    }

    fn update<'a>(
        &'a self,
        namespace: &'a str,
        current: &'a SecretMetadata,
        content: &'a SecretContent,
    ) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(async move {
            self.call(Call::Update).await?;
            SecretStore::update(&*self.cluster, namespace, current, content).await
        })
    }

    fn delete<'a>(
        &'a self,
        namespace: &'a str,
        current: &'a SecretMetadata,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.call(Call::Delete).await?;
            SecretStore::delete(&*self.cluster, namespace, current).await
        })
    }
}
