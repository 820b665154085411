//! Replicas are replaced while Pods are created all the time, and put where one node's end is not the end of all.

use std::collections::BTreeSet;

use super::in_machine;
use super::stream::{NOTHING_HIDDEN, Stream};

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
fn replicas_are_put_on_different_nodes_also_where_no_node_has_a_zone() {
    in_machine(async |machine| {
        let (plane, installation) = (&machine.plane, &machine.installation);
        for node in &machine.nodes {
            node.ready(plane).await;
        }
        installation.restart(plane).await;
        let pods = installation.pods(plane).await;
        let nodes = pods.iter().map(|pod| pod["spec"]["nodeName"].as_str());
        assert_eq!(nodes.collect::<BTreeSet<_>>().len(), 2, "{pods:?}");
    });
}
