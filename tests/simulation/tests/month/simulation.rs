//! The loop: a minute at a time, faults begin and end, namespaces and Pods come and go, and all of it is judged.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Setting;
use super::admissions::{Admitted, SETTLED};
use super::audit::Around;
use super::ecr::REGIONS;
use super::faults::{Fault, Faults};
use super::outcome::Outcome;
use super::replica::{Process, Replica};
use super::world::{Inner, World};

const MINUTE: Duration = Duration::from_mins(1);
/// How often people act, in minutes: that many minutes' worth of it each time.
pub(super) const LIVED_EVERY: u32 = 5;
/// How often everything is judged.
const JUDGED_EVERY: u32 = 15;
pub(crate) struct Simulation {
    pub(super) setting: Setting,
    pub(super) world: Arc<World>,
    pub(super) replicas: Vec<Replica>,
    faults: Faults,
    /// How far all clocks are off, where a fault makes them so.
    clocks_off: SignedDuration,
    pub(super) outcome: Outcome,
    pub(super) hasher: DefaultHasher,
    pub(super) admissions: JoinSet<Admitted>,
}

impl Simulation {
    pub(crate) fn new(setting: Setting) -> Self {
        let world = World::new(setting.seed);
        let faults = Faults::new(setting.replicas, &mut world.lock().rng);
        let replicas = (0..setting.replicas).map(|number| Replica::new(number, &world));
        Self {
            setting,
            replicas: replicas.collect(),
            faults,
            clocks_off: SignedDuration::ZERO,
            world,
            outcome: Outcome::default(),
            hasher: DefaultHasher::new(),
            admissions: JoinSet::new(),
        }
    }

    pub(crate) async fn run(mut self) -> Outcome {
        let started = Instant::now();
        let bookmarks = {
            let cluster = Arc::clone(&self.world.cluster);
            tokio::spawn(async move { cluster.bookmarks().await })
        };
        for replica in &mut self.replicas {
            replica.start();
        }
        for minute in 1..=self.setting.days * 24 * 60 {
            self.break_and_mend();
            self.observe();
            if minute % LIVED_EVERY == 1 {
                // Nobody changes a cluster whose API server is gone.
                if !self.world.lock().api_server_down {
                    self.live();
                }
                self.create_pods();
            }
            sleep_until(started + MINUTE * minute).await;
            while let Some(admitted) = self.admissions.try_join_next() {
                self.judge_admission(admitted.unwrap());
            }
            let breach = self.world.lock().audit.breach.take();
            assert!(breach.is_none(), "{}", breach.unwrap_or_default());
            if minute % JUDGED_EVERY == 0 {
                self.inspect();
            }
            if minute % (24 * 60) == 0 {
                let memory = resident_mebibytes();
                println!("day {}: {memory} MiB", minute / (24 * 60));
                self.outcome.memory.push(memory);
            }
        }
        bookmarks.abort();
        self.finish()
    }

    fn break_and_mend(&mut self) {
        let due = {
            let rng = &mut self.world.lock().rng;
            self.faults.due(Instant::now(), rng)
        };
        for (fault, begins) in due {
            let (when, what) = (
                self.world.truth.now(),
                if begins { "begins" } else { "ends" },
            );
            println!("{when}: {fault:?} {what}");
            self.apply(fault, begins);
            format!("{fault:?} {begins}").hash(&mut self.hasher);
        }
    }

    fn apply(&mut self, fault: Fault, begins: bool) {
        match fault {
            Fault::Ecr(Some(region), kind) => {
                self.world.lock().ecr[region] = begins.then_some(kind);
            }
            Fault::Ecr(None, kind) => self.world.lock().ecr_everywhere = begins.then_some(kind),
            Fault::ApiServer => {
                self.world.lock().api_server_down = begins;
                if !begins {
                    self.replicas.iter().for_each(Replica::list);
                }
            }
            Fault::Flaky(percent) => self.world.lock().flaky = if begins { percent } else { 0 },
            Fault::Watch(replica) => self.replicas[replica].cut(begins),
            Fault::Blind(replica) => self.replicas[replica].blind(begins),
            Fault::Policy(tenant) => {
                self.world.lock().tenancy.post(tenant, !begins);
                self.replicas.iter().for_each(Replica::hand_out_policies);
            }
            Fault::Crash(replica) => self.crash(replica, begins),
            Fault::Outage => {
                for replica in 0..self.replicas.len() {
                    self.crash(replica, begins);
                }
            }
            Fault::Clock(replica, off) => {
                let off = if begins { off } else { SignedDuration::ZERO };
                self.replicas[replica].set_clock(off);
            }
            Fault::Clocks(off) => {
                let off = if begins { off } else { SignedDuration::ZERO };
                self.clocks_off = off;
                for replica in &mut self.replicas {
                    replica.set_clock(off);
                }
            }
        }
    }

