//! What an admission adds to the creation of a Pod: ours, warm, beside a webhook that does nothing, and beside none.

mod variants;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use self::variants::{Asked, VARIANTS, Variant};
use super::crowd::{Times, create};
use super::noop::{Noop, PATCHING_PATH};
use super::numbers::{median, milliseconds, quantile, spread};
use super::report::Report;
use super::{PATIENT_SECONDS, delete};
use crate::ecr::EcrDouble;
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::{apply, install_permissions, manifest, service};
use crate::harness::namespace::{IMAGE, Namespace, SECRET, one_container, pull_secrets};
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::{eventually, run};

const ROUNDS: usize = 9;
/// Of each variant, in each round.
const PODS: usize = 500;
/// How many are created at once, and how many are a slice: all variants take turns, slice by slice.
const WAYS: [(usize, usize); 2] = [(1, 10), (16, 100)];
/// By p50, in milliseconds.
const PROMISE: f64 = 0.1;

/// The p50 and the p99 of each round, by variant.
type Rounds = [Vec<(f64, f64)>; VARIANTS.len()];

#[test]
#[ignore = "a measurement: tests/cluster/run --full overhead"]
fn of_an_admission() {
    run(async {
        let mut report = Report::new(
            "overhead",
            "What an admission adds to the creation of a Pod",
        );
        let plane = ControlPlane::start("overhead").await;
        install_permissions(&plane).await;
        let ecr = EcrDouble::start().await;
        let settings = Settings::files(&plane.folder).logging("info");
        let ours = Webhook::start_with(&plane, &ecr, "ecr-admission", settings).await;
        let noop = Noop::start(&plane).await;
        register(&plane, &ours, &noop).await;
        let mut namespaces = Vec::new();
        for variant in &VARIANTS {
            let name = variant.namespace();
            let labels = json!({"measured": name});
            namespaces.push(Namespace::create_labelled(&plane, name, &labels).await);
        }
        warm(&namespaces).await;

        report.line(&format!(
            "\nMilliseconds from the request to the answer. {ROUNDS} rounds of {PODS} Pods for each row, in slices of {} (one after \
             the other) and {} (at once), whose order is drawn anew for each turn; medians of the rounds, and in brackets their least and \
             greatest. A Service leads the API server to both servers (TLS, HTTP/1.1); the no-op has the same listener, rules and \
             matchConditions, and log level info, as ours. The patching no-op answers always the same, our patch: it shows what the API \
             server itself takes for applying it. \"Injected\" is by the MutatingAdmissionPolicy that the chart installs by default where \
             the API server has them, for the no-op as for ours: the last row is what the chart installs there.",
            WAYS[0].1, WAYS[1].1
        ));
        for (at_once, slice) in WAYS {
            let rounds = measure(&namespaces, at_once, slice).await;
            print(&mut report, at_once, &rounds);
        }
        let mints = ecr.calls().len();
        assert_eq!(mints, 1, "tokens minted for the warm namespaces");
        report.publish();
    });
}

/// The same rules for everyone: mutating alone, or the validating one as well.
async fn register(plane: &ControlPlane, ours: &Webhook, noop: &Noop) {
    let noop = &noop.announcement;
    let mut objects = vec![service("ecr-admission")];
    objects.extend(inject_policy());
    for (asked, address, authority) in [
        (Asked::Ours, ours.address, &plane.ca.ca_pem),
        (Asked::Noop, noop.address, &noop.ca_pem),
        (Asked::Patching, noop.address, &noop.ca_pem),
    ] {
        for mut object in manifest("webhooks.yaml") {
            object["metadata"]["name"] = json!(asked.to_string());
            let mutating = object["kind"] == "MutatingWebhookConfiguration";
            let selector = measured(|one| one.asked == asked && (mutating || one.validating));
            let webhooks = object["webhooks"].as_array_mut().unwrap();
            webhooks.retain(|webhook| webhook["name"] == "pods.ecr-admission.dev");
            for webhook in webhooks {
                webhook["clientConfig"]["service"]["port"] = json!(address.port());
                if mutating && asked == Asked::Patching {
                    webhook["clientConfig"]["service"]["path"] = json!(PATCHING_PATH);
                }
                webhook["clientConfig"]["caBundle"] = json!(BASE64_STANDARD.encode(authority));
                webhook["namespaceSelector"] = selector.clone();
                webhook["timeoutSeconds"] = json!(PATIENT_SECONDS);
                // Whoever is not asked is not measured.
                webhook["failurePolicy"] = json!("Fail");
            }
            objects.push(object);
        }
    }
    apply(plane, objects).await;
}

