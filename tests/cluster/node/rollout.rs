//! Replicas come and go while Pods are created all the time.

use super::in_machine;
use super::machine::Machine;
use super::stream::{NOTHING_HIDDEN, Stream};
use crate::harness::eventually;

#[test]
fn a_rolling_update_misses_no_pod() {
    in_machine(async |machine| {
        let (plane, installation) = (&machine.plane, &machine.installation);
        installation.upgrade(plane, &NOTHING_HIDDEN).await;
        let stream = Stream::start(plane, "rolling").await;
        installation.restart(plane).await;
        stream.stop().await.assert_all_served();
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
        stream.stop().await.assert_all_served();
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
        stream.stop().await.assert_all_served();
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
