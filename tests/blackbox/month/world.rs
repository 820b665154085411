//! The cluster that replicas share, and each replica's way to it and to ECR.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ecr_admission::clock::Clock;
use ecr_admission::secret::memory::MemorySecretStore;
use ecr_admission::secret::{
    PodImages, PodPage, SecretContent, SecretMetadata, SecretStore, StoreError, StoreErrorKind,
    StoredSecret,
};
use ecr_admission::token::{MintError, MintErrorKind, Token, TokenKey, TokenSource};
use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::audit::Audit;
use super::ecr::{self, REGIONS};
use super::population::Population;
use super::spells::Spells;
use crate::support::service::START;

/// Shared by everybody.
pub(crate) struct World {
    /// The time that is: AWS's, the API server's, and the judge's.
    pub(crate) truth: Clock,
    pub(crate) cluster: Arc<MemorySecretStore>,
    inner: Mutex<Inner>,
}

pub(crate) struct Inner {
    pub(crate) rng: fastrand::Rng,
    pub(crate) population: Population,
    pub(crate) audit: Audit,
    /// How each region's ECR fails, if it does: in itself, and because all do.
    pub(crate) ecr: [Option<MintErrorKind>; REGIONS.len()],
    pub(crate) ecr_everywhere: Option<MintErrorKind>,
    pub(crate) api_server_down: bool,
    /// How many calls in a hundred fail.
    pub(crate) flaky: u8,
    pub(crate) spells: [Spells; REGIONS.len()],
}

impl World {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let truth = Clock::simulated(START, seed);
        Arc::new(Self {
            cluster: Arc::new(MemorySecretStore::new(truth.clone())),
            truth,
            inner: Mutex::new(Inner {
                rng: fastrand::Rng::with_seed(seed),
                population: Population::default(),
                audit: Audit::default(),
                ecr: [None; REGIONS.len()],
                ecr_everywhere: None,
                api_server_down: false,
                flaky: 0,
                spells: Default::default(),
            }),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

impl Inner {
    pub(crate) fn ecr_failure(&self, region: usize) -> Option<MintErrorKind> {
        self.ecr[region].or(self.ecr_everywhere)
    }
}

/// One process, from its start to its end.
#[derive(Default)]
pub(crate) struct Life {
    /// What a process still tries after its end comes to nothing.
    pub(crate) over: AtomicBool,
    /// Whether its watch is cut.
    pub(crate) cut: AtomicBool,
    pub(crate) minted: [AtomicU32; REGIONS.len()],
    pub(crate) refused: [AtomicU32; REGIONS.len()],
}

/// One process's way to everything.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) world: Arc<World>,
    pub(crate) life: Arc<Life>,
}

impl Link {
    /// One call of the API server, which may fail, and may have had its effect all the same.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let latency = self.world.lock().rng.u64(2..30);
        sleep(Duration::from_millis(latency)).await;
        if self.life.over.load(Ordering::Relaxed) {
            return Err(failed(StoreErrorKind::NamespaceMissing));
        }
        let (down, fails, loses) = {
            let mut world = self.world.lock();
            let flaky = world.flaky;
            let mut hit = || world.rng.u8(..100) < flaky;
            let (fails, loses) = (hit(), hit());
            (world.api_server_down, fails, loses)
        };
        if down {
            sleep(Duration::from_secs(3)).await;
            return Err(failed(StoreErrorKind::Unavailable));
        }
        if fails {
            return Err(failed(StoreErrorKind::Unavailable));
        }
        let answer = call.await;
        if loses {
            return Err(failed(StoreErrorKind::TimedOut));
        }
        answer
    }
}

fn failed(kind: StoreErrorKind) -> StoreError {
    StoreError {
        kind,
        message: format!("the API server did not do it: {kind:?}"),
    }
}

impl SecretStore for Link {
    fn get<'a>(
        &'a self,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredSecret>, StoreError>> {
        Box::pin(self.call(async move { self.world.cluster.get(namespace).await }))
    }

    fn create<'a>(
        &'a self,
        namespace: &'a str,
        content: &'a SecretContent,
    ) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(self.call(async move {
            let stored = SecretStore::create(&*self.world.cluster, namespace, content).await;
            self.world.lock().audit.wrote(stored.is_ok());
            stored
        }))
    }

    fn update<'a>(
        &'a self,
        namespace: &'a str,
        current: &'a SecretMetadata,
        content: &'a SecretContent,
    ) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(self.call(async move {
            let cluster = &*self.world.cluster;
            let stored = SecretStore::update(cluster, namespace, current, content).await;
            self.world.lock().audit.wrote(stored.is_ok());
            stored
        }))
    }

    fn delete<'a>(
        &'a self,
        namespace: &'a str,
        current: &'a SecretMetadata,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.call(async move {
            let deleted = SecretStore::delete(&*self.world.cluster, namespace, current).await;
            self.world.lock().audit.deleted(deleted.is_ok());
            deleted
        }))
    }
}

impl PodImages for Link {
    fn images<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(self.call(async move {
            let world = self.world.lock();
            let Some(namespace) = world.population.namespaces.get(namespace) else {
                return Ok(Vec::new());
            };
            let images = namespace.used().into_iter();
            let images = images.map(|(used, _)| used.image().to_owned());
            Ok(images.collect())
        }))
    }

    fn page<'a>(
        &'a self,
        namespace: Option<&'a str>,
        next: Option<&'a str>,
    ) -> BoxFuture<'a, Result<PodPage, StoreError>> {
        Box::pin(self.call(async move {
            let world = self.world.lock();
            Ok(world.population.page(namespace, next))
        }))
    }
}

impl TokenSource for Link {
    fn mint<'a>(&'a self, key: &'a TokenKey) -> BoxFuture<'a, Result<Token, MintError>> {
        Box::pin(async move {
            let latency = self.world.lock().rng.u64(50..400);
            sleep(Duration::from_millis(latency)).await;
            let region = REGIONS.iter().position(|region| **region == *key.region);
            let region = region.expect("nobody names another region");
            let failure = if self.life.over.load(Ordering::Relaxed) {
                Some(MintErrorKind::Denied)
            } else {
                self.world.lock().ecr_failure(region)
            };
            let Some(kind) = failure else {
                self.life.minted[region].fetch_add(1, Ordering::Relaxed);
                return Ok(ecr::token(key, &self.world.truth));
            };
            self.life.refused[region].fetch_add(1, Ordering::Relaxed);
            let (takes, error) = ecr::failure(kind);
            sleep(takes).await;
            Err(error)
        })
    }
}
