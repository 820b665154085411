//! What a keeper says of itself when it never comes to rest.

use std::sync::Arc;
use std::time::Duration;

use ecr_admission::certificate::managed::{Keeper, KeeperParts, Plan};
use ecr_admission::certificate::metrics::CertificateMetrics;
use ecr_admission::clock::Clock;
use ecr_admission::health::{Health, State};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::MINUTE;
use super::world::{CONFIGURATIONS, Link, World};

struct Busy {
    health: Health,
    registry: Registry,
    _running: AbortOnDropHandle<()>,
}

impl Busy {
    fn start(link: &Link, plan: Plan) -> Self {
        let (health, mut registry) = (Health::default(), Registry::default());
        let parts = KeeperParts {
            store: Arc::new(link.clone()),
            configurations: Arc::new(link.clone()),
            changed: Arc::clone(&link.changed),
            clock: Clock::simulated("2026-11-21T00:00:00Z".parse().unwrap(), 1),
            metrics: CertificateMetrics::register_managed(&mut registry),
        };
        let keeper = Keeper::new(plan, parts, &health);
        let running = tokio::spawn(async move { keeper.run().await });
        Self {
            health,
            registry,
            _running: AbortOnDropHandle::new(running),
        }
    }

    /// Why certificates cannot be looked after, if so.
    fn trouble(&self) -> Option<String> {
        let report = self.health.report();
        let mut lines = report.lines.into_iter();
        match lines.find(|line| line.name == "certificate-secret")?.state {
            State::Degraded(reason) => Some(reason),
            _ => None,
        }
    }

    fn counted(&self, series: &str) -> u64 {
        let mut page = String::new();
        encode(&mut page, &self.registry).unwrap();
        let value = page.lines().find_map(|line| line.strip_prefix(series));
        value.map_or(0, |value| value.trim().parse().unwrap())
    }
}

fn plan() -> Plan {
    Plan {
        propagation: Duration::ZERO,
        ..Plan::for_service("s", "n")
    }
}

#[tokio::test(start_paused = true)]
async fn lives_so_short_that_something_is_always_due_are_no_trouble_and_no_reason_to_wait_longer() {
    let plan = Plan {
        leaf_life: MINUTE,
        authority_life: MINUTE * 5,
        leaf_renewal: Some(Duration::from_millis(1)),
        authority_renewal: Some(Duration::from_millis(1)),
        ..plan()
    };
    let world = World::new(1);
    let busy = Busy::start(&world.link(), plan);
    for _ in 0..600 {
        sleep(Duration::from_millis(100)).await;
        assert_eq!(busy.trouble(), None);
    }
    // Eight steps take about four seconds, then comes a pause of one.
    let leaves = busy.counted("certificate_rotations_total{part=\"leaf\"}");
    assert!(leaves > 30, "{leaves}");
}

#[tokio::test(start_paused = true)]
async fn somebody_who_resets_the_bundle_each_time_is_told_of_and_does_not_make_us_spin() {
    let world = World::new(2);
    let (ours, theirs) = (world.link(), world.link());
    let busy = Busy::start(&ours, plan());
    let changed = Arc::clone(&theirs.changed);
    let resetting = tokio::spawn(async move {
        loop {
            changed.notified().await;
            let mut world = theirs.world.lock();
            for which in 0..CONFIGURATIONS {
                let bundles = world.configuration(which).cloned().unwrap();
                if bundles.iter().any(|bundle| !bundle.is_empty()) {
                    world.set_configuration(which, Some(vec![Vec::new(); bundles.len()]));
                }
            }
        }
    });
    sleep(MINUTE * 10).await;
    let trouble = busy.trouble().unwrap();
    assert!(
        trouble.contains("changed by somebody else all the time"),
        "{trouble}"
    );
    let series = "certificate_bundle_writes_total{reason=\"repair\"}";
    let repairs = busy.counted(series);
    assert!((100..1000).contains(&repairs), "{repairs} in ten minutes");

    resetting.abort();
    sleep(MINUTE).await;
    assert_eq!(busy.trouble(), None);
}
