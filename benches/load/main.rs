//! What the webhook costs over HTTPS, against a handler that does nothing, in the same server.
//!
//! Two processes of this program serve: the *no-op* reads the body and answers with the review's uid; the *webhook* is
//! what `serve` runs, on the warm path, at log level info, with metrics. A third loads them in turn. One worker thread
//! each, so that on two cores the server is what is measured and not the generator.

mod client;
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use client::{Generator, Load};
use server::{Announcement, Kind};
use support::numbers::{at_least, at_most, median};
use support::review;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Many and short: on a shared machine, spells of its other work are longer than a round, and the median passes over them.
const ROUNDS: usize = 21;
/// As many requests at full speed, and as many a second at an even pace, for each size of a review.
const LOADS: [(usize, u32); 3] = [(20_000, 5_000), (12_000, 5_000), (4_000, 1_500)];
/// In how many turns of each, one behind the other, a round's requests at full speed are sent: a shared machine changes its
/// speed by a third within a tenth of a second.
const TURNS: usize = 8;
/// How long a round at an even pace takes, in seconds.
const EVEN_SECONDS: u32 = 2;
/// After so long the kernel has added up what a thread took: it does when the thread goes to sleep.
const COUNTED: Duration = Duration::from_millis(20);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, kind] = arguments.as_slice()
        && serve == "serve"
    {
        return server::run(kind.parse()?);
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("this takes six minutes; run it with `cargo bench --bench load`");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(compare())
}

async fn compare() -> anyhow::Result<()> {
    println!(
        "{} connections, TLS 1.3, HTTP/1.1, kept alive; medians of {ROUNDS} rounds, in turn",
        client::CONNECTIONS
    );
    println!("throughput at full speed; CPU time and latency at an even pace, the same for both\n");
    println!("   review             no-op    webhook     ratio");
    for (bytes, (requests, pace)) in review::SIZES.into_iter().zip(LOADS) {
        let body = review::body(bytes);
        let mut noop = Contestant::start(Kind::Noop, &body).await?;
        let mut webhook = Contestant::start(Kind::Webhook, &body).await?;
        round(&mut noop, &mut webhook, requests / 4, pace).await?;
        let mut rounds = Vec::new();
        for number in 0..ROUNDS {
            // Who comes first gains nothing by it.
            let (of_noop, of_webhook) = if number % 2 == 0 {
                round(&mut noop, &mut webhook, requests, pace).await?
            } else {
                let (of_webhook, of_noop) = round(&mut webhook, &mut noop, requests, pace).await?;
                (of_noop, of_webhook)
            };
            rounds.push((of_noop, of_webhook));
        }
        print_size(&body, &rounds);
    }
    Ok(())
}

/// Loads both in turn, at full speed and then at an even pace.
async fn round(
    first: &mut Contestant,
    second: &mut Contestant,
    requests: usize,
    pace: u32,
) -> anyhow::Result<(Measured, Measured)> {
    let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
    let requests = requests / TURNS;
    // Behind an even pace the first turn is a slow one.
    first.at_full_speed(requests).await?;
    for number in 0..TURNS {
        if number % 2 == 0 {
            of_first.push(first.at_full_speed(requests).await?);
            of_second.push(second.at_full_speed(requests).await?);
        } else {
            of_second.push(second.at_full_speed(requests).await?);
            of_first.push(first.at_full_speed(requests).await?);
        }
    }
    Ok((
        Measured::of(&of_first, &first.at_a_pace(pace).await?),
        Measured::of(&of_second, &second.at_a_pace(pace).await?),
    ))
}

