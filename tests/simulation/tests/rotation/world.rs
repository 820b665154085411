//! A cluster in memory, with everything that can go wrong with it: what replicas reach over unreliable links, what API
//! servers see with a delay, and what other people do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ecr_admission::certificate::managed::{
    CertificateStore, Configuration, SecretData, StoredCertificate, WebhookConfigurations,
};
use ecr_admission::secret::{StoreError, StoreErrorKind};
use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// The `caBundle` of each webhook of a configuration.
pub(crate) type Bundles = Vec<Vec<u8>>;

/// How long the past of the configurations is kept: longer than any API server's delay.
const PAST: Duration = Duration::from_mins(2);
/// The names of both configurations.
pub(crate) const CONFIGURATIONS: usize = 2;

/// Shared by all replicas, the judge and the vandal.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<Inner>>);

pub(crate) struct Inner {
    pub(crate) rng: fastrand::Rng,
    version: u64,
    secret: Option<(u64, SecretData)>,
    /// Every Secret that there ever was, a few of them.
    pub(crate) backups: Vec<SecretData>,
    configurations: [Option<(u64, Bundles)>; CONFIGURATIONS],
    past: [VecDeque<(Instant, Option<Bundles>)>; CONFIGURATIONS],
    /// When somebody else last changed a configuration, and our Secret.
    pub(crate) bundle_edit: Instant,
    pub(crate) secret_edit: Instant,
    /// How many calls in a hundred fail, before or after they have had their effect.
    pub(crate) failing: u8,
    /// Whether the API server answers anybody.
    pub(crate) down: bool,
    wakes: Vec<Arc<Notify>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Inner {
            rng: fastrand::Rng::with_seed(seed),
            version: 1,
            secret: None,
            backups: Vec::new(),
            configurations: [Some((1, vec![Vec::new()])), Some((1, vec![Vec::new(); 2]))],
            past: [0, 1].map(|_| VecDeque::new()),
            bundle_edit: now,
            secret_edit: now,
            failing: 0,
            down: false,
            wakes: Vec::new(),
        })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    pub(crate) fn link(&self) -> Link {
        let changed = Arc::new(Notify::new());
        self.lock().wakes.push(Arc::clone(&changed));
        Link {
            world: self.clone(),
            cut: Arc::default(),
            changed,
        }
    }
}

impl Inner {
    fn changed(&mut self) {
        for wake in self.wakes.clone() {
            // A watch may be late, or broken: then only polling helps.
            if self.rng.u8(..100) >= self.failing {
                wake.notify_one();
            }
        }
    }

    pub(crate) fn secret(&self) -> Option<&SecretData> {
        self.secret.as_ref().map(|(_, data)| data)
    }

    pub(crate) fn set_secret(&mut self, data: Option<SecretData>) {
        self.version += 1;
        if let Some(data) = &data
            && (self.backups.len() < 8 || self.rng.u8(..10) == 0)
        {
            self.backups.push(data.clone());
        }
        self.secret = data.map(|data| (self.version, data));
        self.changed();
    }

    pub(crate) fn configuration(&self, which: usize) -> Option<&Bundles> {
        self.configurations[which]
            .as_ref()
            .map(|(_, bundles)| bundles)
    }

    pub(crate) fn set_configuration(&mut self, which: usize, bundles: Option<Bundles>) {
        self.version += 1;
        let now = Instant::now();
        let before = self.configuration(which).cloned();
        let past = &mut self.past[which];
        past.push_back((now, before));
        while past.front().is_some_and(|(until, _)| now - *until > PAST) {
            past.pop_front();
        }
        self.configurations[which] = bundles.map(|bundles| (self.version, bundles));
        self.changed();
    }

    /// What an API server sees that hears of changes so much later.
    pub(crate) fn seen(&self, which: usize, late: Duration) -> Option<&Bundles> {
        let at = Instant::now() - late;
        let then = self.past[which].iter().find(|(until, _)| *until > at);
        match then {
            Some((_, bundles)) => bundles.as_ref(),
            None => self.configuration(which),
        }
    }
}

