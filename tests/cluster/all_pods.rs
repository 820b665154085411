//! Rules about all images, where the chart has all Pods registered.

use serde_json::{Value, json};

use crate::harness::helm::Helm;
use crate::harness::install::{Target, register_objects};
use crate::harness::namespace::{IMAGE, Namespace, one_container, pull_secrets};
use crate::harness::{eventually, run};
use crate::policies_in_force::Scene;

const NGINX: &str = "docker.io/library/nginx:1.29";

/// Only images of ECR, and one exception.
fn only_ecr(namespace: &str, action: &str) -> Value {
    json!({
        "namespaces": {"names": [namespace]},
        "validation": {"onlyEcr": {"action": action, "except": ["registry.k8s.io/**"]}},
    })
}

/// The webhook configurations of the chart with all Pods registered.
async fn configurations() -> Vec<Value> {
    let chosen = ["--set", "webhooks.allImages.enabled=true"];
    let mut objects = Helm::Four.render(&chosen).await;
    objects.retain(|object| object["webhooks"].is_array());
    objects
}

async fn run_dry(namespace: &Namespace<'_>, image: &str) -> (bool, String) {
    let run = ["run", "web", "--image", image, "--dry-run=server"];
    let said = namespace.kubectl(&run, "").await;
    (said.ok, said.err)
}

#[test]
fn a_pod_without_any_image_of_ecr_is_refused_or_warned_of_as_its_namespaces_policy_says() {
    run(async {
        let scene = Scene::start_with("policies-all-pods", &["--registered-pods", "All"]).await;
        let plane = &scene.plane;
        let enforced = Namespace::create(plane, "enforced").await;
        let warned = Namespace::create(plane, "warned").await;
        let other = Namespace::create(plane, "other").await;
        let target = Target::Url(scene.replicas[0].address);
        register_objects(plane, configurations().await, target, |_| {}).await;
        // One that is there before the rule is.
        enforced.run("older", NGINX).await;

        scene
            .apply("enforced", &only_ecr("enforced", "Enforce"))
            .await;
        scene.apply("warned", &only_ecr("warned", "Warn")).await;
        eventually("the API server asks about all Pods", async || {
            !run_dry(&enforced, NGINX).await.0
        })
        .await;
        let (_, said) = run_dry(&enforced, NGINX).await;
        let sentence = "is not on Amazon ECR";
        assert!(
            said.contains(sentence) && said.contains("[only-ecr]"),
            "{said}"
        );
        eventually("the other policy is in force", async || {
            run_dry(&warned, NGINX).await.1.contains(sentence)
        })
        .await;
        let (ok, said) = run_dry(&warned, NGINX).await;
        assert!(
            ok && said.contains("Warning: ") && said.contains("[only-ecr]"),
            "{said}"
        );
        for (namespace, image) in [(&other, NGINX), (&enforced, "registry.k8s.io/pause:3.10")] {
            let (ok, said) = run_dry(namespace, image).await;
            assert!(ok && said.is_empty(), "{image}: {said}");
        }
        let pod = enforced.run("ecr", IMAGE).await;
        assert_eq!(pull_secrets(&pod), ["ecr-pull-secret"]);

        // What changes no image passes, what changes one does not.
        enforced
            .kubectl_ok(&["label", "pod/older", "a=b"], "")
            .await;
        let newer = format!("app={NGINX}.1");
        let said = enforced
            .kubectl(&["set", "image", "pod/older", &newer], "")
            .await;
        assert!(!said.ok && said.err.contains("[only-ecr]"), "{said:?}");
        let debug = json!({"spec": {"ephemeralContainers": [
            {"name": "debug", "image": "docker.io/library/busybox:1", "targetContainerName": "app"},
        ]}});
        let path = enforced.path("pods/older/ephemeralcontainers");
        let refused = plane.api.merge(&path, &debug).await.unwrap_err();
        assert!(
            refused.message.contains("[only-ecr]"),
            "{}",
            refused.message
        );
        let template = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": one_container(NGINX),
        });
        let deployment = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template},
        });
        let create = ["create", "--dry-run=server", "-f", "-"];
        let said = enforced.kubectl_ok(&create, &deployment.to_string()).await;
        assert!(
            said.err.contains("its Pods will be refused"),
            "{}",
            said.err
        );

        for policy in ["enforced", "warned"] {
            scene.comes_to_say(policy, "Ready", "True Compiled").await;
        }
    });
}
