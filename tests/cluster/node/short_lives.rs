//! Tokens that live for minutes, in a registry that takes each until its end, as ECR does.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::front::{Front, PASSWORD, end_of};
use super::machine::{Machine, TWELVE_HOURS};
use super::pods::{create, in_phase, never_told, pod, spec, waits_for};
use super::registry::Password;
use super::{in_machine, patiently};
use crate::ecr::Answer;
use crate::harness::namespace::Namespace;
use crate::measured::report::Report;

/// Of a region that no other test has a token of.
const HOST: &str = "222222222222.dkr.ecr.eu-central-1.amazonaws.com";
/// Half of it, less the tenth that renewals are spread over, is what a Pod has to pull with at least.
const LIFE: SignedDuration = SignedDuration::from_mins(2);
/// How often the Secret is renewed while Pods are created, at least.
const RENEWALS: usize = 1;
/// How long Pods are created, in seconds, if longer than it takes for these renewals.
const LENGTH: &str = "CLUSTER_SHORT_LIVES_SECONDS";

/// A Pod that asks the registry whenever a container of it is started.
fn asking(image: &str, node: &str) -> Value {
    let mut spec = spec(image);
    spec["containers"][0]["imagePullPolicy"] = json!("Always");
    spec["nodeSelector"] = json!({"kubernetes.io/hostname": node});
    spec
}

/// Puts tokens that live for minutes, and the registry that takes them, in the place of those of `HOST`, and leaves
/// nothing of them behind.
async fn with_short_lives<T>(
    machine: &Machine,
    name: &str,
    test: impl AsyncFnOnce(&Front, &Namespace<'_>, &str) -> T,
) -> T {
    let plane = &machine.plane;
    let front = Front::start(plane).await;
    for node in &machine.nodes {
        node.lead(plane, HOST, &front.address);
    }
    machine.ecr.always(Answer::Token(PASSWORD.to_owned(), LIFE));
    let path = format!("team/app:{name}");
    machine.registry.vary("stand-in:v1", &path).await;
    let namespace = Namespace::create(plane, name).await;
    let result = test(&front, &namespace, &format!("{HOST}/{path}")).await;
    // Else its Secret would be renewed for as long as the tests run.
    let path = format!("/api/v1/namespaces/{name}");
    plane.api.delete(&path).await.unwrap();
    patiently("the namespace is gone", async || {
        !plane.api.exists(&path).await
    })
    .await;
    let usual = Password::First.text().to_owned();
    machine.ecr.always(Answer::Token(usual, TWELVE_HOURS));
    result
}

/// When the password in the Secret ends.
async fn end_in(namespace: &Namespace<'_>) -> Option<i64> {
    let passwords = namespace.passwords().await;
    let (_, password) = passwords.into_iter().find(|(host, _)| host == HOST)?;
    end_of(&password)
}

#[test]
fn pods_pull_at_any_time_while_tokens_live_for_minutes() {
    in_machine(async |machine| {
        let given = std::env::var(LENGTH).ok();
        let length = given.map_or(0, |text| text.parse().unwrap());
        let length = Duration::from_secs(length);
        let report = Report::new("short_lives", "Tokens that live for minutes");
        let seen = with_short_lives(machine, "short-lives", async |front, namespace, image| {
            create_and_restart(machine, front, namespace, image, length).await
        })
        .await;
        if !length.is_zero() {
            seen.tell(report);
        }
    });
}

/// What was seen while Pods were created.
struct Seen {
    pods: usize,
    restarts: u64,
    renewals: usize,
    took: Duration,
}

impl Seen {
    fn tell(&self, mut report: Report) {
        let Self {
            pods,
            restarts,
            renewals,
            took,
        } = self;
        report.line(&format!(
            "\nTwo nodes, two replicas, tokens of {} s, each taken by the registry until its own end. In {} s {pods} Pods with \
             `imagePullPolicy: Always` were created, one after the other, and one that was admitted at the start was restarted \
             {restarts} times; the Secret was renewed {renewals} times. No pull failed, and no request came with a password that \
             had ended.",
            LIFE.as_secs(),
            took.as_secs(),
        ));
        report.publish();
    }
}

async fn create_and_restart(
    machine: &Machine,
    front: &Front,
    namespace: &Namespace<'_>,
    image: &str,
    length: Duration,
) -> Seen {
    let started = Instant::now();
    // Admitted once, and pulled with whatever is in the Secret later.
    let mut restarting = asking(image, machine.nodes[0].name);
    restarting["containers"][0]["args"] = json!(["exit"]);
    create(namespace, "restarting", &restarting).await.unwrap();

    let (mut ends, mut pods) = (BTreeSet::new(), 0);
    while ends.len() <= RENEWALS || started.elapsed() < length {
        let (name, node) = (format!("app-{pods}"), &machine.nodes[pods % 2]);
        create(namespace, &name, &asking(image, node.name))
            .await
            .unwrap();
        in_phase(namespace, &name, "Running").await;
        never_told(namespace, &name, "Failed").await;
        ends.extend(end_in(namespace).await);
        let path = namespace.path(&format!("pods/{name}?gracePeriodSeconds=0"));
        namespace.api().delete(&path).await.unwrap();
        pods += 1;
    }
    let restarts = async || {
        let pod = pod(namespace, "restarting").await;
        pod["status"]["containerStatuses"][0]["restartCount"]
            .as_u64()
            .unwrap_or_default()
    };
    patiently("it is pulled again", async || restarts().await > 2).await;
    never_told(namespace, "restarting", "Failed").await;
    assert_eq!(
        front.refused(),
        0,
        "requests with a password that had ended"
    );
    Seen {
        pods,
        restarts: restarts().await,
        renewals: ends.len() - 1,
        took: started.elapsed(),
    }
}

#[test]
fn a_pod_that_met_a_revoked_token_pulls_at_the_next_try_after_the_renewal() {
    in_machine(async |machine| {
        let node = machine.nodes[0].name;
        with_short_lives(machine, "revoked", async |front, namespace, image| {
            create(namespace, "before", &asking(image, node))
                .await
                .unwrap();
            in_phase(namespace, "before", "Running").await;
            let revoked = end_in(namespace).await.unwrap();
            front.revoke(revoked);

            create(namespace, "after", &asking(image, node))
                .await
                .unwrap();
            waits_for(namespace, "after", "ImagePullBackOff").await;
            patiently("the Secret is renewed", async || {
                end_in(namespace).await.is_some_and(|end| end > revoked)
            })
            .await;
            let failed = failed_pulls(namespace, "after").await;
            in_phase(namespace, "after", "Running").await;
            // One may have been under way.
            let more = failed_pulls(namespace, "after").await - failed;
            assert!(more <= 1, "{more} pulls failed with the new token");
            assert!(front.refused() > 0);
        })
        .await;
    });
}

/// How often the kubelet said that a pull failed.
async fn failed_pulls(namespace: &Namespace<'_>, name: &str) -> u64 {
    let path = namespace.path(&format!("events?fieldSelector=involvedObject.name={name}"));
    let list = namespace.api().get(&path).await.unwrap();
    let events = list["items"].as_array().unwrap().iter();
    let failed = events.filter(|event| {
        let message = event["message"].as_str().unwrap_or_default();
        event["reason"] == "Failed" && message.starts_with("Failed to pull image")
    });
    failed
        .map(|event| event["count"].as_u64().unwrap_or(1))
        .sum()
}
