//! Many Pods at once: into one namespace that is warm, and each into a new one.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use serde_json::json;

use super::crowd::{Times, create};
use super::numbers::{median, milliseconds, quantile};
use super::register_patiently;
use super::report::Report;
use crate::ecr::EcrDouble;
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::{Target, install_permissions};
use crate::harness::namespace::{IMAGE, Namespace, SECRET, one_container, pull_secrets};
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::{eventually, run};

const PODS: usize = 256;
const AT_ONCE: usize = 128;
const ROUNDS: usize = 5;
/// What the chart's webhooks wait for, and longer than which no admission should take.
const CHART_TIMEOUT: Duration = Duration::from_secs(5);

#[test]
#[ignore = "a measurement: tests/cluster/run --full bursts"]
fn of_pods() {
    run(async {
        let mut report = Report::new("bursts", "Bursts of Pods");
        let plane = ControlPlane::start("bursts").await;
        install_permissions(&plane).await;
        let ecr = EcrDouble::start().await;
        let mut rows = Vec::new();
        let unasked = measure(&plane, "unasked", false).await;
        rows.push(("no webhook, one namespace", unasked.0));
        rows.push(("no webhook, 256 new namespaces", unasked.1));

        let settings = Settings::files(&plane.folder).logging("info");
        let ours = Webhook::start_with(&plane, &ecr, "ecr-admission", settings).await;
        register_patiently(&plane, Target::Service(ours.address.port())).await;
        let probe = Namespace::create(&plane, "probe").await;
        eventually("ours is asked", async || {
            let name = format!("probe-{}", fastrand::u64(..));
            let pod = probe.create_pod(&name, &one_container(IMAGE)).await;
            pod.is_ok_and(|pod| pull_secrets(&pod) == [SECRET])
        })
        .await;
        let asked = measure(&plane, "asked", true).await;
        rows.push(("ours, one warm namespace", asked.0));
        rows.push(("ours, 256 new namespaces", asked.1));

        let mints = ecr.calls().len();
        assert_eq!(mints, 1, "one replica, one region, one token");
        let created = ours
            .counted(r#"ecr_admission_secret_writes_total{result="created""#)
            .await;
        let expected = u64::try_from(ROUNDS * PODS + 2).unwrap();
        assert_eq!(created, expected, "one Secret a namespace");
        let warned = r#"ecr_admission_admissions_total{operation="create",verdict="warned""#;
        let warned = ours.counted(warned).await;

        report.line(&format!(
            "\n{PODS} Pods, {AT_ONCE} at once, {ROUNDS} rounds: medians of the rounds, in milliseconds. No Pod was refused, every one \
             of ours was injected; {mints} token was minted for {created} Secrets; {warned} Pods were admitted with a warning.\n"
        ));
        report.line(
            "| | all of them | p50 | p99 | slowest of all rounds | slower than the chart's 5 s |",
        );
        report.line("|---|---|---|---|---|---|");
        for (name, rounds) in rows {
            report.line(&row(name, &rounds));
        }
        report.publish();
    });
}

/// Rounds into one namespace, and into new ones.
async fn measure(plane: &ControlPlane, name: &str, ours: bool) -> (Vec<Times>, Vec<Times>) {
    let one = Namespace::create(plane, name).await;
    if !ours {
        opt_out(plane, &[&one]).await;
    }
    // So that it is warm.
    create([&one], "first", 1, ours).await;
    let (mut warm, mut new) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let names = (0..PODS).map(|number| format!("{name}-{round}-{number}"));
        let creating = names.map(|name| Namespace::create(plane, name));
        let namespaces: Vec<Namespace<'_>> =
            stream::iter(creating).buffer_unordered(16).collect().await;
        if !ours {
            opt_out(plane, &namespaces.iter().collect::<Vec<_>>()).await;
        }
        let prefix = format!("pod-{round}");
        warm.push(create(vec![&one; PODS], &prefix, AT_ONCE, ours).await);
        new.push(create(&namespaces, "pod", AT_ONCE, ours).await);
    }
    (warm, new)
}

/// Or the survey at our start would give them what their Pods wait for, in the middle of the next burst.
async fn opt_out(plane: &ControlPlane, namespaces: &[&Namespace<'_>]) {
    let annotation = json!({"metadata": {"annotations": {"ecr-admission.dev/inject": "false"}}});
    let out = namespaces.iter().map(async |namespace| {
        let path = format!("/api/v1/namespaces/{}", namespace.name);
        plane.api.merge(&path, &annotation).await.unwrap();
    });
    join_all(out).await;
}

fn row(name: &str, rounds: &[Times]) -> String {
    let each: Vec<Vec<f64>> = rounds
        .iter()
        .map(|times| milliseconds(&times.each))
        .collect();
    let over = |of: &dyn Fn(&[f64]) -> f64| {
        let values: Vec<f64> = each.iter().map(|times| of(times)).collect();
        median(&values)
    };
    let all: Vec<Duration> = rounds.iter().map(|times| times.all).collect();
    let slowest = each.iter().flatten().copied().fold(0.0, f64::max);
    let limit = CHART_TIMEOUT.as_secs_f64() * 1e3;
    let late = each.iter().flatten().filter(|time| **time > limit).count();
    format!(
        "| {name} | {:.0} | {:.0} | {:.0} | {slowest:.0} | {late} |",
        median(&milliseconds(&all)),
        over(&median),
        over(&|times| quantile(times, 0.99)),
    )
}
