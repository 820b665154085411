//! Refusals and warnings as kubectl shows them.

use serde_json::{Value, json};

use crate::harness::namespace::{IMAGE, Namespace, REGISTRY, SECRET, UNTAGGED, pull_secrets};
use crate::harness::{eventually, in_shared_cluster};

/// A Deployment and a CronJob whose Pods would be refused.
const WORKLOADS: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers: [{name: app, image: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app}]
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: '0 3 * * *'
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: app, image: 123456789012.dkr.ecr.eu-west-1.amazonaws.co/team/app:v1}]
";

#[test]
fn a_refused_pod_is_told_why_in_one_sentence_an_image() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "refused").await;
        let run = async |image: &str| {
            let said = namespace
                .kubectl(&["run", "app", "--image", image], "")
                .await;
            assert!(!said.ok);
            said.err
        };
        insta::assert_snapshot!(run(UNTAGGED).await, @r#"Error from server (Forbidden): admission webhook "pods.ecr-admission.dev" denied the request: container "app": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean [full-reference]"#);
        insta::assert_snapshot!(run("12345678901.dkr.ecr.eu-west-1.amazonaws.com/team/app:v1").await, @r#"Error from server (Forbidden): admission webhook "pods.ecr-admission.dev" denied the request: container "app": image "12345678901.dkr.ecr.eu-west-1.amazonaws.com/team/app:v1" looks like ECR but is not: its account ID has 11 digits instead of 12 [lookalike-host]"#);
        insta::assert_snapshot!(run("123456789012.dkr.ecr.eu-west-1.amazonaws.com:443/team/app:v1").await, @r#"Error from server (Forbidden): admission webhook "pods.ecr-admission.dev" denied the request: container "app": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com:443/team/app:v1" has a port in its registry, which no ECR credential matches; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:v1" [host-form]"#);

        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "app"},
            "spec": {
                "initContainers": [{"name": "setup", "image": UNTAGGED}],
                "containers": [{"name": "app", "image": IMAGE}],
                "volumes": [{"name": "model", "image": {"reference": "123456789012.dkr_ecr.eu-west-1.amazonaws.com/m:v1"}}],
            },
        });
        let said = namespace
            .kubectl(&["apply", "-f", "-"], &pod.to_string())
            .await;
        insta::assert_snapshot!(said.err, @r#"Error from server (Forbidden): error when creating "STDIN": admission webhook "pods.ecr-admission.dev" denied the request: init container "setup": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean [full-reference]; image volume "model": image "123456789012.dkr_ecr.eu-west-1.amazonaws.com/m:v1" looks like ECR but is not: it has "dkr_ecr" where "dkr.ecr" belongs; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/m:v1" [lookalike-host]"#);
        assert!(namespace.pods().await.is_empty());
        assert!(
            namespace.secret().await.is_none(),
            "a refused Pod makes no Secret"
        );
    });
}

#[test]
fn a_region_that_nobody_knows_is_admitted_with_a_warning() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "new-region").await;
        let image = "123456789012.dkr.ecr.eu-north-9.amazonaws.com/team/app:v1";
        let said = namespace
            .kubectl_ok(&["run", "app", "--image", image], "")
            .await;
        insta::assert_snapshot!(said.err, @r#"Warning: container "app": image "123456789012.dkr.ecr.eu-north-9.amazonaws.com/team/app:v1" names AWS region eu-north-9, which this version does not know: it is new or misspelt [unknown-region]"#);
        assert_eq!(pull_secrets(&namespace.pods().await[0]), [SECRET]);
    });
}