/// One replica's way to the API server.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) world: World,
    /// Whether it is cut.
    pub(crate) cut: Arc<std::sync::atomic::AtomicBool>,
    pub(crate) changed: Arc<Notify>,
}

impl Link {
    pub(crate) fn is_up(&self) -> bool {
        !self.cut.load(std::sync::atomic::Ordering::Relaxed) && !self.world.lock().down
    }

    /// One call, which may fail, and may have had its effect all the same.
    async fn call<T>(
        &self,
        call: impl FnOnce(&mut Inner) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (there, back) = {
            let rng = &mut self.world.lock().rng;
            (rng.u64(1..200), rng.u64(1..200))
        };
        sleep(Duration::from_millis(there)).await;
        if !self.is_up() {
            sleep(Duration::from_secs(3)).await;
            return Err(failed(StoreErrorKind::TimedOut));
        }
        let answer = {
            let mut world = self.world.lock();
            let failing = world.failing;
            if world.rng.u8(..100) < failing {
                return Err(failed(StoreErrorKind::Unavailable));
            }
            let answer = call(&mut world);
            if world.rng.u8(..100) < failing {
                return Err(failed(StoreErrorKind::TimedOut));
            }
            answer
        };
        sleep(Duration::from_millis(back)).await;
        answer
    }
}

fn failed(kind: StoreErrorKind) -> StoreError {
    StoreError {
        kind,
        message: format!("the API server did not do it: {kind:?}"),
    }
}

impl CertificateStore for Link {
    fn read(&self) -> BoxFuture<'_, Result<Option<StoredCertificate>, StoreError>> {
        Box::pin(self.call(|world| {
            let stored = world.secret.as_ref();
            Ok(stored.map(|(version, data)| StoredCertificate {
                version: version.to_string(),
                owned: true,
                writable: true,
                data: data.clone(),
            }))
        }))
    }

    fn create<'a>(&'a self, data: &'a SecretData) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.call(|world| {
            if world.secret.is_some() {
                return Err(failed(StoreErrorKind::AlreadyExists));
            }
            world.set_secret(Some(data.clone()));
            Ok(())
        }))
    }

    fn update<'a>(
        &'a self,
        version: &'a str,
        data: &'a SecretData,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.call(move |world| match &world.secret {
            None => Err(failed(StoreErrorKind::NotFound)),
            Some((now, _)) if now.to_string() != version => Err(failed(StoreErrorKind::Conflict)),
            Some(_) => {
                world.set_secret(Some(data.clone()));
                Ok(())
            }
        }))
    }
}

impl WebhookConfigurations for Link {
    fn read(&self) -> BoxFuture<'_, Result<Vec<Configuration>, StoreError>> {
        Box::pin(self.call(|world| {
            let all = world.configurations.iter().enumerate();
            let all = all.filter_map(|(handle, configuration)| {
                let (version, bundles) = configuration.as_ref()?;
                Some(Configuration {
                    title: format!("configuration {handle}"),
                    handle,
                    version: version.to_string(),
                    bundles: bundles.clone(),
                })
            });
            Ok(all.collect())
        }))
    }

    fn write<'a>(
        &'a self,
        configuration: &'a Configuration,
        bundle: &'a str,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.call(move |world| {
            let which = configuration.handle;
            match &world.configurations[which] {
                None => Err(failed(StoreErrorKind::NotFound)),
                Some((now, _)) if now.to_string() != configuration.version => {
                    Err(failed(StoreErrorKind::Conflict))
                }
                Some((_, bundles)) => {
                    let bundles = vec![bundle.as_bytes().to_vec(); bundles.len()];
                    world.set_configuration(which, Some(bundles));
                    Ok(())
                }
            }
        }))
    }
}
