//! One replica: the service as `serve` wires it, its watch, and the processes that follow one another.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecr_admission::admit::{Admission, Settings, Timing, Webhook};
use ecr_admission::assembly::{Assembly, Outside, Rules, assemble};
use ecr_admission::clock::Clock;
use ecr_admission::event::NoEvents;
use ecr_admission::namespace::{Namespace, NamespaceIndex};
use ecr_admission::policy::{OnFailure, Policy, PolicySet};
use ecr_admission::rulebook::{PolicyVersions, Rulebook};
use ecr_admission::secret::{SecretIndex, SecretMetadata};
use ecr_admission::watch::Mirror;
use jiff::SignedDuration;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::answer::{Answer, UID};
use super::ecr::{Outages, REGIONS};
use super::world::{Life, Link, SECRET, World, as_watched};

/// What the API server waits for, less the margin.
const PATIENCE: Duration = Duration::from_millis(4_500);

/// What a watch delivers.
enum Event {
    Applied(String, SecretMetadata),
    Deleted(String, String),
    Listed(BTreeMap<String, SecretMetadata>, String),
    Namespace(String, Option<Namespace>),
    Policies(PolicyVersions, Box<PolicySet>),
    Heard,
}

/// Takes the cluster's events to whichever process of a replica lives, each a little late.
pub(crate) struct Feed {
    world: Arc<World>,
    to: Mutex<Option<Channel>>,
}

/// The way to one process.
struct Channel {
    sender: UnboundedSender<(Instant, Event)>,
    /// When something was last sent.
    used: Option<Instant>,
}

impl Feed {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            to: Mutex::default(),
        })
    }

    fn send(&self, event: Event) {
        let now = Instant::now();
        if let Some(channel) = &mut *self.to.lock().unwrap() {
            let late = self.world.lock().rng.u64(5..500);
            let at = now + Duration::from_millis(late);
            // A process that has ended listens no more.
            let _ = channel.sender.send((at, event));
            channel.used = Some(now);
        }
    }

    /// A complete list of what is there.
    fn list(&self) {
        let (secrets, version) = self.world.cluster.list();
        self.send(Event::Listed(secrets, version));
    }
}

impl Mirror<SecretMetadata> for Feed {
    fn apply(&self, key: &str, object: SecretMetadata) {
        self.send(Event::Applied(key.to_owned(), object));
    }

    fn delete(&self, key: &str, resource_version: &str) {
        self.send(Event::Deleted(key.to_owned(), resource_version.to_owned()));
    }

    fn listed(&self, _keys: &HashSet<String>, _resource_version: &str) {}

    fn heard(&self) {
        // Every event says it too.
        let now = Some(Instant::now());
        let is_said = |channel: &Channel| channel.used == now;
        if !self.to.lock().unwrap().as_ref().is_some_and(is_said) {
            self.send(Event::Heard);
        }
    }
}

/// A process of a replica.
pub(crate) struct Process {
    pub(crate) admission: Arc<Admission>,
    pub(crate) index: Arc<SecretIndex>,
    pub(crate) clock: Clock,
    pub(crate) life: Arc<Life>,
    link: Arc<Link>,
    pub(crate) started: Instant,
    /// How often its clock has jumped.
    pub(crate) jumps: u32,
    pub(crate) outages: [Outages; REGIONS.len()],
    namespaces: Arc<NamespaceIndex>,
    /// What the settings say, besides policies.
    base: Policy,
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
    clock_off: SignedDuration,
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
        let (clock, base, policies, in_force) = {
            let mut world = self.world.lock();
            let clock = Clock::simulated(self.world.truth.now(), world.rng.u64(..));
            // Clocks that NTP keeps are still seconds off.
            let seconds = SignedDuration::from_secs(world.rng.i64(-20..=20));
            clock.jump(self.clock_off + seconds);
            let on_failure = if world.rng.bool() {
                OnFailure::Deny
            } else {
                OnFailure::Admit
            };
            let policy = Policy {
                on_failure,
                ..Policy::default()
            };
            let policies = world.tenancy.set(policy.clone());
            (clock, policy, policies, world.tenancy.versions())
        };
        let link = Arc::new(Link::new(&self.world, &clock));
        let life = Arc::clone(&link.life);
        let outside = Outside {
            store: Arc::clone(&link) as Arc<_>,
            pods: Arc::clone(&link) as Arc<_>,
            events: Arc::new(NoEvents),
            tokens: Arc::clone(&link) as Arc<_>,
        };
        let settings = Settings {
            secret: SECRET.to_owned(),
            excluded_namespaces: BTreeSet::new(),
        };
        let rules = Rules {
            policies,
            tell_apart: true,
            live: Arc::clone(&link) as Arc<_>,
        };
        let Assembly {
            admission,
            index,
            namespaces,
            rulebook,
            events,
            tokens: _,
        } = assemble(settings, rules, &clock, outside, &mut Registry::default());
        let (sender, from) = unbounded_channel();
        *self.feed.to.lock().unwrap() = Some(Channel { sender, used: None });
        let watch = follow(
            from,
            Mirrors {
                index: Arc::clone(&index),
                namespaces: Arc::clone(&namespaces),
                rulebook,
                in_force,
            },
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
            link,
            started: Instant::now(),
            jumps: 0,
            outages: Default::default(),
            namespaces,
            base,
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
        if let Some(process) = &self.process
            && !self.world.lock().api_server_down
        {
            process.link.note_date();
        }
        self.list_namespaces();
        self.hand_out_policies();
        self.feed.list();
    }