fn print_size(body: &[u8], rounds: &[(Measured, Measured)]) {
    let is_small = body.len() < 1_024;
    let row = |name: &str, of: fn(&Measured) -> f64, verdict: fn(f64) -> &'static str| {
        let each = |pick: fn(&(Measured, Measured)) -> &Measured| {
            median(rounds.iter().map(|round| of(pick(round))).collect())
        };
        let ratios = rounds.iter().map(|(noop, webhook)| of(webhook) / of(noop));
        let ratio = median(ratios.collect());
        println!(
            "{:>9} {name:<10} {:>10.3} {:>10.3} {ratio:>9.3}  {}",
            review::kilobytes(body),
            each(|round| &round.0),
            each(|round| &round.1),
            if is_small { "" } else { verdict(ratio) },
        );
    };
    row("cpu s/10k", |m| m.cpu_seconds * 1e4, |r| at_most(r, 1.25));
    row("1000/s", |m| m.per_second / 1e3, |r| at_least(r, 0.9));
    row("cpu full", |m| m.cpu_at_full_speed * 1e4, |_| "");
    row("p50 ms", |m| m.p50 * 1e3, |_| "");
    row("p99 ms", |m| m.p99 * 1e3, |r| at_most(r, 1.2));
    if is_small {
        let above = |of: fn(&Measured) -> f64| {
            let more = rounds.iter().map(|(noop, webhook)| of(webhook) - of(noop));
            median(more.collect()) * 1e6
        };
        let even = above(|m| m.cpu_seconds);
        let full = above(|m| m.cpu_at_full_speed);
        println!(
            "{:>9} cpu above the no-op {even:>22.2} us {}; at full speed {full:.2} us {}",
            review::kilobytes(body),
            at_most(even, 5.0),
            at_most(full, 5.0),
        );
    }
    println!();
}

/// What one round showed; CPU seconds are the server's, for one admission, at an even pace where nothing else is said.
struct Measured {
    cpu_seconds: f64,
    cpu_at_full_speed: f64,
    per_second: f64,
    p50: f64,
    p99: f64,
}

/// What one turn showed.
struct Turn {
    /// The server's.
    cpu: Duration,
    took: Duration,
    /// Of every request, shortest first.
    latencies: Vec<Duration>,
}

impl Measured {
    fn of(full: &[Turn], even: &Turn) -> Self {
        let seconds =
            |of: fn(&Turn) -> Duration| full.iter().map(of).sum::<Duration>().as_secs_f64();
        let requests: f64 = full.iter().map(Turn::requests).sum();
        Self {
            cpu_seconds: even.cpu.as_secs_f64() / even.requests(),
            cpu_at_full_speed: seconds(|turn| turn.cpu) / requests,
            per_second: requests / seconds(|turn| turn.took),
            p50: even.percentile(50),
            p99: even.percentile(99),
        }
    }
}

impl Turn {
    fn requests(&self) -> f64 {
        u32::try_from(self.latencies.len()).map_or(f64::INFINITY, f64::from)
    }

    /// In seconds.
    fn percentile(&self, percent: usize) -> f64 {
        let place = self.latencies.len() * percent / 100;
        self.latencies[place.min(self.latencies.len() - 1)].as_secs_f64()
    }
}

/// A server in a process of its own, and the connections to it.
struct Contestant {
    server: Server,
    generator: Generator,
}

impl Contestant {
    async fn start(kind: Kind, body: &[u8]) -> anyhow::Result<Self> {
        let (server, announcement) = Server::start(kind)?;
        let generator = Generator::connect(&announcement, body, kind.is_patching()).await?;
        Ok(Self { server, generator })
    }

    async fn at_full_speed(&mut self, requests: usize) -> anyhow::Result<Turn> {
        self.turn(requests, None).await
    }

    async fn at_a_pace(&mut self, pace: u32) -> anyhow::Result<Turn> {
        let requests = usize::try_from(pace * EVEN_SECONDS)?;
        self.turn(requests, Some(pace)).await
    }

    async fn turn(&mut self, requests: usize, per_second: Option<u32>) -> anyhow::Result<Turn> {
        let before = self.server.cpu()?;
        let Load { took, latencies } = self.generator.run(requests, per_second).await?;
        tokio::time::sleep(COUNTED).await;
        Ok(Turn {
            cpu: self.server.cpu()?.saturating_sub(before),
            took,
            latencies,
        })
    }
}

/// This program as a server; ended when dropped, and by itself when this process is gone.
struct Server(Child);

impl Server {
    fn start(kind: Kind) -> anyhow::Result<(Self, Announcement)> {
        let child = Command::new(std::env::current_exe()?)
            .args(["serve", kind.name()])
            .env("TOKIO_WORKER_THREADS", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut server = Self(child);
        let output = server.0.stdout.take().context("it has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let announcement = serde_json::from_str(&line).context("the server did not start")?;
        Ok((server, announcement))
    }

    /// The CPU time of all its threads, user and system.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.0.id()))? {
            let times = std::fs::read_to_string(task?.path().join("schedstat"))?;
            let running = times.split(' ').next().unwrap_or_default();
            nanoseconds += running.parse::<u64>()?;
        }
        ensure!(nanoseconds > 0, "this kernel does not count CPU time");
        Ok(Duration::from_nanos(nanoseconds))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
