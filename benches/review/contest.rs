//! The contestants and their ratios. criterion's times first, then what is promised.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use k8s_openapi::api::core::v1::Pod;
use kube::core::admission::AdmissionReview;
use prometheus_client::registry::Registry;
use serde::de::IgnoredAny;

use crate::support::numbers::{at_most, median};
use crate::support::review;
use crate::support::service::Service;

/// The size of review that the promises are about, in bytes.
const PROMISED: usize = review::SIZES[1];
const ROUNDS: usize = 9;
/// In each round every contestant gets as many turns, in turn, and its fastest counts: whatever else runs on the
/// machine only ever adds to a time.
const TURNS: usize = 40;
const TURN: Duration = Duration::from_millis(2);

/// A contestant, by name.
type Contestant<'a> = (&'static str, Box<dyn Fn(&[u8]) + 'a>);

/// Runs them. criterion keeps its times under `name`, and compares them with those that it finds there.
pub(crate) fn run(name: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let service = runtime.block_on(Service::warm(&mut Registry::default()))?;
    let service = Arc::new(service);
    let watched = Arc::clone(&service);
    runtime.spawn(async move { watched.keep_watch().await });

    let contestants = contestants(&service);
    with_criterion(name, &contestants);
    if std::env::args().any(|argument| argument == "--bench") {
        print_ratios(&contestants);
    }
    Ok(())
}

fn contestants(service: &Service) -> [Contestant<'_>; 3] {
    let answer = |body: &[u8]| {
        let answer = service.answer_now(body);
        assert!(black_box(answer).is_ok(), "no warm answer");
    };
    let skip = |body: &[u8]| {
        let skipped = serde_json::from_slice::<IgnoredAny>(body);
        assert!(black_box(skipped).is_ok(), "no JSON");
    };
    let typed = |body: &[u8]| {
        let review = serde_json::from_slice::<AdmissionReview<Pod>>(body);
        assert!(black_box(review).is_ok(), "no review");
    };
    [
        ("answer", Box::new(answer)),
        ("skip", Box::new(skip)),
        ("typed", Box::new(typed)),
    ]
}

fn with_criterion(name: &str, contestants: &[Contestant<'_>]) {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group(name);
    for bytes in review::SIZES {
        let body = review::body(bytes);
        group.throughput(Throughput::Bytes(body.len() as u64));
        for (name, run) in contestants {
            let id = BenchmarkId::new(*name, review::kilobytes(&body));
            group.bench_with_input(id, &body, |bencher, body| bencher.iter(|| run(body)));
        }
    }
    group.finish();
    criterion.final_summary();
}

fn print_ratios(contestants: &[Contestant<'_>; 3]) {
    println!("\nmedian of {ROUNDS} rounds; answer = parse + decide + patch + answer");
    println!("   review    answer      skip     typed   answer/skip <= 1.5   answer/typed <= 0.25");
    for bytes in review::SIZES {
        let body = review::body(bytes);
        let rounds: Vec<[f64; 3]> = (0..ROUNDS).map(|_| round(contestants, &body)).collect();
        let of = |number: fn(&[f64; 3]) -> f64| median(rounds.iter().map(number).collect());
        let [answer, skip, typed] = [of(|r| r[0]), of(|r| r[1]), of(|r| r[2])];
        let (to_skip, to_typed) = (of(|r| r[0] / r[1]), of(|r| r[0] / r[2]));
        let promised = |verdict| if bytes == PROMISED { verdict } else { "" };
        println!(
            "{:>9} {answer:>6.2} us {skip:>6.2} us {typed:>6.2} us        {to_skip:>5.2} {:<6}         {to_typed:>5.3} {:<6}",
            review::kilobytes(&body),
            promised(at_most(to_skip, 1.5)),
            promised(at_most(to_typed, 0.25)),
        );
    }
}

/// The microseconds of each contestant's fastest turn.
fn round(contestants: &[Contestant<'_>; 3], body: &[u8]) -> [f64; 3] {
    let mut fastest = [f64::INFINITY; 3];
    for _ in 0..TURNS {
        for ((_, run), fastest) in contestants.iter().zip(&mut fastest) {
            *fastest = fastest.min(turn(run, body));
        }
    }
    fastest
}

fn turn(run: &dyn Fn(&[u8]), body: &[u8]) -> f64 {
    let started = Instant::now();
    let mut times = 0_u32;
    while started.elapsed() < TURN {
        for _ in 0..16 {
            run(black_box(body));
        }
        times += 16;
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}