    fn list_namespaces(&self) {
        let Some(process) = &self.process else { return };
        if process.life.blind.load(Ordering::Relaxed) {
            return;
        }
        let namespaces: Vec<(String, Namespace)> = {
            let world = self.world.lock();
            let all = world.population.namespaces.iter();
            all.map(|(name, namespace)| (name.clone(), as_watched(namespace)))
                .collect()
        };
        let keys = namespaces.iter().map(|(name, _)| name.clone()).collect();
        for (name, namespace) in namespaces {
            process.namespaces.apply(&name, namespace);
        }
        process.namespaces.listed(&keys, "");
    }

    /// Tells of a namespace that has changed or is gone.
    pub(crate) fn namespace(&self, name: &str) {
        let world = self.world.lock();
        let namespace = world.population.namespaces.get(name).map(as_watched);
        drop(world);
        self.feed.send(Event::Namespace(name.to_owned(), namespace));
    }

    /// Tells of the policies that there are.
    pub(crate) fn hand_out_policies(&self) {
        if let Some(process) = &self.process {
            let world = self.world.lock();
            let versions = world.tenancy.versions();
            let policies = Box::new(world.tenancy.set(process.base.clone()));
            drop(world);
            self.feed.send(Event::Policies(versions, policies));
        }
    }

    /// Lets it hear nothing about namespaces and policies, or all of it.
    pub(crate) fn blind(&self, blind: bool) {
        if let Some(process) = &self.process {
            process.life.blind.store(blind, Ordering::Relaxed);
            process.life.note();
            if !blind {
                self.list_namespaces();
                self.hand_out_policies();
            }
        }
    }

    pub(crate) fn cut(&self, cut: bool) {
        if let Some(process) = &self.process {
            process.life.cut.store(cut, Ordering::Relaxed);
            process.life.note();
            if !cut {
                self.list();
            }
        }
    }

    /// Sets the clock wrong, or right again.
    pub(crate) fn set_clock(&mut self, off: SignedDuration) {
        let before = std::mem::replace(&mut self.clock_off, off);
        if let Some(process) = &mut self.process {
            process.clock.jump(off - before);
            process.jumps += 1;
        }
    }

    /// Which of all processes this is.
    pub(crate) fn name(&self) -> String {
        format!("replica {} (process {})", self.number, self.starts)
    }
}

/// What the mutating webhook answers for a Pod with these images.
pub(crate) async fn admit(
    admission: &Admission,
    clock: &Clock,
    namespace: &str,
    images: &[&str],
) -> Answer {
    let containers = images.iter().enumerate();
    let containers = containers.map(|(n, image)| format!(r#"{{"name":"c{n}","image":"{image}"}}"#));
    let body = format!(
        r#"{{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{{"uid":"{UID}","kind":{{"group":"",
        "version":"v1","kind":"Pod"}},"namespace":"{namespace}","operation":"CREATE","object":{{"spec":{{"containers":
        [{}]}}}},"dryRun":false}}}}"#,
        containers.collect::<Vec<_>>().join(",")
    );
    let timing = Timing::within(PATIENCE, clock);
    let answer = admission.answer(Webhook::Mutating, body.as_bytes(), timing);
    Answer::read(&answer.await.unwrap())
}

/// What one process knows of the cluster.
struct Mirrors {
    index: Arc<SecretIndex>,
    namespaces: Arc<NamespaceIndex>,
    rulebook: Arc<Rulebook>,
    /// The policies in force: the same ones are not put in force anew.
    in_force: PolicyVersions,
}

impl Mirrors {
    fn take_in(&mut self, event: Event, blind: bool) {
        match event {
            Event::Namespace(..) | Event::Policies(..) if blind => {}
            Event::Namespace(name, Some(namespace)) => self.namespaces.apply(&name, namespace),
            Event::Namespace(name, None) => self.namespaces.delete(&name, ""),
            Event::Policies(versions, policies) => {
                if self.in_force != versions {
                    self.rulebook.replace(*policies);
                    self.in_force = versions;
                }
            }
            Event::Applied(namespace, metadata) => self.index.apply(&namespace, metadata),
            Event::Deleted(namespace, version) => self.index.delete(&namespace, &version),
            Event::Listed(secrets, version) => {
                let keys = secrets.keys().cloned().collect();
                for (namespace, metadata) in secrets {
                    self.index.apply(&namespace, metadata);
                }
                self.index.listed(&keys, &version);
            }
            Event::Heard => {}
        }
        self.index.heard();
    }
}

/// Delivers events in order until the process ends.
async fn follow(
    mut from: UnboundedReceiver<(Instant, Event)>,
    mut mirrors: Mirrors,
    life: Arc<Life>,
    world: Arc<World>,
) {
    while let Some((at, event)) = from.recv().await {
        sleep_until(at).await;
        if life.cut.load(Ordering::Relaxed) || world.lock().api_server_down {
            continue;
        }
        mirrors.take_in(event, life.blind.load(Ordering::Relaxed));
    }
}
