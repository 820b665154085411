//! Pods are created, and what each is told is judged.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ecr_admission::secret::memory::NamespacePhase;
use jiff::SignedDuration;
use tokio::time::{Instant, sleep_until};

use super::answer::Answer;
use super::population::{Kind, Registry};
use super::replica::{Replica, admit};
use super::simulation::{LIVED_EVERY, Simulation};
use super::world::Inner;

/// For how long everything must have worked before a Pod may no longer be admitted with a warning: a failure is
/// remembered for a minute, and a refusal of the API server for longer.
pub(super) const SETTLED: Duration = Duration::from_mins(6);

/// The longest time between two surveys.
const SURVEYED: Duration = Duration::from_mins(66);

/// What became of a Pod.
pub(super) struct Admitted {
    namespace: String,
    registries: Vec<Registry>,
    by: String,
    asked: Instant,
    /// The process ended meanwhile, and has answered nobody.
    died: bool,
    answer: Answer,
}

impl Simulation {
    /// Asks any replica that is there; where none is, the Pod runs all the same (failurePolicy Ignore), injected by the
    /// API server's own policy.
    pub(super) fn create_pods(&mut self) {
        let now = Instant::now();
        let mut world = self.world.lock();
        let Inner {
            population, rng, ..
        } = &mut *world;
        let up = self
            .replicas
            .iter()
            .filter(|replica| replica.process.is_some());
        let up: Vec<&Replica> = up.collect();
        for name in population.busy(LIVED_EVERY, now, rng) {
            let Some(namespace) = population.namespaces.get_mut(&name) else {
                continue;
            };
            let registries = namespace.pick(rng);
            if up.is_empty() {
                namespace.run(registries, rng);
                self.outcome.unasked += 1;
                continue;
            }
            let replica = up[rng.usize(..up.len())];
            let Some(process) = &replica.process else {
                continue;
            };
            let (admission, clock) = (Arc::clone(&process.admission), process.clock.clone());
            let life = Arc::clone(&process.life);
            let by = replica.name();
            // Not in the last seconds, so that it is over when people act next.
            let at = now + Duration::from_secs(60 * u64::from(LIVED_EVERY) - 10).mul_f64(rng.f64());
            self.admissions.spawn(async move {
                sleep_until(at).await;
                let images: Vec<&str> = registries.iter().map(|used| used.image()).collect();
                let answer = admit(&admission, &clock, &name, &images).await;
                Admitted {
                    answer,
                    namespace: name,
                    registries,
                    by,
                    died: life.over.load(Ordering::Relaxed),
                    asked: at,
                }
            });
        }
    }

    pub(super) fn judge_admission(&mut self, admitted: Admitted) {
        let Admitted {
            namespace: name,
            registries,
            by,
            asked,
            died,
            answer: Answer { allowed, said },
        } = admitted;
        (&name, allowed, &said).hash(&mut self.hasher);
        self.outcome.pods += 1;
        let mut world = self.world.lock();
        let Some(namespace) = world.population.namespaces.get(&name) else {
            return;
        };
        let grants = world.grants(namespace);
        let doubtful = world.is_doubtful(grants.1);
        let Inner {
            population,
            rng,
            audit,
            spells,
            ..
        } = &mut *world;
        let Some(namespace) = population.namespaces.get_mut(&name) else {
            return;
        };
        let now = Instant::now();
        if died {
            // It runs as if nobody had been asked, and those that are left do not know that one of them died.
            namespace.run_unseen(registries.clone(), SURVEYED, rng);
        } else if allowed {
            namespace.run(registries.clone(), rng);
        }
        // Somebody may have meddled after the Pod was admitted, or too shortly before for the watch.
        let calm = |since: Instant| asked.saturating_duration_since(since) > SETTLED;
        let (is_granted, granted_since) = grants;
        let usual = namespace.kind != Kind::Foreign
            && namespace.phase == NamespacePhase::Active
            && namespace.disturbed.is_none_or(calm)
            && is_granted
            && calm(granted_since)
            && !doubtful
            && !died;
        if allowed && said.is_empty() {
            if usual {
                let wall = self.world.truth.now() - SignedDuration::try_from(now - asked).unwrap();
                audit.admitted((&name, namespace.tenant), &registries, wall, &by);
            }
            return;
        }
        self.outcome.warned += u64::from(allowed);
        self.outcome.refused += u64::from(!allowed);
        let mut regions = registries.iter().map(|registry| &spells[registry.region()]);
        let settled = regions.all(|spells| spells.lasting(now) > SETTLED + (now - asked));
        assert!(
            !(usual && settled),
            "{by} said about a Pod of {name}, though everything worked: {said}"
        );
    }
}