    fn crash(&mut self, number: usize, begins: bool) {
        let replica = &mut self.replicas[number];
        if begins {
            if let Some(process) = replica.kill() {
                let name = replica.name();
                self.outcome.crashes += 1;
                self.account(&process, &name);
            }
            // The next one is on another machine.
            self.replicas[number].set_clock(self.clocks_off);
        } else if replica.process.is_none() {
            replica.start();
        }
    }

    /// What a process asked ECR for must be in proportion to how long it lived.
    fn account(&mut self, process: &Process, name: &str) {
        let lived = process.started.elapsed();
        let half_lives = lived.as_secs_f64() / (6.0 * 60.0 * 60.0);
        let minted = process.life.minted.iter().flatten();
        let refused = process.life.refused.iter().flatten();
        let regions = REGIONS.iter().zip(&process.outages).cycle();
        for ((region, outages), (minted, refused)) in regions.zip(minted.zip(refused)) {
            let minted = minted.load(Ordering::Relaxed);
            let refused = refused.load(Ordering::Relaxed);
            let most = half_lives + 2.0 + 2.0 * f64::from(process.jumps);
            assert!(
                f64::from(minted) <= most,
                "{name} made {minted} tokens of {region} in {lived:?}, {} jumps of its clock included",
                process.jumps
            );
            assert!(
                refused <= outages.excuse(),
                "{name} asked {refused} times in vain for a token of {region} in {lived:?}, which excuses {}",
                outages.excuse()
            );
            self.outcome.minted += minted;
            self.outcome.mints_failed += refused;
        }
    }

    /// Notes whether everything works now.
    fn observe(&mut self) {
        let somebody = self
            .replicas
            .iter()
            .any(|replica| replica.process.is_some());
        let mut world = self.world.lock();
        let cluster = somebody && !world.api_server_down && world.flaky == 0;
        let processes = self.replicas.iter().filter_map(|one| one.process.as_ref());
        let deaf_since = processes
            .clone()
            .filter_map(|one| one.life.deaf_since())
            .min();
        // One that hears of nothing puts back what others take away.
        let now = Instant::now();
        world.heard.observe(cluster && deaf_since.is_none(), now);
        let before = world.deaf_since;
        let recently = before.filter(|_| world.heard.lasting(now) < SETTLED);
        let still = before.filter(|_| deaf_since.is_some());
        let since = [deaf_since, recently, still];
        world.deaf_since = since.into_iter().flatten().min();
        for region in 0..REGIONS.len() {
            let fails = world.ecr_failure(region).is_some();
            world.spells[region].observe(cluster && !fails, now);
            world.answered[region].observe(!fails, now);
            let up = self.replicas.iter_mut();
            for process in up.filter_map(|replica| replica.process.as_mut()) {
                process.outages[region].note(fails);
            }
        }
    }

    fn inspect(&mut self) {
        let mut world = self.world.lock();
        let Inner {
            population,
            tenancy,
            audit,
            spells,
            answered,
            heard,
            ..
        } = &mut *world;
        let around = Around {
            population,
            tenancy,
            spells,
            answered,
            heard,
        };
        audit.inspect(&around, &self.world.truth);
        (audit.writes, audit.conflicts, audit.excused).hash(&mut self.hasher);
        self.outcome.held_minutes += audit.entries() as u64 * u64::from(JUDGED_EVERY);
        let most = population.namespaces.len();
        for process in self
            .replicas
            .iter()
            .filter_map(|replica| replica.process.as_ref())
        {
            let known = process.index.len();
            assert!(
                known <= most + most / 10 + 10,
                "{known} Secrets known, {most} namespaces"
            );
        }
    }

    fn finish(mut self) -> Outcome {
        for number in 0..self.replicas.len() {
            if let Some(process) = self.replicas[number].kill() {
                let name = self.replicas[number].name();
                self.account(&process, &name);
            }
        }
        let world = self.world.lock();
        let audit = &world.audit;
        let outcome = &mut self.outcome;
        outcome.digest = self.hasher.finish();
        (outcome.judged, outcome.excused, outcome.healed) =
            (audit.judged, audit.excused, audit.healed);
        (outcome.writes, outcome.conflicts, outcome.deletions) =
            (audit.writes, audit.conflicts, audit.deletions);
        std::mem::take(outcome)
    }
}

/// Linux tells it in pages of 4 KiB (proc_pid_statm(5)); elsewhere it is unknown.
fn resident_mebibytes() -> u64 {
    let told = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = told.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(0_u64) / 256
}
