//! Replicas, a vandal and a judge over one world, all from one seed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ecr_admission::certificate::managed::{Keeper, KeeperParts, Plan};
use ecr_admission::certificate::metrics::CertificateMetrics;
use ecr_admission::clock::Clock;
use ecr_admission::health::{Health, State};
use jiff::{SignedDuration, Timestamp};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::judge::Judge;
use super::world::{CONFIGURATIONS, Link, World};

/// What the simulated cluster is like.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) seed: u64,
    pub(crate) plan: Plan,
    pub(crate) replicas: usize,
    /// The most that a replica's clock is off, either way.
    pub(crate) clock_off: Duration,
    /// The most that an API server is late to hear of a changed configuration.
    pub(crate) late: Duration,
    /// Whether links break, calls fail and replicas die.
    pub(crate) faults: bool,
    /// The time within which our replicas put right what others have changed.
    pub(crate) repair: Duration,
    /// Whether other people change our objects.
    pub(crate) vandalism: bool,
    pub(crate) duration: Duration,
}

struct Replica {
    keeper: Arc<Keeper>,
    health: Health,
    link: Link,
    off: SignedDuration,
    registry: Registry,
    running: JoinHandle<()>,
    /// Since when it has reached the API server without a break.
    connected: Option<Instant>,
    /// The last change of the Secret by others after which it has had time to act.
    knows: Instant,
    back_at: Instant,
}

impl Replica {
    fn rotations(&self) -> u64 {
        let mut page = String::new();
        encode(&mut page, &self.registry).unwrap();
        let lines = page.lines();
        let leaf = lines
            .filter_map(|line| line.strip_prefix("certificate_rotations_total{part=\"leaf\"} "));
        leaf.map(|count| count.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.running.abort();
    }
}

const TICK: Duration = Duration::from_secs(1);

pub(crate) struct Simulation {
    pub(super) setting: Setting,
    pub(super) world: World,
    origin: Instant,
    replicas: Vec<Replica>,
    judge: Judge,
    api_servers: Vec<Duration>,
    done: u64,
    ready_ticks: u64,
    excused_ticks: u64,
    up_at: Instant,
    pub(super) recreate_at: Option<Instant>,
    /// When the Secret was last destroyed.
    pub(super) destroyed: Instant,
    /// The last change by others that somebody has had time to repair.
    pub(super) repaired: Instant,
    seeds: u64,
}

/// What a run has come to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) rotations: u64,
    pub(crate) verifications: usize,
    pub(crate) judgements: usize,
    /// The percentage of the time in which a ready replica was judged without excuse.
    pub(crate) judged: u64,
}

fn start() -> Timestamp {
    "2026-11-21T00:00:00Z".parse().unwrap()
}

impl Simulation {
    pub(crate) fn new(setting: Setting) -> Self {
        let world = World::new(setting.seed);
        let late = u64::try_from(setting.late.as_millis()).unwrap();
        let api_servers = (0..2)
            .map(|_| Duration::from_millis(world.lock().rng.u64(..=late)))
            .collect();
        let before = Instant::now() - setting.repair;
        let mut simulation = Self {
            origin: Instant::now(),
            replicas: Vec::new(),
            judge: Judge::default(),
            api_servers,
            done: 0,
            ready_ticks: 0,
            excused_ticks: 0,
            up_at: Instant::now(),
            recreate_at: None,
            destroyed: before,
            repaired: before,
            seeds: setting.seed.wrapping_mul(1_000_003),
            world,
            setting,
        };
        for _ in 0..simulation.setting.replicas {
            let replica = simulation.replica();
            simulation.replicas.push(replica);
        }
        simulation
    }

    fn now(&self) -> Timestamp {
        ecr_admission::clock::add(start(), self.origin.elapsed())
    }

    fn replica(&mut self) -> Replica {
        self.seeds += 1;
        let most = i64::try_from(self.setting.clock_off.as_millis()).unwrap();
        let off = SignedDuration::from_millis(self.world.lock().rng.i64(-most..=most));
        let clock = Clock::simulated(self.now() + off, self.seeds);
        let health = Health::default();
        let mut registry = Registry::default();
        let link = self.world.link();
        let parts = KeeperParts {
            store: Arc::new(link.clone()),
            configurations: Arc::new(link.clone()),
            changed: Arc::clone(&link.changed),
            clock,
            metrics: CertificateMetrics::register_managed(&mut registry),
        };
        let keeper = Arc::new(Keeper::new(self.setting.plan.clone(), parts, &health));
        let running = Arc::clone(&keeper);
        Replica {
            running: tokio::spawn(async move { running.run().await }),
            keeper,
            health,
            link,
            off,
            registry,
            connected: None,
            knows: self.world.lock().secret_edit,
            back_at: Instant::now(),
        }
    }

    /// Runs to the end; panics with the seed when the invariant does not hold.
    pub(crate) async fn run(mut self) -> Outcome {
        while self.origin.elapsed() < self.setting.duration {
            sleep(TICK).await;
            self.recover();
            self.something_happens();
            self.judge_all();
        }
        self.come_to_rest().await;
        Outcome {
            rotations: self.done + self.replicas.iter().map(Replica::rotations).sum::<u64>(),
            verifications: self.judge.verifications,
            judgements: self.judge.judgements,
            judged: 100 * (self.ready_ticks - self.excused_ticks) / self.ready_ticks,
        }
    }

