//! Five hundred policies and ten thousand namespaces, on the real API server.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::many::Step;
use super::report::Report;
use crate::ecr::EcrDouble;
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::{apply, install_permissions, manifest};
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::{run, within};

/// How many, and what says otherwise.
const NAMESPACES: (&str, usize) = ("CLUSTER_NAMESPACES", 10_000);
const POLICIES: (&str, usize) = ("CLUSTER_POLICIES", 500);
const COLLECTION: &str = "/apis/ecr-admission.dev/v1alpha1/ecrpolicies";
/// In MiB (80 MB).
const MOST_MEMORY: f64 = 76.3;
/// No step takes longer, however busy the machine is.
const LONGEST: Duration = Duration::from_hours(1);
const AT_ONCE: usize = 16;

fn count((variable, usual): (&str, usize)) -> usize {
    let given = std::env::var(variable).ok();
    given.map_or(usual, |text| text.parse().unwrap())
}

/// One tenant's: by label, in an account of its own, by a role of its own, and rules.
fn policy(tenant: usize) -> Value {
    let account = format!("{:012}", 100_000_000_000 + tenant);
    json!({
        "apiVersion": "ecr-admission.dev/v1alpha1",
        "kind": "EcrPolicy",
        "metadata": {"name": format!("tenant-{tenant:03}")},
        "spec": {
            "namespaces": {"matchLabels": {"tenant": format!("t{tenant}")}},
            "grants": [{
                "registries": [account],
                "repositories": ["apps/**", "base/*"],
                "role": {"arn": format!("arn:aws:iam::{account}:role/ecr-tenant-{tenant}"), "externalId": "cluster-1"},
            }],
            "validation": {"tagRequired": {}, "mutableTags": {"tags": ["latest", "main"], "action": "Warn"}},
        },
    })
}

fn namespace(number: usize, tenants: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": format!("team-{number:05}"),
            "labels": {"tenant": format!("t{}", number % tenants), "example.com/cost-center": "platform"},
        },
    })
}

async fn create(plane: &ControlPlane, path: &str, objects: impl Iterator<Item = Value>) {
    let creating = objects.map(async |object| {
        plane.api.create(path, &object).await.unwrap();
    });
    stream::iter(creating)
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<()>>()
        .await;
}

#[test]
#[ignore = "a measurement: tests/cluster/run --full policies"]
fn policies_listed_in_force_and_told() {
    run(async {
        let (namespaces, policies) = (count(NAMESPACES), count(POLICIES));
        let mut report = Report::new("policies", "Policies and namespaces on the real API server");
        let plane = ControlPlane::start("policies-many").await;
        install_permissions(&plane).await;
        for file in ["crd.yaml", "policies.yaml"] {
            apply(&plane, manifest(file)).await;
        }
        let wait = [
            "wait",
            "--for=condition=Established",
            "--timeout=600s",
            "crd/ecrpolicies.ecr-admission.dev",
        ];
        assert!(plane.kubectl(&wait, "").await.ok);
        let all = (0..namespaces).map(|number| namespace(number, policies));
        create(&plane, "/api/v1/namespaces", all).await;
        create(&plane, COLLECTION, (0..policies).map(policy)).await;

        report.line(&format!(
            "\n{namespaces} namespaces, and {policies} policies with a role, a label selector and two rules each; one replica; etcd \
             without fsync. CPU time is that of the step; memory is resident, at the step's end, in MiB.\n"
        ));
        report.line("| step | seconds | requests of ours | CPU s: ours | API server | etcd | memory: ours | most so far | API server |");
        report.line("|---|---|---|---|---|---|---|---|---|");
        let ecr = EcrDouble::start().await;
        let chosen = ["--policy-source", "Cluster"].map(Into::into);
        let settings = Settings::files(&plane.folder).logging("info").with(chosen);
        let step = Step::start(&plane, None);
        let webhook = Webhook::start_with(&plane, &ecr, "replica", settings).await;
        report.line(&step.end(&plane, &webhook, "started: ready, all policies in force"));
        let ready = webhook
            .counted("ecr_admission_policies{state=\"ready\"}")
            .await;
        assert_eq!(ready, policies as u64);

        let step = Step::start(&plane, Some(&webhook));
        within(LONGEST, "every status is written", async || {
            webhook.process.must_run();
            let written = r#"ecr_admission_policy_status_writes_total{result="written""#;
            webhook.counted(written).await >= policies as u64
        })
        .await;
        report.line(&step.end(&plane, &webhook, "every status is written"));
        let step = Step::start(&plane, Some(&webhook));
        tokio::time::sleep(Duration::from_mins(1)).await;
        report.line(&step.end(&plane, &webhook, "a minute with nothing to do"));

        let step = Step::start(&plane, Some(&webhook));
        let started = Instant::now();
        let path = format!("{COLLECTION}/tenant-000");
        plane.api.delete(&path).await.unwrap();
        within(LONGEST, "it is in force", async || {
            webhook
                .counted("ecr_admission_policies{state=\"ready\"}")
                .await
                == policies as u64 - 1
        })
        .await;
        let in_force = started.elapsed();
        report.line(&step.end(&plane, &webhook, "a policy is deleted: in force"));

        let memory = webhook.process.memory();
        let met = |value: f64| {
            if value <= MOST_MEMORY {
                "met"
            } else {
                "missed"
            }
        };
        report.line(&format!(
            "\nA change was in force after {in_force:.1?} (looked at every 50 ms; at most 2 s was promised). Resident memory of ours at \
             the end {:.1} MiB, at its most {:.1}; at most {MOST_MEMORY} MiB (80 MB) was promised: {}, {}.",
            memory.resident,
            memory.most,
            met(memory.resident),
            met(memory.most),
        ));
        report.publish();
    });
}
