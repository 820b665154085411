//! What the program takes as a process: resident memory of `serve` with many namespaces in its index, and the time
//! that `demo --once` takes from start to end.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the doubles are those of the tests, where what is set up must work"
)]

#[path = "support/numbers.rs"]
#[allow(dead_code, reason = "not every verdict is needed here")]
mod numbers;
#[path = "../tests/blackbox/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the tests need more of it")]
mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use ecr_admission::config::DEFAULT_SECRET_NAME;
use ecr_admission::pull_secret::Entry;
use ecr_admission::pull_secret::State;
use ecr_admission::pull_secret::state::StateEntry;
use ecr_admission::secret::{
    DATA_KEY, EXPIRES_ANNOTATION, FIELD_MANAGER, OWNER_LABEL, SECRET_TYPE, STATE_ANNOTATION,
};
use jiff::SignedDuration;
use jiff::Timestamp;
use numbers::{at_most, median};
use serde_json::{Value, json};
use support::api_server::{ApiServer, Resource};
use support::ecr::EcrDouble;
use support::https::development_ca;
use support::process::{Process, program, write_pair};

/// How many namespaces, whether the ServiceAccounts in them are looked after too, and the most MiB that `serve` may then
/// have in memory.
const PROMISES: [(usize, bool, f64); 3] = [
    (1_000, false, 16.0),
    (10_000, false, 40.0),
    (10_000, true, 60.0),
];
/// How long after it was ready is looked.
const LATER: Duration = Duration::from_mins(1);
const STARTS: usize = 11;

fn main() -> anyhow::Result<()> {
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("this takes minutes; run it with `cargo bench --bench footprint`");
        return Ok(());
    }
    print_starts()?;
    let runtime = tokio::runtime::Runtime::new()?;
    println!("\nserve, a minute after it was ready, in MiB");
    println!("namespaces   accounts   resident   anonymous      file      peak   promise");
    for (namespaces, with_accounts, promise) in PROMISES {
        let memory = runtime.block_on(memory_with(namespaces, with_accounts))?;
        let accounts = if with_accounts { namespaces } else { 0 };
        println!(
            "{namespaces:>10} {accounts:>10} {:>10.1} {:>11.1} {:>9.1} {:>9.1}   <= {promise} {}",
            memory.resident,
            memory.anonymous,
            memory.file,
            memory.peak,
            at_most(memory.resident, promise)
        );
    }
    Ok(())
}

/// All in MiB.
struct Memory {
    resident: f64,
    anonymous: f64,
    file: f64,
    peak: f64,
}

async fn memory_with(namespaces: usize, with_accounts: bool) -> anyhow::Result<Memory> {
    let api = ApiServer::start().await;
    for number in 0..namespaces {
        let name = format!("team-{number:05}-payments");
        api.create(Resource::Namespaces, "", namespace(&name), "kubectl-create");
        api.create(Resource::Secrets, &name, secret(&name), FIELD_MANAGER);
        if with_accounts {
            let account = service_account(&name);
            api.create(Resource::ServiceAccounts, &name, account, FIELD_MANAGER);
        }
    }
    // A cluster's history does not reach back to its first namespace.
    api.compact(support::api_server::GoneAs::Status);
    let ecr = EcrDouble::start().await;
    let folder = tempfile::tempdir()?;
    write_pair(&folder, &development_ca());
    let mut command = Process::command(&api, &ecr, &folder);
    command
        .args(["--tls-cert", "tls.crt", "--tls-key", "tls.key"])
        .env("ECR_ADMISSION_LOG", "info");
    if with_accounts {
        command.args(["--service-account-mode", "Add", "--service-accounts", "*"]);
    }
    let serve = Process::follow(command, folder).await;
    serve.ready().await;
    tokio::time::sleep(LATER).await;

    let (_, metrics) = serve.admin("/metrics").await;
    let indexed = format!("ecr_admission_secret_index_size {namespaces}");
    ensure!(
        metrics.lines().any(|line| line == indexed),
        "not every namespace is in the index:\n{metrics}"
    );
    let status = std::fs::read_to_string(format!("/proc/{}/status", serve.id()))?;
    let field = |name: &str| mebibytes(&status, name);
    Ok(Memory {
        resident: field("VmRSS:")?,
        anonymous: field("RssAnon:")?,
        file: field("RssFile:")?,
        peak: field("VmHWM:")?,
    })
}

fn mebibytes(status: &str, name: &str) -> anyhow::Result<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    let kibibytes: f64 = number.context("no such field")?.parse()?;
    Ok(kibibytes / 1_024.0)
}

fn namespace(name: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {
            "kubernetes.io/metadata.name": name, "team": "payments",
            "pod-security.kubernetes.io/enforce": "restricted",
        }},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    })
}

/// A pull Secret with entries for two registries, as it looks after an hour.
fn secret(namespace: &str) -> Value {
    let made = Timestamp::now() - SignedDuration::from_hours(1);
    let expires = made + SignedDuration::from_hours(12);
    let mut state = State::default();
    for host in [
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "210987654321.dkr.ecr.eu-central-1.amazonaws.com",
    ] {
        let entry = Entry::new(made, expires, "controller", 0, made);
        let entry = StateEntry::Known(entry);
        state.entries.insert(host.to_owned(), entry);
    }
    let mut annotations = json!({});
    annotations[STATE_ANNOTATION] = json!(state.render());
    annotations[EXPIRES_ANNOTATION] = json!(expires);
    let mut labels = json!({});
    labels[OWNER_LABEL.0] = json!(OWNER_LABEL.1);
    let mut data = json!({});
    // No watch of ours ever asks for it.
    data[DATA_KEY] = json!("eyJhdXRocyI6e319");
    json!({
        "metadata": {
            "name": DEFAULT_SECRET_NAME, "namespace": namespace,
            "labels": labels, "annotations": annotations,
        },
        "type": SECRET_TYPE,
        "data": data,
    })
}

/// One that names our Secret already.
fn service_account(namespace: &str) -> Value {
    json!({
        "metadata": {"name": "default", "namespace": namespace},
        "imagePullSecrets": [{"name": DEFAULT_SECRET_NAME}],
    })
}

fn print_starts() -> anyhow::Result<()> {
    let starts: anyhow::Result<Vec<f64>> = (0..STARTS).map(|_| demo()).collect();
    let starts = starts?;
    let slowest = starts.iter().copied().fold(0.0, f64::max);
    let typical = median(starts);
    println!(
        "demo --once, from start to end: median {:.0} ms, slowest of {STARTS} {:.0} ms   <= 1000 {}",
        typical * 1e3,
        slowest * 1e3,
        at_most(typical, 1.0)
    );
    Ok(())
}

/// The seconds that one run takes: it makes its certificates, is ready, admits six Pods over TLS, and ends.
fn demo() -> anyhow::Result<f64> {
    let started = Instant::now();
    let status = Command::new(program())
        .args(["demo", "--once"])
        .stdout(Stdio::null())
        .status()?;
    ensure!(status.success(), "demo failed: {status}");
    Ok(started.elapsed().as_secs_f64())
}
