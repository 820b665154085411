//! What nobody admitted and nobody renewed: found by whoever looks through all Pods.

use futures_util::future::join_all;
use serde_json::json;

use crate::ecr::{Answer, EcrDouble, Reply};
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::{Cluster, install_permissions};
use crate::harness::namespace::{IMAGE, Namespace, SECRET, pull_secrets};
use crate::harness::webhook::Webhook;
use crate::harness::{eventually, run};

#[test]
fn what_a_killed_replica_had_in_hand_is_made_by_the_next_one_without_another_pod() {
    run(async {
        let Cluster {
            plane,
            ecr,
            webhook,
        } = Cluster::start("killed").await;
        let names = (0..20).map(|number| format!("cold-{number}"));
        let namespaces = join_all(names.map(|name| Namespace::create(&plane, name))).await;
        ecr.always(Reply::from(Answer::Drop));
        for namespace in &namespaces {
            let pod = namespace.run("app", IMAGE).await;
            assert_eq!(
                pull_secrets(&pod),
                [SECRET],
                "it will pull once there is one"
            );
        }
        // As by kill -9.
        drop(webhook);
        let life = jiff::SignedDuration::from_hours(12);
        ecr.always(Answer::Token("password-of-REGION".into(), life));
        for namespace in &namespaces {
            assert!(namespace.secret().await.is_none());
        }

        let next = Webhook::start(&plane, &ecr, "next").await;
        let ready = std::time::Instant::now();
        for namespace in &namespaces {
            eventually("its Secret is made", async || namespace.is_served().await).await;
        }
        println!(
            "20 cold namespaces: {:?} after it was ready",
            ready.elapsed()
        );
        let surveys = r#"ecr_admission_reconciliations_total{result="ok""#;
        assert_eq!(next.counted(surveys).await, 1);
    });
}

#[test]
fn a_pod_that_was_created_past_us_and_cannot_pull_is_told_to_be_recreated() {
    run(async {
        let plane = ControlPlane::start("uninjected").await;
        install_permissions(&plane).await;
        let ecr = EcrDouble::start().await;
        let namespace = Namespace::create(&plane, "uninjected").await;
        for pod in ["waits", "runs"] {
            let made = namespace.run(pod, IMAGE).await;
            assert!(pull_secrets(&made).is_empty(), "nobody is there to inject");
        }
        // What a kubelet would write.
        let state = json!({"waiting": {"reason": "ImagePullBackOff", "message": "no basic auth credentials"}});
        let container = json!({
            "name": "app", "image": IMAGE, "imageID": "", "ready": false, "restartCount": 0, "state": state,
        });
        let status = json!({"status": {"phase": "Pending", "containerStatuses": [container]}});
        let path = namespace.path("pods/waits/status");
        namespace.api().merge(&path, &status).await.unwrap();

        let webhook = Webhook::start(&plane, &ecr, "ecr-admission").await;
        let told = namespace.event("PullSecretNotInPod").await;
        insta::assert_snapshot!(told, @r#"Warning Pod waits this Pod cannot pull from 123456789012.dkr.ecr.eu-west-1.amazonaws.com and will not: Secret "ecr-pull-secret" is not in its imagePullSecrets, which cannot be changed; delete the Pod, so that it is created anew"#);
        let said = namespace
            .kubectl_ok(&["describe", "pod", "waits"], "")
            .await;
        assert!(said.out.contains("PullSecretNotInPod"), "{}", said.out);
        eventually("it is counted", async || {
            webhook.counted("ecr_admission_pods_to_recreate").await == 1
        })
        .await;
        // What is created anew finds its Secret.
        eventually("the Secret is there", async || namespace.is_served().await).await;
        // Two replicas tell it once.
        let other = Webhook::start(&plane, &ecr, "other").await;
        eventually("the other has tried", async || {
            other
                .counted(r#"ecr_admission_events_total{result="known""#)
                .await
                == 1
        })
        .await;
        namespace.event("PullSecretNotInPod").await;
    });
}
