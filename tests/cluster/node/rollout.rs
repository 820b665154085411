//! Replicas come and go while Pods are created all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;

use super::in_machine;
use super::machine::Machine;
use super::pods::unscheduled;
use crate::harness::api::{Api, Refusal};
use crate::harness::control_plane::ControlPlane;
use crate::harness::eventually;
use crate::harness::namespace::{IMAGE, Namespace, SECRET, pull_secrets};

/// How many Pods are being created at any time.
const AT_ONCE: usize = 3;
/// No stream is longer.
const MOST: usize = 20_000;

/// What became of the Pods of a stream.
#[derive(Debug, Default)]
struct Fates {
    served: usize,
    uninjected: usize,
    refused: Vec<String>,
}

/// Pods that are created one after the other until told to stop. None of them is ever run.
struct Stream {
    stop: Arc<AtomicBool>,
    creating: Vec<JoinHandle<Fates>>,
}

impl Stream {
    /// Starts to create Pods in a namespace of this name.
    async fn start(plane: &ControlPlane, name: &str) -> Self {
        let namespace = Namespace::create(plane, name).await;
        let stop = Arc::new(AtomicBool::new(false));
        let creating = (0..AT_ONCE).map(|_| {
            let (api, path) = (plane.api.clone(), namespace.path("pods"));
            tokio::spawn(create(api, path, Arc::clone(&stop)))
        });
        Self {
            creating: creating.collect(),
            stop,
        }
    }

    async fn stop(self) -> Fates {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Fates::default();
        for one in self.creating {
            let fates = one.await.unwrap();
            sum.served += fates.served;
            sum.uninjected += fates.uninjected;
            sum.refused.extend(fates.refused);
        }
        sum
    }
}

async fn create(api: Api, path: String, stop: Arc<AtomicBool>) -> Fates {
    let pod = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "app-"},
        "spec": unscheduled(IMAGE),
    });
    let mut fates = Fates::default();
    for _ in 0..MOST / AT_ONCE {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match api.create(&path, &pod).await {
            // No answer of a busy API server: what became of the Pod is not known.
            Err(Refusal { code: 0, .. }) => {}
            Err(refusal) => fates.refused.push(refusal.message),
            Ok(pod) if pull_secrets(&pod) == [SECRET] => fates.served += 1,
            Ok(_) => fates.uninjected += 1,
        }
        // Load is no subject here.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    fates
}

/// None was refused, and none is without the Secret; and there were some.
fn assert_all_served(fates: &Fates) {
    println!("{fates:?}");
    assert!(fates.served > 10, "{fates:?}");
    assert!(
        fates.uninjected == 0 && fates.refused.is_empty(),
        "{fates:?}"
    );
}

/// A Pod that was not asked about is neither hidden by the API server's own injection, nor admitted.
const NOTHING_HIDDEN: [&str; 2] = [
    "injectPolicy.mode=Never",
    "webhooks.mutating.failurePolicy=Fail",
];

#[test]
fn a_rolling_update_misses_no_pod() {
    in_machine(async |machine| {
        let (plane, installation) = (&machine.plane, &machine.installation);
        installation.upgrade(plane, &NOTHING_HIDDEN).await;
        let stream = Stream::start(plane, "rolling").await;
        installation.restart(plane).await;
        assert_all_served(&stream.stop().await);
        installation.upgrade(plane, &[]).await;
    });
}

#[test]
fn the_drain_of_a_node_misses_no_pod() {
    in_machine(async |machine| {
        let (plane, installation) = (&machine.plane, &machine.installation);
        installation.upgrade(plane, &NOTHING_HIDDEN).await;
        let stream = Stream::start(plane, "drained").await;
        // Both in turn: wherever the replicas are, each of them is evicted.
        for node in &machine.nodes {
            let drain = [
                "drain",
                node.name,
                "--force",
                "--delete-emptydir-data",
                "--timeout=5m",
            ];
            let said = plane.kubectl(&drain, "").await;
            assert!(said.ok, "{said:?}");
            let said = plane.kubectl(&["uncordon", node.name], "").await;
            assert!(said.ok, "{said:?}");
        }
        installation.upgrade(plane, &[]).await;
        assert_all_served(&stream.stop().await);
    });
}

#[test]
fn replicas_that_are_killed_leave_no_pod_uninjected_where_the_api_server_injects_too() {
    in_machine(async |machine| {
        let plane = &machine.plane;
        let stream = Stream::start(plane, "killed").await;
        for _ in 0..2 {
            kill_all(machine).await;
        }
        assert_all_served(&stream.stop().await);
    });
}

/// Kills the processes of all replicas, as the kernel would when memory is short, and waits until they run again.
async fn kill_all(machine: &Machine) {
    let before = processes();
    assert_eq!(before.len(), 2, "one process a replica: {before:?}");
    for id in &before {
        let killed = std::process::Command::new("kill").args(["-9", id]).status();
        assert!(killed.unwrap().success());
    }
    eventually("they are started again", async || {
        let now = processes();
        now.len() == 2 && now.iter().all(|id| !before.contains(id))
    })
    .await;
    let ready = [
        "wait",
        "--for=condition=Ready",
        "pods",
        "--all",
        "--timeout=5m",
    ];
    let ready = [&["--namespace", "ecr-admission"], &ready[..]].concat();
    let said = machine.plane.kubectl(&ready, "").await;
    assert!(said.ok, "{said:?}");
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
