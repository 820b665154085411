//! What policies cost an admission: 200 of them, 10,000 namespaces, a Pod of ten images. First deciding about the images
//! alone, then the whole warm admission, each beside the same without policies; and what compiling takes, which happens
//! when policies or a namespace change.

mod support;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use ecr_admission::policy::{Labels, Policy, PolicySet, decide_for};

use support::numbers::{at_most, median};
use support::service::Service;
use support::{review, tenants};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 9;
/// In each round every contestant gets as many turns, in turn, and its fastest counts: whatever else runs on the
/// machine only ever adds to a time.
const TURNS: usize = 40;
const TURN: Duration = Duration::from_millis(2);
/// Of the namespaces, how many admit Pods; all of them are known.
const ADMITTING: usize = 256;

/// Runs once for the namespace of that number.
type Contestant<'a> = (&'static str, Box<dyn Fn(usize) + 'a>);

fn main() -> anyhow::Result<()> {
    let set = tenants::policies()?;
    let everywhere = PolicySet::new(Policy::default(), Vec::new(), Vec::new());
    let started = Instant::now();
    let compiled: Vec<Policy> = (0..tenants::NAMESPACES)
        .map(|number| {
            let (name, labels) = tenants::namespace(number);
            set.in_namespace(&name, &labels)
        })
        .collect();
    let compiling = started.elapsed();

    let runtime = tokio::runtime::Runtime::new()?;
    let (without, with) = runtime.block_on(async {
        let without = Service::of_tenants(everywhere.clone(), ADMITTING).await?;
        let with = Service::of_tenants(set.clone(), ADMITTING).await?;
        anyhow::Ok((Arc::new(without), Arc::new(with)))
    })?;
    for service in [&without, &with] {
        let watched = Arc::clone(service);
        runtime.spawn(async move { watched.keep_watch().await });
    }

    let images: Vec<[String; 10]> = (0..tenants::NAMESPACES).map(tenants::images).collect();
    let settings = everywhere.in_namespace("", &Labels::new());
    let deciding: [Contestant<'_>; 2] = [
        (
            "without",
            Box::new(|number| decide_all(&settings, &images[number])),
        ),
        (
            "with",
            Box::new(|number| decide_all(&compiled[number], &images[number])),
        ),
    ];
    let bodies: Vec<Vec<u8>> = (0..ADMITTING).map(review::of_tenant).collect();
    let answer = |service: &Service, number: usize| {
        let answer = service.answer_now(&bodies[number % ADMITTING]);
        assert!(black_box(answer).is_ok(), "no warm answer");
    };
    let answering: [Contestant<'_>; 2] = [
        ("without", Box::new(|number| answer(&without, number))),
        ("with", Box::new(|number| answer(&with, number))),
    ];
    with_criterion("decide", &deciding);
    with_criterion("answer", &answering);
    if std::env::args().any(|argument| argument == "--bench") {
        let of = tenants::NAMESPACES;
        println!("\ncompiling all policies for {of} namespaces, once each: {compiling:.1?}");
        println!(
            "median of {ROUNDS} rounds, ten images, {} bytes of review",
            bodies[0].len()
        );
        println!("              without      with   with/without");
        print_ratio("decide", &deciding, None);
        print_ratio("answer", &answering, Some(1.2));
    }
    Ok(())
}

fn decide_all(policy: &Policy, images: &[String; 10]) {
    for image in images {
        let decision = decide_for(policy, "default", image);
        assert!(black_box(decision).finding.is_none(), "{image} is good");
    }
}

fn with_criterion(name: &str, contestants: &[Contestant<'_>; 2]) {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut group = criterion.benchmark_group(name);
    for (contestant, run) in contestants {
        let mut number = 0;
        group.bench_function(BenchmarkId::from_parameter(contestant), |bencher| {
            bencher.iter(|| {
                number = next(number);
                run(number);
            });
        });
    }
    group.finish();
    criterion.final_summary();
}

/// The namespaces in an order that no cache foresees.
fn next(number: usize) -> usize {
    (number + 6_151) % tenants::NAMESPACES
}

fn print_ratio(name: &str, contestants: &[Contestant<'_>; 2], most: Option<f64>) {
    let rounds: Vec<[f64; 2]> = (0..ROUNDS).map(|_| round(contestants)).collect();
    let of = |number: fn(&[f64; 2]) -> f64| median(rounds.iter().map(number).collect());
    let [without, with] = [of(|r| r[0]), of(|r| r[1])];
    let ratio = of(|r| r[1] / r[0]);
    let promise = most.map_or(String::new(), |most| {
        format!(" <= {most}: {}", at_most(ratio, most))
    });
    println!("   {name:>7} {without:>8.2} us {with:>6.2} us   {ratio:.2}{promise}");
}

/// The microseconds of each contestant's fastest turn.
fn round(contestants: &[Contestant<'_>; 2]) -> [f64; 2] {
    let mut fastest = [f64::INFINITY; 2];
    for _ in 0..TURNS {
        for ((_, run), fastest) in contestants.iter().zip(&mut fastest) {
            *fastest = fastest.min(turn(run));
        }
    }
    fastest
}

fn turn(run: &dyn Fn(usize)) -> f64 {
    let started = Instant::now();
    let (mut times, mut number) = (0_u32, 0);
    while started.elapsed() < TURN {
        for _ in 0..16 {
            number = next(number);
            run(black_box(number));
        }
        times += 16;
    }
    started.elapsed().as_secs_f64() * 1e6 / f64::from(times)
}
