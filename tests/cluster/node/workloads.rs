//! Every way to name an image, as far as its pull.

use serde_json::{Value, json};

use super::pods::{create, in_phase, new_image, pod, spec, was_told};
use super::{in_machine, patiently};
use crate::harness::namespace::{Namespace, SECRET, pull_secrets};

#[test]
fn deployments_and_jobs_run() {
    in_machine(async |machine| {
        let image = new_image(machine, "workloads").await;
        let namespace = Namespace::create(&machine.plane, "workloads").await;
        let template = |mut spec: Value, policy: &str| {
            spec["restartPolicy"] = json!(policy);
            json!({"metadata": {"labels": {"app": "app"}}, "spec": spec})
        };
        let mut once = spec(&image);
        once["containers"][0]["args"] = json!(["exit"]);
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "app"},
                "spec": {
                    "replicas": 2,
                    "selector": {"matchLabels": {"app": "app"}},
                    "template": template(spec(&image), "Always"),
                },
            },
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": {"name": "once"},
                "spec": {"template": template(once, "Never")},
            },
        ]});
        namespace
            .kubectl_ok(&["apply", "-f", "-"], &objects.to_string())
            .await;
        let status = ["rollout", "status", "deployment/app", "--timeout=5m"];
        namespace.kubectl_ok(&status, "").await;
        let complete = [
            "wait",
            "--for=condition=complete",
            "job/once",
            "--timeout=5m",
        ];
        namespace.kubectl_ok(&complete, "").await;
        let pods = namespace.pods().await;
        assert_eq!(pods.len(), 3);
        for pod in pods {
            assert_eq!(pull_secrets(&pod), [SECRET]);
            let name = pod["metadata"]["name"].as_str().unwrap();
            assert!(!was_told(&namespace, name, "Failed").await);
        }
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
            assert!(!was_told(&namespace, "app", trouble).await, "{trouble}");
        }
    });
}
