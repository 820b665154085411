//! One replica: the service as `serve` wires it, its watch, and the processes that follow one another.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecr_admission::admit::{Admission, Settings, Webhook};
use ecr_admission::clock::Clock;
use ecr_admission::commands::assembly::{Assembly, Outside, Rules, assemble};
use ecr_admission::event::NoEvents;
use ecr_admission::namespace::{Namespace, NamespaceIndex};
use ecr_admission::policy::Policy;
use ecr_admission::secret::memory::NamespacePhase;
use ecr_admission::secret::{SecretIndex, SecretMetadata, SecretStore};
use ecr_admission::watch::Mirror;
use futures_util::FutureExt;
use jiff::SignedDuration;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::world::{Life, Link, World};
use crate::support::review::UID;
use crate::support::service::{Answered, SECRET, denying};

/// What the API server waits for, less the margin.
const PATIENCE: Duration = Duration::from_millis(4_500);

/// What a watch delivers.
enum Event {
    Applied(String, SecretMetadata),
    Deleted(String, String),
    Listed(HashSet<String>, String),
    Heard,
}

/// Takes the cluster's events to whichever process of a replica lives, each a little late.
pub(crate) struct Feed {
    world: Arc<World>,
    to: Mutex<Option<UnboundedSender<(Instant, Event)>>>,
    /// The newest version that was heard of.
    version: Mutex<String>,
}

impl Feed {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            to: Mutex::default(),
            version: Mutex::new("1".to_owned()),
        })
    }

    fn send(&self, event: Event) {
        let late = self.world.lock().rng.u64(5..500);
        let at = Instant::now() + Duration::from_millis(late);
        if let Some(to) = &*self.to.lock().unwrap() {
            // A process that has ended listens no more.
            let _ = to.send((at, event));
        }
    }

    /// A complete list of what is there.
    fn list(&self, names: &[String]) {
        let mut keys = HashSet::new();
        for name in names {
            let stored = self.world.cluster.get(name).now_or_never();
            if let Some(Ok(Some(stored))) = stored {
                keys.insert(name.clone());
                self.send(Event::Applied(name.clone(), stored.metadata));
            }
        }
        let version = self.version.lock().unwrap().clone();
        self.send(Event::Listed(keys, version));
        self.send(Event::Heard);
    }
}

impl Mirror<SecretMetadata> for Feed {
    fn apply(&self, key: &str, object: SecretMetadata) {
        self.version
            .lock()
            .unwrap()
            .clone_from(&object.resource_version);
        self.send(Event::Applied(key.to_owned(), object));
    }

    fn delete(&self, key: &str, resource_version: &str) {
        resource_version.clone_into(&mut self.version.lock().unwrap());
        self.send(Event::Deleted(key.to_owned(), resource_version.to_owned()));
    }

    fn listed(&self, _keys: &HashSet<String>, _resource_version: &str) {}

    fn heard(&self) {
        self.send(Event::Heard);
    }
}

/// A process of a replica.
pub(crate) struct Process {
    pub(crate) admission: Arc<Admission>,
    pub(crate) index: Arc<SecretIndex>,
    pub(crate) clock: Clock,
    pub(crate) life: Arc<Life>,
    pub(crate) started: Instant,
    /// How often its clock has jumped.
    pub(crate) jumps: u32,
    namespaces: Arc<NamespaceIndex>,
    tasks: Vec<AbortHandle>,
}

/// One replica, up or down.
pub(crate) struct Replica {
    number: u64,
    world: Arc<World>,
    feed: Arc<Feed>,
    /// How many processes it has had.
    starts: u64,
    pub(crate) process: Option<Process>,
    /// How far its clock is off, where a fault makes it so.
    pub(crate) clock_off: SignedDuration,
}

impl Replica {
    pub(crate) fn new(number: usize, world: &Arc<World>) -> Self {
        let feed = Feed::new(world);
        world.cluster.attach(Arc::clone(&feed) as Arc<_>);
        Self {
            number: number as u64,
            world: Arc::clone(world),
            feed,
            starts: 0,
            process: None,
            clock_off: SignedDuration::ZERO,
        }
    }

