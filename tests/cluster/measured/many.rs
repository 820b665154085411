//! Ten thousand namespaces with a Secret each, on the real API server.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use jiff::SignedDuration;

use super::crowd::create;
use super::numbers::{milliseconds, quantile};
use super::register_patiently;
use super::report::Report;
use crate::certificates::clocks::wrong_clock;
use crate::ecr::{Answer, EcrDouble, Reply};
use crate::harness::component::Component;
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::{Target, install_permissions};
use crate::harness::namespace::Namespace;
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::{run, within};

/// How many, and what says otherwise.
const NAMESPACES: (&str, usize) = ("CLUSTER_SECRETS", 10_000);
/// In MiB (60 MB).
const MOST_MEMORY: f64 = 57.2;
/// By then every token is past half of its life, and past the part of it that renewals are spread over.
const LATER: SignedDuration = SignedDuration::from_mins(7 * 60 + 30);
/// No step takes longer, however busy the machine is.
const LONGEST: Duration = Duration::from_hours(1);

#[test]
#[ignore = "a measurement: tests/cluster/run --full many"]
fn secrets_listed_and_renewed() {
    run(async {
        let (variable, usual) = NAMESPACES;
        let given = std::env::var(variable).ok();
        let count = given.map_or(usual, |text| text.parse().unwrap());
        let mut report = Report::new("many", "Ten thousand Secrets on the real API server");
        let plane = ControlPlane::start("many").await;
        install_permissions(&plane).await;
        let ecr = EcrDouble::start().await;
        let names = (0..count).map(|number| format!("team-{number:05}"));
        let creating = names.map(|name| Namespace::create(&plane, name));
        let namespaces: Vec<_> = stream::iter(creating).buffer_unordered(16).collect().await;

        report.line(&format!(
            "\n{count} namespaces with one Pod each, whose admissions made the Secrets; one replica; etcd without fsync. CPU time is \
             that of the step; memory is resident, at the step's end, in MiB.\n"
        ));
        report.line("| step | seconds | requests of ours | CPU s: ours | API server | etcd | memory: ours | most so far | API server |");
        report.line("|---|---|---|---|---|---|---|---|---|");

        let settings = || Settings::files(&plane.folder).logging("info");
        let webhook = Webhook::start_with(&plane, &ecr, "first", settings()).await;
        register_patiently(&plane, Target::Service(webhook.address.port())).await;
        let step = Step::start(&plane, Some(&webhook));
        let times = create(&namespaces, "app", 16, true).await;
        let created = step.end(&plane, &webhook, "Pods created: a Secret each, 16 at once");
        report.line(&created);
        let times = milliseconds(&times.each);
        let (p50, p99) = (quantile(&times, 0.5), quantile(&times, 0.99));
        assert_eq!(ecr.calls().len(), 1, "one token for all of them");
        drop(webhook);

        let step = Step::start(&plane, None);
        let webhook = Webhook::start_with(&plane, &ecr, "second", settings()).await;
        indexed(&webhook, count).await;
        let started = step.end(&plane, &webhook, "started again: ready, all of them listed");
        report.line(&started);
        let step = Step::start(&plane, Some(&webhook));
        tokio::time::sleep(Duration::from_mins(1)).await;
        report.line(&step.end(&plane, &webhook, "a minute with nothing to do"));
        assert_eq!(ecr.calls().len(), 1, "nothing was due");
        drop(webhook);

        // Half a day later, by the clocks of ours and of AWS.
        let twelve_hours = SignedDuration::from_hours(12);
        let token = Answer::Token("password-of-REGION".into(), twelve_hours);
        ecr.always(Reply {
            ahead: LATER,
            ..Reply::from(token)
        });
        let seconds = LATER.as_secs();
        let settings = settings().with_clock_off(&wrong_clock(&plane.folder), seconds);
        let step = Step::start(&plane, None);
        let webhook = Webhook::start_with(&plane, &ecr, "third", settings).await;
        within(LONGEST, "all Secrets are renewed", async || {
            webhook.process.must_run();
            let renewed = r#"ecr_admission_refreshes_total{result="renewed""#;
            webhook.counted(renewed).await >= count as u64
        })
        .await;
        let renewed = step.end(
            &plane,
            &webhook,
            "started 7.5 hours later: all of them renewed",
        );
        report.line(&renewed);
        let mints = ecr.calls().len();
        assert_eq!(mints, 2, "one more token for all of them");
        let memory = webhook.process.memory();

        let met = |value: f64| {
            if value <= MOST_MEMORY {
                "met"
            } else {
                "missed"
            }
        };
        report.line(&format!(
            "\nA creation, new Secret included, took {p50:.1} ms (p50), {p99:.1} ms (p99). {mints} tokens were minted in all. Resident \
             memory of ours after the renewal {:.1} MiB, at its most {:.1}; at most {MOST_MEMORY} MiB (60 MB) was promised: {}, {}.",
            memory.resident,
            memory.most,
            met(memory.resident),
            met(memory.most),
        ));
        report.publish();
    });
}

async fn indexed(webhook: &Webhook, count: usize) {
    within(LONGEST, "all Secrets are in the index", async || {
        webhook.process.must_run();
        webhook.counted("ecr_admission_secret_index_size").await == count as u64
    })
    .await;
}

/// What was used when a step began.
pub(super) struct Step {
    started: Instant,
    requests: usize,
    /// Of ours, of the API server, of etcd.
    cpu: [f64; 3],
}

impl Step {
    pub(super) fn start(plane: &ControlPlane, ours: Option<&Webhook>) -> Self {
        Self {
            started: Instant::now(),
            requests: requests(plane),
            cpu: [
                ours.map_or(0.0, |ours| ours.process.cpu_seconds()),
                plane.api_server().cpu_seconds(),
                plane.etcd.cpu_seconds(),
            ],
        }
    }

    pub(super) fn end(self, plane: &ControlPlane, ours: &Webhook, name: &str) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let requests = requests(plane) - self.requests;
        let processes: [&Component; 3] = [&ours.process, plane.api_server(), &plane.etcd];
        let [own, server, etcd] =
            std::array::from_fn(|number| processes[number].cpu_seconds() - self.cpu[number]);
        let memory = ours.process.memory();
        let (resident, most) = (memory.resident, memory.most);
        let servers = plane.api_server().memory().resident;
        format!(
            "| {name} | {seconds:.1} | {requests} | {own:.1} | {server:.1} | {etcd:.1} | {resident:.1} | {most:.1} | {servers:.0} |"
        )
    }
}

/// What our account has asked the API server for, by its audit log.
fn requests(plane: &ControlPlane) -> usize {
    let log = std::fs::read_to_string(plane.folder.join("audit.log"));
    log.unwrap_or_default().lines().count()
}
