//! Every way to name an image, as far as its pull.

use serde_json::json;

use super::pods::{create, in_phase, never_told, new_image, pod, spec};
use super::{in_machine, patiently};
use crate::harness::namespace::{Namespace, SECRET, pull_secrets};
use crate::harness::workloads::{self, KINDS, kinds};

#[test]
fn the_pods_of_every_workload_are_pulled_and_run() {
    in_machine(async |machine| {
        let image = new_image(machine, "workloads").await;
        let namespace = Namespace::create(&machine.plane, "workloads").await;
        workloads::create(&namespace, &image).await;
        patiently("a Pod of every workload runs", async || {
            let pods = namespace.pods().await;
            let running = pods
                .iter()
                .filter(|pod| pod["status"]["phase"] == "Running");
            kinds(running) == KINDS
        })
        .await;
        for pod in namespace.pods().await {
            assert_eq!(pull_secrets(&pod), [SECRET], "{pod:#}");
            let name = pod["metadata"]["name"].as_str().unwrap();
            never_told(&namespace, name, "Failed").await;
        }
        // Else the CronJob would start another every minute.
        let path = "/api/v1/namespaces/workloads";
        namespace.api().delete(path).await.unwrap();
    });
}

#[test]
fn init_containers_image_volumes_and_debug_containers_are_pulled() {
    in_machine(async |machine| {
        let namespace = Namespace::create(&machine.plane, "containers").await;
        let mut pod_spec = spec("open.registry.test/stand-in:v1");
        let first = new_image(machine, "init").await;
        let volume = new_image(machine, "volume").await;
        pod_spec["initContainers"] = json!([{"name": "first", "image": first, "args": ["exit"]}]);
        pod_spec["volumes"] = json!([{"name": "model", "image": {"reference": volume}}]);
        pod_spec["containers"][0]["volumeMounts"] =
            json!([{"name": "model", "mountPath": "/model"}]);
        let made = create(&namespace, "app", &pod_spec).await.unwrap();
        assert_eq!(pull_secrets(&made), [SECRET]);
        in_phase(&namespace, "app", "Running").await;

        let tools = new_image(machine, "tools").await;
        let debug = ["debug", "app", "--container=tools", "--attach=false"];
        let image = format!("--image={tools}");
        namespace
            .kubectl_ok(&[&debug[..], &[&image]].concat(), "")
            .await;
        patiently("the debug container runs", async || {
            let pod = pod(&namespace, "app").await;
            let state = &pod["status"]["ephemeralContainerStatuses"][0]["state"];
            state["running"].is_object()
        })
        .await;
        for trouble in ["FailedToRetrieveImagePullSecret", "Failed", "BackOff"] {
            never_told(&namespace, "app", trouble).await;
        }
    });
}
