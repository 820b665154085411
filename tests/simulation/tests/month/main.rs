//! Replicas in a simulated cluster, for weeks, with everything failing that can: the service as `serve` wires it, over a
//! cluster, an ECR and clocks that follow one seed.
//!
//! What must hold is in `audit`; what goes wrong is in `faults`. A failing seed prints itself, and runs again with
//! `SIMULATION_SEEDS=7..8 cargo test a_week`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test sets up must work, and clippy's exemption for tests leaves their helpers out"
)]

// What drives it is written against the product, whose core this is.
extern crate ecr_admission_simulation as ecr_admission;

mod admissions;
mod answer;
mod audit;
mod docker_config;
mod ecr;
mod faults;
mod heritage;
mod isolation;
mod living;
mod outcome;
mod population;
mod replica;
#[path = "../support/seeds.rs"]
mod seeds;
mod simulation;
mod spells;
mod tenancy;
mod world;

use std::time::Duration;

use tokio::runtime::Builder;

use outcome::Outcome;
use seeds::seeds;
use simulation::Simulation;

/// As in the product: the C library's takes half as long again for a month.
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
struct Setting {
    seed: u64,
    days: u32,
    /// How many namespaces there are at a time; they come and go.
    namespaces: usize,
    replicas: usize,
}

fn simulate(setting: Setting) -> Outcome {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    println!("simulating {setting:?}");
    let outcome = runtime.block_on(async { Simulation::new(setting).run().await });
    println!("{outcome:?}");
    outcome
}

#[test]
fn a_week_of_faults_breaks_no_promise() {
    for seed in seeds(1..2) {
        let outcome = simulate(Setting {
            seed,
            days: 7,
            namespaces: 500,
            replicas: 3,
        });
        outcome.assert_eventful();
    }
}

#[test]
fn a_seed_tells_the_same_story_again() {
    let setting = Setting {
        seed: 42,
        days: 1,
        namespaces: 60,
        replicas: 3,
    };
    assert_eq!(simulate(setting).digest, simulate(setting).digest);
    let other = Setting {
        seed: 43,
        ..setting
    };
    assert_ne!(simulate(setting).digest, simulate(other).digest);
}

#[test]
#[ignore = "takes minutes: cargo test --test month -- --ignored"]
fn a_month_of_ten_thousand_namespaces_breaks_no_promise() {
    for seed in seeds(1..2) {
        let outcome = simulate(Setting {
            seed,
            days: 30,
            namespaces: 10_000,
            replicas: 3,
        });
        outcome.assert_eventful();
        outcome.assert_flat();
    }
}

/// So much of the time, on average, between two events.
const fn per_day(times: u64) -> Duration {
    Duration::from_secs(24 * 60 * 60 / times)
}
