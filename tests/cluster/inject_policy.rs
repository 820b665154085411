//! The MutatingAdmissionPolicy of Kubernetes 1.36: Pods get the Secret's name from the API server itself.

use serde_json::{Value, json};

use crate::harness::control_plane::ControlPlane;
use crate::harness::install::{Cluster, apply, manifest};
use crate::harness::namespace::{IMAGE, Namespace, SECRET, one_container, pull_secrets};
use crate::harness::{eventually, run};

const OPTED_OUT: &str = "ecr-admission.dev/inject";

/// Installs the policy. `Ignore`, as it is shipped, would hide what is wrong with its expressions.
async fn install(plane: &ControlPlane) {
    let mut objects = manifest("inject-policy.yaml");
    objects[0]["spec"]["failurePolicy"] = json!("Fail");
    apply(plane, objects).await;
}

async fn create(namespace: &Namespace<'_>, annotations: Value, spec: Value) -> Value {
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "app-", "annotations": annotations},
        "spec": spec,
    });
    let made = namespace.api().create(&namespace.path("pods"), &pod).await;
    made.unwrap()
}

#[test]
fn while_we_are_down_the_policy_injects_what_we_would() {
    run(async {
        let Cluster {
            plane,
            webhook,
            ecr: _ecr,
        } = Cluster::start("inject-policy").await;
        let namespace = Namespace::create(&plane, "served").await;
        namespace.run("first", IMAGE).await;
        drop(webhook);
        install(&plane).await;
        eventually("the policy is in force", async || {
            let pod = create(&namespace, json!({}), one_container(IMAGE)).await;
            pull_secrets(&pod) == [SECRET]
        })
        .await;
        assert!(namespace.is_served().await, "the Secret stays");

        let with = |own: Value| {
            let mut spec = one_container(IMAGE);
            spec["imagePullSecrets"] = own;
            spec
        };
        let nginx = json!({"name": "app", "image": "nginx:1"});
        let init =
            json!({"initContainers": [{"name": "setup", "image": IMAGE}], "containers": [nginx]});
        let volume = json!({"volumes": [{"name": "model", "image": {"reference": IMAGE}}], "containers": [nginx]});
        for (spec, expected) in [
            (
                with(json!([{"name": "z"}, {"name": "a"}])),
                &["z", "a", SECRET][..],
            ),
            (
                with(json!([{"name": SECRET}, {"name": "a"}])),
                &[SECRET, "a"],
            ),
            (with(json!([])), &[SECRET]),
            (init, &[SECRET]),
            (volume, &[SECRET]),
            (one_container("nginx:1"), &[]),
            (one_container("public.ecr.aws/team/app:v1"), &[]),
            (
                one_container("mirror.example/123456789012.dkr.ecr.eu-west-1.amazonaws.com/a:v1"),
                &[],
            ),
        ] {
            let pod = create(&namespace, json!({}), spec).await;
            assert_eq!(pull_secrets(&pod), expected, "{}", pod["spec"]);
        }
        let opted_out = create(
            &namespace,
            json!({OPTED_OUT: "false"}),
            one_container(IMAGE),
        )
        .await;
        assert!(pull_secrets(&opted_out).is_empty());

        let out = Namespace::create(&plane, "opted-out").await;
        let annotation = json!({"metadata": {"annotations": {OPTED_OUT: "false"}}});
        let path = "/api/v1/namespaces/opted-out";
        plane.api.merge(path, &annotation).await.unwrap();
        eventually("the namespace's wish is respected", async || {
            let pod = create(&out, json!({}), one_container(IMAGE)).await;
            pull_secrets(&pod).is_empty()
        })
        .await;
    });
}

#[test]
fn with_the_policy_and_us_a_pod_is_served_and_named_once() {
    run(async {
        let cluster = Cluster::start("inject-both").await;
        install(&cluster.plane).await;
        let namespace = Namespace::create(&cluster.plane, "both").await;
        let injected = r#"ecr_admission_admissions_total{operation="create",verdict="injected""#;
        eventually(
            "the policy comes first and leaves us nothing to inject",
            async || {
                let before = cluster.webhook.counted(injected).await;
                let pod = create(&namespace, json!({}), one_container(IMAGE)).await;
                assert_eq!(pull_secrets(&pod), [SECRET]);
                cluster.webhook.counted(injected).await == before
            },
        )
        .await;
        assert!(namespace.is_served().await);
        let cold = Namespace::create(&cluster.plane, "cold").await;
        let pod = create(&cold, json!({}), one_container(IMAGE)).await;
        assert_eq!(pull_secrets(&pod), [SECRET]);
        assert!(cold.is_served().await, "the name alone is no Secret");
    });
}
