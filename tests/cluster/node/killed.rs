//! `kill -9` of all replicas while Pods are created all the time.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use ecr_admission::clock::Clock;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::machine::{Machine, UNSERVED};
use super::pods::waits_for;
use super::registry::OPEN_HOST;
use super::stream::{Fates, Stream, Uninjected};
use super::{in_machine, patiently};
use crate::harness::eventually;
use crate::harness::namespace::{Namespace, SECRET};
use crate::harness::within;

/// The API server neither injects by itself, nor refuses what it cannot ask about.
const NOTHING_HELPS: &str = "injectPolicy.mode=Never";
/// Pods that have failed by the time a replica looks at all of them again are found then: after 1, 3, or 7 minutes.
const THREE_LOOKS: Duration = Duration::from_mins(12);
const LOOKS: &str = r#"ecr_admission_reconciliations_total{result="ok""#;
const TO_RECREATE: &str = "ecr_admission_pods_to_recreate ";

#[test]
fn killed_replicas_leave_no_pod_uninjected_where_the_api_server_injects_too() {
    in_machine(async |machine| {
        let plane = &machine.plane;
        machine.installation.restart(plane).await;
        let stream = Stream::start(plane, "killed").await;
        for _ in 0..2 {
            kill_all(machine).await;
        }
        stream.stop().await.assert_all_served();
    });
}

#[test]
fn killed_replicas_leave_no_pod_uninjected_where_service_accounts_name_the_secret() {
    in_machine(async |machine| {
        let (plane, installation) = (&machine.plane, &machine.installation);
        let set = [NOTHING_HELPS, "config.serviceAccountMode=Add"];
        installation.upgrade(plane, &set).await;
        let stream = Stream::start(plane, "killed-with-accounts").await;
        let namespace = Namespace::of(plane, "killed-with-accounts");
        // Nobody but the ServiceAccount gives it to a Pod without an ECR image.
        let image = format!("--image={OPEN_HOST}/stand-in:v1");
        let probe = ["run", "probe", &image, "--dry-run=server", "--output=json"];
        patiently("Pods get it from their ServiceAccount", async || {
            let said = namespace.kubectl(&probe, "").await;
            said.ok && said.out.contains(SECRET)
        })
        .await;
        kill_all(machine).await;
        stream.stop().await.assert_all_served();

        // Takes our entries out of all ServiceAccounts.
        installation.uninstall(plane).await;
        installation.upgrade(plane, &[]).await;
    });
}

#[test]
fn without_either_the_pods_of_the_outage_alone_are_uninjected_and_each_is_counted_and_named() {
    in_machine(async |machine| {
        let (plane, installation) = (&machine.plane, &machine.installation);
        installation.upgrade(plane, &[NOTHING_HELPS]).await;
        let before = counted_before(machine).await;
        let stream = Stream::start_slowly(plane, "killed-alone").await;
        let started = Clock::system().now();
        kill_all(machine).await;
        let ended = Clock::system().now();
        // Some that are injected again.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let fates = stream.stop().await;
        println!("{fates:?}");
        assert!(fates.refused.is_empty(), "{fates:?}");
        assert!(fates.served > 0 && !fates.uninjected.is_empty());
        of_the_outage(&fates, started, ended);

        let namespace = Namespace::of(plane, "killed-alone");
        for Uninjected { name, .. } in &fates.uninjected {
            let path = namespace.path(&format!("pods/{name}"));
            let free = json!({"spec": {"schedulingGates": null}});
            plane.api.merge(&path, &free).await.unwrap();
        }
        let lost: BTreeSet<&str> = fates.uninjected.iter().map(|pod| &*pod.name).collect();
        within(THREE_LOOKS, "each of them is named", async || {
            let told = namespace.events("PullSecretNotInPod").await;
            let named = told.iter().filter_map(|event| event.split(' ').nth(2));
            named.collect::<BTreeSet<_>>() == lost
        })
        .await;
        let expected = before + u64::try_from(lost.len()).unwrap();
        within(THREE_LOOKS, "both replicas have counted them", async || {
            let counts = installation.counted(plane, TO_RECREATE).await;
            counts == [expected, expected]
        })
        .await;

        // Else they would try to pull for as long as the tests run.
        let path = format!("/api/v1/namespaces/{}", namespace.name);
        plane.api.delete(&path).await.unwrap();
        installation.upgrade(plane, &[]).await;
    });
}

/// How many such Pods new replicas count that there are.
async fn counted_before(machine: &Machine) -> u64 {
    let (plane, installation) = (&machine.plane, &machine.installation);
    let unserved = Namespace::of(plane, UNSERVED);
    let left = unserved.pods().await;
    if !left.is_empty() {
        waits_for(&unserved, "app", "ImagePullBackOff").await;
    }
    installation.restart(plane).await;
    patiently("both have looked at all Pods", async || {
        let looks = installation.counted(plane, LOOKS).await;
        looks.len() == 2 && looks.iter().all(|count| *count > 0)
    })
    .await;
    let counts = installation.counted(plane, TO_RECREATE).await;
    assert_eq!(counts[0], counts[1]);
    counts[0]
}

/// None was created while the replicas were there.
fn of_the_outage(fates: &Fates, started: Timestamp, ended: Timestamp) {
    let second = SignedDuration::from_secs(1);
    for Uninjected { name, created } in &fates.uninjected {
        let meanwhile = started - second <= *created && *created <= ended + second;
        assert!(meanwhile, "{name}: {created}, not in {started} to {ended}");
    }
}

/// Kills the processes of all replicas, as the kernel would when memory is short, and waits until they serve again.
async fn kill_all(machine: &Machine) {
    let (plane, installation) = (&machine.plane, &machine.installation);
    let starts = restarts(&installation.pods(plane).await);
    let before = processes();
    assert_eq!(before.len(), 2, "one process a replica: {before:?}");
    for id in &before {
        let killed = Command::new("kill").args(["-9", id]).status();
        assert!(killed.unwrap().success());
    }
    eventually("they are started again", async || {
        let now = processes();
        now.len() == 2 && now.iter().all(|id| !before.contains(id))
    })
    .await;
    // Before the kubelet has seen it, they still count as ready.
    patiently("the new ones are ready", async || {
        let pods = installation.pods(plane).await;
        let ready = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == true;
        restarts(&pods) == starts + 2 && pods.iter().all(ready)
    })
    .await;
    installation.serves(plane, 2).await;
}

/// How often containers of these Pods were started again.
fn restarts(pods: &[Value]) -> u64 {
    let counts = pods
        .iter()
        .map(|pod| &pod["status"]["containerStatuses"][0]["restartCount"]);
    counts.map(|count| count.as_u64().unwrap()).sum()
}

/// The ids of all processes that run our image's program.
fn processes() -> Vec<String> {
    let all = std::fs::read_dir("/proc").unwrap();
    let ids = all.filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    let runs_ours = |id: &String| {
        // The whole command line, or nothing for what is no process, or a zombie.
        let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.starts_with(b"/ecr-admission\0")
    };
    ids.filter(runs_ours).collect()
}
