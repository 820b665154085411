//! Pods for minutes on end: nothing refused, nothing left out, no more memory than at first.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ecr_admission::clock::Clock;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use jiff::SignedDuration;
use tokio::time::sleep;

use super::numbers::{median, quantile};
use super::report::Report;
use super::{admitted, delete, register_patiently};
use crate::ecr::{Answer, EcrDouble};
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::{Target, install_permissions};
use crate::harness::namespace::{IMAGE, Namespace, SECRET, one_container, pull_secrets};
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::wire::Wire;
use crate::harness::{eventually, run};

/// How long, in seconds, and what says otherwise.
const LENGTH: (&str, u64) = ("CLUSTER_SOAK_SECONDS", 600);
const NAMESPACES: usize = 200;
const WORKERS: usize = 4;
/// So that they are renewed all the time; a namespace comes due at half of it.
const TOKEN_LIFE: Duration = Duration::from_mins(5);
const BETWEEN_SAMPLES: Duration = Duration::from_secs(5);
/// By how much the resident memory of the last quarter may exceed that of the second, of which it is a share and on top of
/// which it is in MiB: not a leak.
const GROWTH: (f64, f64) = (1.2, 3.0);

/// What the workers share.
struct Soak<'a> {
    plane: &'a ControlPlane,
    namespaces: Vec<Namespace<'a>>,
    end: Instant,
    pods: AtomicUsize,
    passing: AtomicUsize,
}

#[test]
#[ignore = "a measurement: tests/cluster/run --full soak"]
fn of_two_replicas() {
    run(async {
        let mut report = Report::new("soak", "Pods for minutes on end");
        let plane = ControlPlane::start("soak").await;
        install_permissions(&plane).await;
        let ecr = EcrDouble::start().await;
        let life = SignedDuration::try_from(TOKEN_LIFE).unwrap();
        ecr.always(Answer::Token("password-of-REGION".into(), life));
        let mut replicas = Vec::new();
        for name in ["replica-a", "replica-b"] {
            let settings = Settings::files(&plane.folder).logging("info");
            replicas.push(Webhook::start_with(&plane, &ecr, name, settings).await);
        }
        let addresses: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
        let wire = Wire::to(addresses).await;
        register_patiently(&plane, Target::Service(wire.port)).await;
        let names = (0..NAMESPACES).map(|number| format!("soak-{number}"));
        let creating = names.map(|name| Namespace::create(&plane, name));
        let namespaces: Vec<_> = stream::iter(creating).buffer_unordered(8).collect().await;
        eventually("ours is asked", async || {
            let name = format!("probe-{}", fastrand::u64(..));
            let pod = namespaces[0].create_pod(&name, &one_container(IMAGE)).await;
            pod.is_ok_and(|pod| pull_secrets(&pod) == [SECRET])
        })
        .await;

        let length = length();
        let soak = Soak {
            plane: &plane,
            namespaces,
            end: Instant::now() + length,
            pods: AtomicUsize::new(0),
            passing: AtomicUsize::new(0),
        };
        let working = join_all((0..WORKERS).map(|_| soak.create()));
        let (latencies, (), memory) =
            tokio::join!(working, soak.come_and_go(), soak.watch(&replicas));
        soak.all_fresh().await;
        let mints = ecr.calls().len();
        let most = most_mints(length);
        assert!(
            mints <= most,
            "{mints} tokens minted, at most {most} expected"
        );

        let latencies: Vec<f64> = latencies.into_iter().flatten().collect();
        let (p50, p99) = (median(&latencies), quantile(&latencies, 0.99));
        report.line(&format!(
            "\n{} s, two replicas, {NAMESPACES} namespaces whose tokens live {} s, and {} namespaces that came and went: {} Pods, \
             none refused, none without the Secret; p50 {p50:.1} ms, p99 {p99:.1} ms, the client's share included; {mints} tokens \
             minted (at most {most}). At the end every Secret was fresh.\n",
            length.as_secs(),
            TOKEN_LIFE.as_secs(),
            soak.passing.load(Ordering::Relaxed),
            soak.pods.load(Ordering::Relaxed),
        ));
        report.line("| resident memory, MiB | at first | second quarter | last quarter | most |");
        report.line("|---|---|---|---|---|");
        for (name, samples) in ["one replica", "the other"].into_iter().zip(memory) {
            report.line(&row(name, &samples));
        }
        report.publish();
    });
}

