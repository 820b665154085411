//! Self-managed certificates: the loop and its state machine in a simulated cluster, deterministic by seed. Other seeds
//! than the usual ones: `SIMULATION_SEEDS=7..8 cargo test nobody_ready`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test sets up must work, and clippy's exemption for tests leaves their helpers out"
)]

// What drives it is written against the product, whose core this is.
extern crate ecr_admission_simulation as ecr_admission;

mod haste;
mod judge;
#[path = "../support/seeds.rs"]
mod seeds;
mod simulation;
mod vandal;
mod world;

use std::ops::Range;
use std::sync::OnceLock;
use std::time::Duration;

use ecr_admission::certificate::development::DevelopmentCa;
use ecr_admission::certificate::managed::Plan;
use tokio::runtime::Builder;

use seeds::seeds;
use simulation::{Outcome, Setting, Simulation};

const MINUTE: Duration = Duration::from_mins(1);

/// Somebody else's authority, in PEM.
fn foreign_authority() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| {
        let now = "2026-11-21T00:00:00Z".parse().unwrap();
        let names = ["localhost".to_owned()];
        DevelopmentCa::new(now, &names, MINUTE).unwrap().ca_pem
    })
}

/// Lives of minutes, so that thousands of rotations take seconds; the proportions are those of the default plan.
fn hurried(seed: u64) -> Setting {
    Setting {
        seed,
        plan: Plan {
            leaf_life: MINUTE * 3,
            authority_life: MINUTE * 15,
            propagation: Duration::from_secs(15),
            clock_skew: Duration::from_secs(30),
            ..Plan::for_service("s", "n")
        },
        replicas: 4,
        clock_off: Duration::from_secs(15),
        late: Duration::from_secs(6),
        faults: true,
        repair: Duration::from_secs(90),
        vandalism: false,
        duration: MINUTE * 60 * 8,
    }
}

fn simulate(setting: Setting) -> Outcome {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async { Simulation::new(setting).run().await })
}

/// Runs one simulation for each seed. `judged` is the least part of the time in which nothing was excused.
fn simulate_all(seeds: Range<u64>, judged: u64, setting: impl Fn(u64) -> Setting) {
    for seed in seeds {
        let setting = setting(seed);
        // Leaves are renewed at two thirds of their lives, when somebody is there to do it.
        let expected = setting.duration.as_secs() / setting.plan.leaf_life.as_secs();
        let outcome = simulate(setting);
        println!("seed {seed}: {outcome:?}");
        assert!(outcome.rotations > expected, "seed {seed}: {outcome:?}");
        assert!(outcome.judged > judged, "seed {seed}: {outcome:?}");
        assert!(
            outcome.verifications > 100 && outcome.judgements > 100_000,
            "seed {seed}: {outcome:?}"
        );
    }
}

#[test]
fn nobody_ready_is_ever_refused_while_links_break_clocks_differ_and_replicas_die() {
    simulate_all(seeds(1..5), 98, hurried);
}

#[test]
fn what_others_break_is_repaired_and_nobody_ready_is_refused_otherwise() {
    simulate_all(seeds(101..105), 50, |seed| Setting {
        vandalism: true,
        ..hurried(seed)
    });
}

#[test]
fn what_others_break_is_repaired_in_seconds_where_nothing_else_fails() {
    simulate_all(seeds(301..303), 85, |seed| {
        let hurried = hurried(seed);
        Setting {
            faults: false,
            vandalism: true,
            // And until the last API server has heard of it.
            repair: hurried.late + Duration::from_secs(5),
            ..hurried
        }
    });
}

#[test]
fn clocks_that_are_ten_minutes_off_either_way_do_no_harm() {
    simulate_all(seeds(201..202), 35, |seed| Setting {
        plan: Plan {
            leaf_life: MINUTE * 45,
            authority_life: MINUTE * 200,
            ..Plan::for_service("s", "n")
        },
        clock_off: MINUTE * 10,
        late: Duration::from_secs(20),
        vandalism: true,
        duration: MINUTE * 60 * 24,
        ..hurried(seed)
    });
}