    /// Ends faults whose time has come.
    fn recover(&mut self) {
        let now = Instant::now();
        for replica in &mut self.replicas {
            if now >= replica.back_at {
                replica.link.cut.store(false, Ordering::Relaxed);
            }
        }
        if now >= self.up_at {
            self.world.lock().down = false;
        }
        if self.recreate_at.is_some_and(|at| now >= at) {
            self.recreate_at = None;
            for which in 0..CONFIGURATIONS {
                let mut world = self.world.lock();
                if world.configuration(which).is_none() {
                    world.set_configuration(which, Some(vec![Vec::new(); 1 + which]));
                    world.bundle_edit = now;
                }
            }
        }
        let repair = self.setting.repair;
        for replica in &mut self.replicas {
            replica.connected = match (replica.link.is_up(), replica.connected) {
                (true, None) => Some(now),
                (true, since) => since,
                (false, _) => None,
            };
            let edit = self.world.lock().secret_edit;
            if replica
                .connected
                .is_some_and(|since| now - since.max(edit) >= repair)
            {
                replica.knows = edit;
            }
        }
    }

    fn something_happens(&mut self) {
        let now = Instant::now();
        let life = self.setting.plan.leaf_life;
        let (dice, which, long) = {
            let rng = &mut self.world.lock().rng;
            (
                rng.u32(..8_000),
                rng.usize(..self.replicas.len()),
                rng.f64() * 2.0,
            )
        };
        match dice {
            0..26 if !self.setting.faults => {}
            0..8 => {
                // For up to twice the life of a leaf.
                self.replicas[which].link.cut.store(true, Ordering::Relaxed);
                self.replicas[which].back_at = now + life.mul_f64(long);
            }
            8..10 => {
                self.world.lock().down = true;
                self.up_at = now + life.mul_f64(long * 0.8);
            }
            10..20 => {
                self.done += self.replicas[which].rotations();
                self.replicas[which] = self.replica();
            }
            20..22 => {
                for which in 0..self.replicas.len() {
                    self.done += self.replicas[which].rotations();
                    self.replicas[which] = self.replica();
                }
            }
            22..26 => {
                let failing = [0, 0, 5, 10];
                let mut world = self.world.lock();
                let failing = failing[world.rng.usize(..failing.len())];
                world.failing = failing;
            }
            26..60 if self.setting.vandalism => self.vandalism(dice),
            _ => {}
        }
    }

    fn judge_all(&mut self) {
        let (now, monotonic) = (self.now(), Instant::now());
        let (bundle_edit, secret_edit) = {
            let world = self.world.lock();
            (world.bundle_edit, world.secret_edit)
        };
        let edit = bundle_edit.max(secret_edit);
        let repair = self.setting.repair;
        if self.replicas.iter().any(|replica| {
            let since = replica.connected;
            since.is_some_and(|since| monotonic - since.max(edit) >= repair)
        }) {
            self.repaired = edit;
        }
        for index in 0..self.replicas.len() {
            let replica = &self.replicas[index];
            if !replica.health.report().ready {
                continue;
            }
            self.ready_ticks += 1;
            if self.repaired != edit || replica.knows != secret_edit {
                self.excused_ticks += 1;
                continue;
            }
            self.judge_one(index, now);
        }
    }

    fn judge_one(&mut self, index: usize, now: Timestamp) {
        let replica = &self.replicas[index];
        let pair = replica.keeper.served().current();
        let pair = pair.unwrap_or_else(|| panic!("seed {}: ready with nothing", self.setting.seed));
        let world = self.world.lock();
        for which in 0..CONFIGURATIONS {
            for late in &self.api_servers {
                for bundle in world.seen(which, *late).into_iter().flatten() {
                    let verdict = self.judge.accepts(&pair, bundle, now, replica.off);
                    if let Err(reason) = verdict {
                        panic!(
                            "seed {}: at {now} ({:?} after the start) replica {index} is ready, and an API server that \
                             is {late:?} late refuses its leaf by configuration {which}: {reason}",
                            self.setting.seed,
                            self.origin.elapsed(),
                        );
                    }
                }
            }
        }
    }

    /// When everybody leaves us alone, all is well within a minute or two, wherever we come from.
    async fn come_to_rest(&mut self) {
        self.up_at = Instant::now();
        self.recreate_at = self.recreate_at.map(|_| Instant::now());
        self.world.lock().failing = 0;
        for replica in &mut self.replicas {
            replica.back_at = Instant::now();
        }
        self.recover();
        sleep(self.setting.plan.propagation + self.setting.repair).await;
        let (now, seed) = (self.now(), self.setting.seed);
        for index in 0..self.replicas.len() {
            let report = self.replicas[index].health.report();
            assert!(
                report.ready,
                "seed {seed}: replica {index} stays unready: {report:?}"
            );
            let well = report.lines.iter().all(|line| line.state == State::Ok);
            assert!(
                well,
                "seed {seed}: replica {index} stays degraded: {report:?}"
            );
            self.judge_one(index, now);
        }
    }
}
