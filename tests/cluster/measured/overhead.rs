//! What an admission adds to the creation of a Pod: ours, warm, beside a webhook that does nothing, and beside none.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::crowd::{Times, create};
use super::noop::{Noop, PATCHING};
use super::numbers::{median, milliseconds, quantile, spread};
use super::report::Report;
use super::{PATIENT_SECONDS, delete};
use crate::ecr::EcrDouble;
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::{apply, install_permissions, manifest, service};
use crate::harness::namespace::{IMAGE, Namespace, SECRET, one_container, pull_secrets};
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::{eventually, run};

const ROUNDS: usize = 15;
/// Of each round and variant, this many slices of so many Pods, in turn with those of the other variants.
const SLICES: usize = 5;
const SLICE: usize = 100;
/// One after the other, and so many at once.
const AT_ONCE: [usize; 2] = [1, 16];
/// By p50, in milliseconds.
const PROMISE: f64 = 0.1;

/// Who is asked about the Pods of a namespace of this name.
const NOBODY: &str = "nobody";
const NOOP: &str = "no-op";
const OURS: &str = "ours";
const NOOP_BOTH: &str = "no-op-both";
const OURS_BOTH: &str = "ours-both";
/// As the chart installs it where the API server has policies that inject: then there is nothing left to patch.
const NOOP_INJECTED: &str = "no-op-injected";
const OURS_INJECTED: &str = "ours-injected";
const INJECTED: [&str; 2] = [NOOP_INJECTED, OURS_INJECTED];
const VARIANTS: [&str; 8] = [
    NOBODY,
    NOOP,
    PATCHING,
    OURS,
    NOOP_BOTH,
    OURS_BOTH,
    NOOP_INJECTED,
    OURS_INJECTED,
];

/// The p50 and the p99 of each round, by variant.
type Rounds = BTreeMap<&'static str, Vec<(f64, f64)>>;

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
        for variant in VARIANTS {
            let namespace = Namespace::create(&plane, variant).await;
            let label = json!({"metadata": {"labels": {"measured": variant}}});
            let path = format!("/api/v1/namespaces/{variant}");
            plane.api.merge(&path, &label).await.unwrap();
            namespaces.push(namespace);
        }
        warm(&namespaces).await;

        report.line(&format!(
            "\nMilliseconds from the request to the answer. {ROUNDS} rounds of {} Pods for each row, in slices of {SLICE} in turn; \
             medians of the rounds, and in brackets their least and greatest. A Service leads the API server to both servers \
             (TLS, HTTP/1.1); the no-op has the same listener, rules and matchConditions, and log level info, as ours. The patching \
             no-op answers always the same, our patch: it shows what the API server itself takes for applying it. \"Injected\" is by \
             the MutatingAdmissionPolicy that the chart installs by default where the API server has them, for the no-op as for ours.",
            SLICES * SLICE
        ));
        for at_once in AT_ONCE {
            let rounds = measure(&namespaces, at_once).await;
            print(&mut report, at_once, &rounds);
        }
        let mints = ecr.calls().len();
        assert_eq!(mints, 1, "tokens minted for the warm namespaces");
        report.publish();
    });
}