/// The policy that injects as we do, where it is measured.
fn inject_policy() -> Vec<Value> {
    let mut objects = manifest("inject-policy.yaml");
    for object in &mut objects {
        if object["kind"] == "MutatingAdmissionPolicyBinding" {
            let selector = measured(|one| one.injected);
            object["spec"]["matchResources"] = json!({"namespaceSelector": selector});
        }
    }
    objects
}

/// Selects the namespaces of these variants.
fn measured(chosen: impl Fn(&Variant) -> bool) -> Value {
    let chosen = VARIANTS.iter().filter(|one| chosen(one));
    let names: Vec<String> = chosen.map(Variant::namespace).collect();
    json!({"matchExpressions": [{"key": "measured", "operator": "In", "values": names}]})
}

/// Until the API server asks as it is told to.
async fn warm(namespaces: &[Namespace<'_>]) {
    for (variant, namespace) in VARIANTS.iter().zip(namespaces) {
        if variant.is_served() {
            eventually("whoever patches is asked", async || {
                let name = format!("probe-{}", fastrand::u64(..));
                let pod = namespace.create_pod(&name, &one_container(IMAGE)).await;
                pod.is_ok_and(|pod| pull_secrets(&pod) == [SECRET])
            })
            .await;
        }
        if variant.asked == Asked::Ours {
            eventually("the Secret is there", async || namespace.is_served().await).await;
        }
    }
    for (variant, namespace) in VARIANTS.iter().zip(namespaces) {
        create(vec![namespace; 100], "warm", 4, variant.is_served()).await;
        empty(namespace).await;
    }
}

async fn measure(namespaces: &[Namespace<'_>], at_once: usize, slice: usize) -> Rounds {
    let mut rounds = Rounds::default();
    for _ in 0..ROUNDS {
        let mut times = [const { Vec::new() }; VARIANTS.len()];
        for turn in 0..PODS / slice {
            // By chance, because the API server may still be working off one slice when the next begins.
            let mut order: Vec<usize> = (0..VARIANTS.len()).collect();
            fastrand::shuffle(&mut order);
            for place in order {
                let pods = vec![&namespaces[place]; slice];
                let prefix = format!("pod-{turn}");
                let served = VARIANTS[place].is_served();
                let Times { each, .. } = create(pods, &prefix, at_once, served).await;
                times[place].extend(milliseconds(&each));
            }
        }
        for (round, times) in rounds.iter_mut().zip(&times) {
            round.push((median(times), quantile(times, 0.99)));
        }
        for namespace in namespaces {
            empty(namespace).await;
        }
    }
    rounds
}

/// Takes all Pods away.
async fn empty(namespace: &Namespace<'_>) {
    let path = namespace.path("pods?gracePeriodSeconds=0");
    delete(namespace.api(), &path).await;
    eventually("the Pods are gone", async || {
        namespace.pods().await.is_empty()
    })
    .await;
}

fn print(report: &mut Report, at_once: usize, rounds: &Rounds) {
    let how = if at_once == 1 {
        "one after the other".to_owned()
    } else {
        format!("{at_once} at once")
    };
    report.line(&format!(
        "\n| {how} | p50 | p99 | p50 over none | p50 over the no-op | p50 over the no-op that patches |"
    ));
    report.line("|---|---|---|---|---|---|");
    for (variant, all) in VARIANTS.iter().zip(rounds) {
        let p50s: Vec<f64> = all.iter().map(|round| round.0).collect();
        let p99s: Vec<f64> = all.iter().map(|round| round.1).collect();
        let over = |other: usize| -> Vec<f64> {
            let pairs = all.iter().zip(&rounds[other]);
            pairs.map(|(own, other)| own.0 - other.0).collect()
        };
        let over_none = match variant.asked {
            Asked::Nobody => String::new(),
            _ => cell(&over(0)),
        };
        let judged = |asked| match variant.with(asked) {
            Some(other) if variant.asked == Asked::Ours => verdict(&over(other)),
            _ => String::new(),
        };
        report.line(&format!(
            "| {variant} | {} | {} | {over_none} | {} | {} |",
            cell(&p50s),
            cell(&p99s),
            judged(Asked::Noop),
            judged(Asked::Patching),
        ));
    }
}

fn verdict(over: &[f64]) -> String {
    let met = if median(over) <= PROMISE {
        "met"
    } else {
        "missed"
    };
    format!("{}; at most {PROMISE}: {met}", cell(over))
}

fn cell(values: &[f64]) -> String {
    let (least, greatest) = spread(values);
    format!("{:.2} ({least:.2} to {greatest:.2})", median(values))
}