fn length() -> Duration {
    let (variable, usual) = LENGTH;
    let given = std::env::var(variable).ok();
    let seconds = given.map_or(usual, |text| text.parse().unwrap());
    Duration::from_secs(seconds)
}

/// One a replica at first, and one more of each whenever the last is past half of its life: by whichever replica needs it.
fn most_mints(length: Duration) -> usize {
    let halves = length.as_secs() / (TOKEN_LIFE.as_secs() / 2);
    2 * (usize::try_from(halves).unwrap() + 2)
}

impl Soak<'_> {
    fn goes_on(&self) -> bool {
        Instant::now() < self.end
    }

    /// Creates Pods all over, and takes most of them away again. How long each creation took, in milliseconds.
    async fn create(&self) -> Vec<f64> {
        let spec = one_container(IMAGE);
        let mut latencies = Vec::new();
        while self.goes_on() {
            let namespace = &self.namespaces[fastrand::usize(..NAMESPACES)];
            let name = format!("pod-{:016x}", fastrand::u64(..));
            let started = Instant::now();
            let answer = namespace.create_pod_patiently(&name, &spec).await;
            latencies.push(started.elapsed().as_secs_f64() * 1e3);
            assert_eq!(pull_secrets(&admitted(answer)), [SECRET]);
            self.pods.fetch_add(1, Ordering::Relaxed);
            let path = namespace.path(&format!("pods/{name}?gracePeriodSeconds=0"));
            delete(namespace.api(), &path).await;
            // Load is no subject here.
            sleep(Duration::from_millis(20)).await;
        }
        latencies
    }

    /// Namespaces that are made, used and deleted.
    async fn come_and_go(&self) {
        while self.goes_on() {
            let number = self.passing.fetch_add(1, Ordering::Relaxed);
            let namespace = Namespace::create(self.plane, format!("passing-{number}")).await;
            for pod in ["one", "two"] {
                let answer = namespace
                    .create_pod_patiently(pod, &one_container(IMAGE))
                    .await;
                assert_eq!(pull_secrets(&admitted(answer)), [SECRET]);
                self.pods.fetch_add(1, Ordering::Relaxed);
            }
            let path = format!("/api/v1/namespaces/{}", namespace.name);
            delete(&self.plane.api, &path).await;
            sleep(Duration::from_millis(500)).await;
        }
    }

    /// The resident memory of each replica, in MiB, time and again.
    async fn watch(&self, replicas: &[Webhook]) -> Vec<Vec<f64>> {
        let mut samples = vec![Vec::new(); replicas.len()];
        while self.goes_on() {
            for (replica, samples) in replicas.iter().zip(&mut samples) {
                replica.process.must_run();
                samples.push(replica.process.memory().resident);
            }
            sleep(BETWEEN_SAMPLES).await;
        }
        samples
    }

    /// Each namespace that had a Pod has a token with life left.
    async fn all_fresh(&self) {
        for namespace in &self.namespaces {
            let Some(secret) = namespace.secret().await else {
                continue;
            };
            let expires = &secret["metadata"]["annotations"]["ecr-admission.dev/expires-at"];
            let expires: jiff::Timestamp = expires.as_str().unwrap().parse().unwrap();
            assert!(expires > Clock::system().now(), "{}", namespace.name);
        }
    }
}

fn row(name: &str, samples: &[f64]) -> String {
    let quarter = samples.len() / 4;
    let (second, last) = (&samples[quarter..2 * quarter], &samples[3 * quarter..]);
    let (second, last) = (median(second), median(last));
    let (share, more) = GROWTH;
    assert!(
        last <= second * share + more,
        "{name} grew from {second:.1} to {last:.1} MiB: {samples:?}"
    );
    let most = quantile(samples, 1.0);
    format!(
        "| {name} | {:.1} | {second:.1} | {last:.1} | {most:.1} |",
        samples[0]
    )
}