/// The same rules for both: mutating alone, or the validating one as well.
async fn register(plane: &ControlPlane, ours: &Webhook, noop: &Noop) {
    let noop = &noop.announcement;
    let both = [
        (
            ours.address,
            &plane.ca.ca_pem,
            [OURS, OURS_BOTH, OURS_INJECTED],
        ),
        (noop.address, &noop.ca_pem, [NOOP, NOOP_BOTH, NOOP_INJECTED]),
    ];
    let mut objects = vec![service("ecr-admission")];
    objects.extend(inject_policy());
    for (address, authority, [alone, with_validating, injected]) in both {
        for mut object in manifest("webhooks.yaml") {
            object["metadata"]["name"] = json!(alone);
            let asked = match object["kind"].as_str() {
                Some("MutatingWebhookConfiguration") if alone == NOOP => {
                    vec![alone, PATCHING, with_validating, injected]
                }
                Some("MutatingWebhookConfiguration") => vec![alone, with_validating, injected],
                _ => vec![with_validating],
            };
            let webhooks = object["webhooks"].as_array_mut().unwrap();
            webhooks.retain(|webhook| webhook["name"] == "pods.ecr-admission.dev");
            for webhook in webhooks {
                webhook["clientConfig"]["service"]["port"] = json!(address.port());
                webhook["clientConfig"]["caBundle"] = json!(BASE64_STANDARD.encode(authority));
                webhook["namespaceSelector"] = measured(&asked);
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
            object["spec"]["matchResources"] = json!({"namespaceSelector": measured(&INJECTED)});
        }
    }
    objects
}

/// Selects the namespaces of these variants.
fn measured(variants: &[&str]) -> Value {
    json!({"matchExpressions": [{"key": "measured", "operator": "In", "values": variants}]})
}

/// Until the API server asks as it is told to.
async fn warm(namespaces: &[Namespace<'_>]) {
    for namespace in namespaces.iter().filter(|one| is_injected(one)) {
        eventually("whoever patches is asked", async || {
            let name = format!("probe-{}", fastrand::u64(..));
            let pod = namespace.create_pod(&name, &one_container(IMAGE)).await;
            pod.is_ok_and(|pod| pull_secrets(&pod) == [SECRET])
        })
        .await;
        if [PATCHING, NOOP_INJECTED].contains(&namespace.name.as_str()) {
            continue;
        }
        eventually("the Secret is there", async || namespace.is_served().await).await;
    }
    for namespace in namespaces {
        create(vec![namespace; SLICE], "warm", 4, is_injected(namespace)).await;
        empty(namespace).await;
    }
}

fn is_injected(namespace: &Namespace<'_>) -> bool {
    ![NOBODY, NOOP, NOOP_BOTH].contains(&namespace.name.as_str())
}

async fn measure(namespaces: &[Namespace<'_>], at_once: usize) -> Rounds {
    let mut rounds = Rounds::new();
    for round in 0..ROUNDS {
        let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for slice in 0..SLICES {
            // Whoever is first now is last next time, and whoever comes behind another then comes before it: the API
            // server may still be working off one slice when the next begins.
            let turn = round * SLICES + slice;
            for place in 0..VARIANTS.len() {
                let place = if turn.is_multiple_of(2) {
                    place
                } else {
                    VARIANTS.len() - 1 - place
                };
                let variant = (place + turn / 2) % VARIANTS.len();
                let namespace = &namespaces[variant];
                let prefix = format!("pod-{slice}");
                let Times { each, .. } = create(
                    vec![namespace; SLICE],
                    &prefix,
                    at_once,
                    is_injected(namespace),
                )
                .await;
                let all = times.entry(VARIANTS[variant]).or_default();
                all.extend(milliseconds(&each));
            }
        }
        for (variant, times) in times {
            let pair = (median(&times), quantile(&times, 0.99));
            rounds.entry(variant).or_default().push(pair);
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
        "\n| {how} | p50 | p99 | p50 over none | p50 over the no-op |"
    ));
    report.line("|---|---|---|---|---|");
    for (variant, name, other) in [
        (NOBODY, "no webhook", None),
        (NOOP, "no-op, mutating", None),
        (PATCHING, "no-op that patches, mutating", None),
        (OURS, "ours, mutating", Some(NOOP)),
        (
            OURS,
            "the same, over the no-op that patches",
            Some(PATCHING),
        ),
        (NOOP_BOTH, "no-op, mutating and validating", None),
        (OURS_BOTH, "ours, mutating and validating", Some(NOOP_BOTH)),
        (NOOP_INJECTED, "injected, and a no-op, mutating", None),
        (
            OURS_INJECTED,
            "injected, and ours, mutating",
            Some(NOOP_INJECTED),
        ),
    ] {
        let all = &rounds[variant];
        let p50s: Vec<f64> = all.iter().map(|round| round.0).collect();
        let p99s: Vec<f64> = all.iter().map(|round| round.1).collect();
        let over = |other: &str| -> Vec<f64> {
            let pairs = all.iter().zip(&rounds[other]);
            pairs.map(|(own, other)| own.0 - other.0).collect()
        };
        let over_none = if variant == NOBODY {
            String::new()
        } else {
            cell(&over(NOBODY))
        };
        let over_noop = other.map_or_else(String::new, |other| {
            let over = over(other);
            let met = if median(&over) <= PROMISE {
                "met"
            } else {
                "missed"
            };
            format!("{}; at most {PROMISE}: {met}", cell(&over))
        });
        let (p50, p99) = (cell(&p50s), cell(&p99s));
        report.line(&format!(
            "| {name} | {p50} | {p99} | {over_none} | {over_noop} |"
        ));
    }
}

fn cell(values: &[f64]) -> String {
    let (least, greatest) = spread(values);
    format!("{:.2} ({least:.2} to {greatest:.2})", median(values))
}
