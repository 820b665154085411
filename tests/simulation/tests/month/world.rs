//! The cluster that replicas share, and each replica's way to it and to ECR.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ecr_admission::clock::Clock;
use ecr_admission::namespace::Namespace as ANamespace;
use ecr_admission::policy::PolicyVersion;
use ecr_admission::rulebook::{LiveReads, PolicyVersions};
use ecr_admission::secret::memory::{MemorySecretStore, NamespacePhase};
use ecr_admission::secret::{
    PodImages, PodPage, SecretContent, SecretMetadata, SecretStore, StoreError, StoreErrorKind,
    StoredSecret,
};
use ecr_admission::token::{MintError, MintErrorKind, Token, TokenKey, TokenSource};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::audit::Audit;
use super::ecr::{self, REGIONS};
use super::population::{Namespace, Population};
use super::spells::Spells;
use super::tenancy::{TENANTS, Tenancy, Tenant};

/// The Secret's name.
pub(crate) const SECRET: &str = "ecr-pull-secret";
/// When every simulation starts.
const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

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
    /// When ECR answered, whatever else did not work.
    pub(crate) answered: [Spells; REGIONS.len()],
    pub(crate) tenancy: Tenancy,
    /// When the API server worked and every replica heard everything.
    pub(crate) heard: Spells,
    /// Since when some replica has not heard everything, or had not until a moment ago.
    pub(crate) deaf_since: Option<Instant>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let truth = Clock::simulated(START, seed);
        let cluster = Arc::new(MemorySecretStore::new(truth.clone()));
        Arc::new(Self {
            truth,
            inner: Mutex::new(Inner {
                rng: fastrand::Rng::with_seed(seed),
                population: Population::default(),
                audit: Audit::new(&cluster),
                ecr: [None; REGIONS.len()],
                ecr_everywhere: None,
                api_server_down: false,
                flaky: 0,
                spells: Default::default(),
                answered: Default::default(),
                tenancy: Tenancy::new(),
                heard: Spells::default(),
                deaf_since: None,
            }),
            cluster,
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}

impl Inner {
    /// Whether a namespace may hold its tenant's tokens, and since when that is so.
    pub(crate) fn grants(&self, namespace: &Namespace) -> (bool, Instant) {
        let (is_granted, since) = self.tenancy.grants(namespace.tenant);
        (is_granted, since.max(namespace.tenant_since()))
    }

    /// Whether a replica may believe what was before that: it then takes away what others give.
    pub(crate) fn is_doubtful(&self, granted_since: Instant) -> bool {
        self.deaf_since.is_some_and(|deaf| granted_since >= deaf)
    }

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
    /// Whether it hears nothing about namespaces and policies.
    pub(crate) blind: AtomicBool,
    /// Since when it hears nothing about namespaces and policies, or nothing at all.
    pub(crate) deaf_since: Mutex<Option<Instant>>,
    /// By tenant and region.
    pub(crate) minted: [[AtomicU32; REGIONS.len()]; TENANTS],
    pub(crate) refused: [[AtomicU32; REGIONS.len()]; TENANTS],
}

impl Life {
    /// Notes whether anything that it should hear does not reach it.
    pub(crate) fn note(&self) {
        let hears = !self.cut.load(Ordering::Relaxed) && !self.blind.load(Ordering::Relaxed);
        let mut since = self.deaf_since.lock().unwrap();
        *since = (!hears).then(|| since.unwrap_or_else(Instant::now));
    }

    /// Since when something does not.
    pub(crate) fn deaf_since(&self) -> Option<Instant> {
        *self.deaf_since.lock().unwrap()
    }
}

/// One process's way to everything.
#[derive(Clone)]
pub(crate) struct Link {
    world: Arc<World>,
    pub(crate) life: Arc<Life>,
    clock: Clock,
}

impl Link {
    pub(crate) fn new(world: &Arc<World>, clock: &Clock) -> Self {
        Self {
            world: Arc::clone(world),
            life: Arc::default(),
            clock: clock.clone(),
        }
    }

    /// An answer of the API server is dated, in whole seconds.
    pub(crate) fn note_date(&self) {
        let now = self.world.truth.now().as_second();
        self.clock.heard(Timestamp::from_second(now).unwrap());
    }

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
        self.note_date();
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
            let now = self.world.truth.now();
            self.world.lock().wrote(namespace, None, &stored, now);
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
            let before = cluster.get(namespace).await?;
            let stored = SecretStore::update(cluster, namespace, current, content).await;
            let (now, before) = (self.world.truth.now(), before.as_ref());
            self.world.lock().wrote(namespace, before, &stored, now);
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
            let images = namespace.used();
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

impl LiveReads for Link {
    fn namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<ANamespace, StoreError>> {
        Box::pin(self.call(async move {
            let world = self.world.lock();
            let namespace = world.population.namespaces.get(name);
            let namespace = namespace.ok_or_else(|| failed(StoreErrorKind::NamespaceMissing))?;
            Ok(as_watched(namespace))
        }))
    }

    fn policy<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<PolicyVersion>, StoreError>> {
        Box::pin(self.call(async move { Ok(self.world.lock().tenancy.version(name)) }))
    }

    fn policies(&self) -> BoxFuture<'_, Result<Option<PolicyVersions>, StoreError>> {
        Box::pin(self.call(async move { Ok(Some(self.world.lock().tenancy.versions())) }))
    }
}

/// What a watch shows of a namespace.
pub(crate) fn as_watched(namespace: &Namespace) -> ANamespace {
    ANamespace {
        terminating: namespace.phase == NamespacePhase::Terminating,
        labels: namespace.tenant.labels(),
        ..ANamespace::default()
    }
}

impl TokenSource for Link {
    fn mint<'a>(&'a self, key: &'a TokenKey) -> BoxFuture<'a, Result<Token, MintError>> {
        Box::pin(async move {
            let latency = self.world.lock().rng.u64(50..400);
            sleep(Duration::from_millis(latency)).await;
            let region = REGIONS.iter().position(|region| **region == *key.region);
            let region = region.expect("nobody names another region");
            let holder = Tenant::of(&key.identity);
            let failure = if self.life.over.load(Ordering::Relaxed) {
                Some(MintErrorKind::Denied)
            } else {
                self.world.lock().ecr_failure(region)
            };
            let Some(kind) = failure else {
                self.life.minted[holder.number()][region].fetch_add(1, Ordering::Relaxed);
                return Ok(ecr::token(&key.region, holder, &self.world.truth));
            };
            self.life.refused[holder.number()][region].fetch_add(1, Ordering::Relaxed);
            let (takes, error) = ecr::failure(kind);
            sleep(takes).await;
            Err(error)
        })
    }
}