#[test]
fn the_author_of_a_workload_is_warned_at_apply_and_its_pods_say_why_they_are_missing() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "warned").await;
        let said = namespace.kubectl_ok(&["apply", "-f", "-"], WORKLOADS).await;
        insta::assert_snapshot!(said.err, @r#"
        Warning: its Pods will be refused: container "app": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean [full-reference]
        Warning: its Pods will be refused: container "app": image "123456789012.dkr.ecr.eu-west-1.amazonaws.co/team/app:v1" looks like ECR but is not: registries in "eu-west-1" end in "amazonaws.com", not in "amazonaws.co"; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:v1" [lookalike-host]
        "#);
        insta::assert_snapshot!(said.out, @r#"
        deployment.apps/app created
        cronjob.batch/nightly created
        "#);

        let sets = "/apis/apps/v1/namespaces/warned/replicasets";
        let failure = async || {
            let sets = namespace.api().get(sets).await.unwrap();
            let conditions = sets["items"][0]["status"]["conditions"].as_array();
            let mut conditions = conditions.cloned().unwrap_or_default().into_iter();
            conditions.find(|condition: &Value| condition["type"] == "ReplicaFailure")
        };
        eventually("the ReplicaSet has failed", async || {
            failure().await.is_some()
        })
        .await;
        let message = failure().await.unwrap()["message"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(message.contains("[full-reference]"), "{message}");
    });
}

#[test]
fn a_dry_run_says_the_same_and_writes_nothing() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "dry-run").await;
        let dry = async |image: &str| {
            let run = [
                "run",
                "app",
                "--dry-run=server",
                "-o=json",
                "--image",
                image,
            ];
            namespace.kubectl(&run, "").await
        };
        let said = dry(IMAGE).await;
        let pod: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(pull_secrets(&pod), [SECRET]);
        assert_eq!(said.err, "");
        let said = dry(UNTAGGED).await;
        assert!(
            !said.ok && said.err.contains("[full-reference]"),
            "{said:?}"
        );
        assert!(namespace.secret().await.is_none());
        assert!(namespace.pods().await.is_empty());
    });
}

#[test]
fn an_update_is_judged_by_what_it_changes_and_never_patched() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "updated").await;
        namespace.run("app", IMAGE).await;
        let set = async |image: &str| {
            let image = format!("app={image}");
            namespace
                .kubectl(&["set", "image", "pod/app", &image], "")
                .await
        };
        insta::assert_snapshot!(set(UNTAGGED).await.err, @r#"error: failed to patch image update to pod template: admission webhook "pods.ecr-admission.dev" denied the request: container "app": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean [full-reference]"#);

        let other = "210987654321.dkr.ecr.us-east-1.amazonaws.com";
        let said = set(&format!("{other}/team/app:v2")).await;
        assert!(said.ok, "{said:?}");
        let passwords = namespace.passwords().await;
        assert!(
            passwords.iter().any(|(registry, _)| registry == other),
            "ensured before the pull"
        );
        let pod = namespace
            .api()
            .get(&namespace.path("pods/app"))
            .await
            .unwrap();
        assert_eq!(pull_secrets(&pod), [SECRET]);

        // A Pod without our Secret cannot get it any more, so it is not promised a pull.
        namespace.run("plain", "nginx:1").await;
        let image = format!("plain={REGISTRY}/team/app:v2");
        namespace
            .kubectl_ok(
                &[
                    "set",
                    "image",
                    "pod/plain",
                    &image.replace("plain=", "app="),
                ],
                "",
            )
            .await;
        let pod = namespace
            .api()
            .get(&namespace.path("pods/plain"))
            .await
            .unwrap();
        assert!(pull_secrets(&pod).is_empty());
    });
}

#[test]
fn a_debug_container_is_judged_too() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "debug-refused").await;
        namespace.run("app", "nginx:1").await;
        let debug = [
            "debug",
            "pod/app",
            "--attach=false",
            "--profile=general",
            "--container=debug",
            "--image",
            UNTAGGED,
        ];
        let said = namespace.kubectl(&debug, "").await;
        assert!(!said.ok);
        insta::assert_snapshot!(said.err, @r#"Error from server (Forbidden): admission webhook "pods.ecr-admission.dev" denied the request: ephemeral container "debug": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean [full-reference]"#);
    });
}
