//! On the network of its node, for clusters whose API server reaches no address of a Pod.

use super::in_machine;
use super::pods::{create, in_phase, never_told, new_image, spec};
use crate::harness::namespace::{Namespace, SECRET, pull_secrets};

#[test]
fn a_replica_on_the_network_of_its_node_is_asked_and_serves() {
    in_machine(async |machine| {
        let (plane, installation) = (&machine.plane, &machine.installation);
        // Two would share their ports here, because both nodes of these tests are in one network.
        let set = [
            "replicas=1",
            "hostNetwork=true",
            "ports.webhook=9443",
            "ports.admin=9080",
            // That nobody else injects.
            "injectPolicy.mode=Never",
        ];
        installation.upgrade(plane, &set).await;
        let pods = installation.pods(plane).await;
        for pod in &pods {
            assert_eq!(pod["status"]["podIP"], pod["status"]["hostIP"], "{pod}");
        }
        let policies = "/apis/networking.k8s.io/v1/namespaces/ecr-admission/networkpolicies";
        let policies = plane.api.get(policies).await.unwrap();
        assert_eq!(
            policies["items"].as_array().map(Vec::len),
            Some(0),
            "none applies to a node's network: {policies}"
        );

        let image = new_image(machine, "host-network").await;
        let namespace = Namespace::create(plane, "host-network").await;
        let pod = create(&namespace, "app", &spec(&image)).await.unwrap();
        assert_eq!(pull_secrets(&pod), [SECRET]);
        in_phase(&namespace, "app", "Running").await;
        never_told(&namespace, "app", "Failed").await;
        installation.upgrade(plane, &[]).await;
    });
}