    /// Starts a process, which lists and then serves.
    pub(crate) fn start(&mut self) {
        self.starts += 1;
        let (clock, policy) = {
            let mut world = self.world.lock();
            let clock = Clock::simulated(self.world.truth.now(), world.rng.u64(..));
            // Clocks that NTP keeps are still seconds off.
            clock.jump(SignedDuration::from_secs(world.rng.i64(-20..=20)));
            let policy = if world.rng.bool() {
                denying()
            } else {
                Policy::default()
            };
            (clock, policy)
        };
        let link = Link {
            world: Arc::clone(&self.world),
            life: Arc::default(),
        };
        let life = Arc::clone(&link.life);
        let link = Arc::new(link);
        let outside = Outside {
            store: Arc::clone(&link) as Arc<_>,
            pods: Arc::clone(&link) as Arc<_>,
            events: Arc::new(NoEvents),
            tokens: link as Arc<_>,
        };
        let settings = Settings {
            secret: SECRET.to_owned(),
            excluded_namespaces: HashSet::new(),
        };
        let Assembly {
            admission,
            index,
            namespaces,
            rulebook: _,
            events,
            tokens: _,
        } = assemble(
            settings,
            Rules::everywhere(policy),
            &clock,
            outside,
            &mut Registry::default(),
        );
        let (to, from) = unbounded_channel();
        *self.feed.to.lock().unwrap() = Some(to);
        let watch = follow(
            from,
            Arc::clone(&index),
            Arc::clone(&life),
            Arc::clone(&self.world),
        );
        let refresh = {
            let admission = Arc::clone(&admission);
            async move { admission.keep_fresh().await }
        };
        let reconcile = {
            let admission = Arc::clone(&admission);
            async move { admission.reconcile().await }
        };
        let tasks = vec![
            tokio::spawn(watch).abort_handle(),
            tokio::spawn(refresh).abort_handle(),
            tokio::spawn(reconcile).abort_handle(),
            tokio::spawn(async move { events.run().await }).abort_handle(),
        ];
        self.process = Some(Process {
            admission,
            index,
            clock,
            life,
            started: Instant::now(),
            jumps: 0,
            namespaces,
            tasks,
        });
        self.list();
    }

    /// Kills it, and returns what there was.
    pub(crate) fn kill(&mut self) -> Option<Process> {
        let process = self.process.take()?;
        process.life.over.store(true, Ordering::Relaxed);
        for task in &process.tasks {
            task.abort();
        }
        *self.feed.to.lock().unwrap() = None;
        Some(process)
    }

    /// Lists everything, as a watch does that starts or was cut.
    pub(crate) fn list(&self) {
        let Some(process) = &self.process else { return };
        let namespaces: Vec<(String, NamespacePhase)> = {
            let world = self.world.lock();
            let all = world.population.namespaces.iter();
            all.map(|(name, namespace)| (name.clone(), namespace.phase))
                .collect()
        };
        for (name, phase) in &namespaces {
            process.namespace(name, *phase);
        }
        let names: Vec<String> = namespaces.into_iter().map(|(name, _)| name).collect();
        let keys = names.iter().cloned().collect();
        process.namespaces.listed(&keys, "");
        self.feed.list(&names);
    }

    pub(crate) fn cut(&self, cut: bool) {
        if let Some(process) = &self.process {
            process.life.cut.store(cut, Ordering::Relaxed);
            if !cut {
                self.list();
            }
        }
    }

    /// Sets the clock wrong, or right again.
    pub(crate) fn set_clock(&mut self, off: SignedDuration) {
        if let Some(process) = &mut self.process {
            process.clock.jump(off - self.clock_off);
            process.jumps += 1;
            self.clock_off = off;
        }
    }

    /// Which of all processes this is.
    pub(crate) fn name(&self) -> String {
        format!("replica {} (process {})", self.number, self.starts)
    }
}

impl Process {
    /// Tells of a namespace's phase.
    pub(crate) fn namespace(&self, name: &str, phase: NamespacePhase) {
        match phase {
            NamespacePhase::Missing => self.namespaces.delete(name, ""),
            phase => self.namespaces.apply(
                name,
                Namespace {
                    terminating: phase == NamespacePhase::Terminating,
                    ..Namespace::default()
                },
            ),
        }
    }
}

/// What the mutating webhook answers for a Pod with these images.
pub(crate) async fn admit(
    admission: &Admission,
    clock: &Clock,
    namespace: &str,
    images: &[&str],
) -> Answered {
    let containers = images.iter().enumerate();
    let containers = containers.map(|(n, image)| format!(r#"{{"name":"c{n}","image":"{image}"}}"#));
    let body = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"{UID}","kind":{{"group":"",
        "version":"v1","kind":"Pod"}},"namespace":"{namespace}","operation":"CREATE","object":{{"spec":{{"containers":
        [{}]}}}},"dryRun":false}}}}"#,
        containers.collect::<Vec<_>>().join(",")
    );
    let deadline = clock.monotonic() + PATIENCE;
    let answer = admission.answer(Webhook::Mutating, body.as_bytes(), deadline);
    Answered::of(&answer.await.unwrap())
}

/// Delivers events in order until the process ends.
async fn follow(
    mut from: UnboundedReceiver<(Instant, Event)>,
    index: Arc<SecretIndex>,
    life: Arc<Life>,
    world: Arc<World>,
) {
    while let Some((at, event)) = from.recv().await {
        sleep_until(at).await;
        if life.cut.load(Ordering::Relaxed) || world.lock().api_server_down {
            continue;
        }
        match event {
            Event::Applied(namespace, metadata) => index.apply(&namespace, metadata),
            Event::Deleted(namespace, version) => index.delete(&namespace, &version),
            Event::Listed(keys, version) => index.listed(&keys, &version),
            Event::Heard => {}
        }
        index.heard();
    }
}
