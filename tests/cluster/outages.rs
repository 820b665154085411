//! What fails, and what is seen of it.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::ecr::{Answer, EcrDouble, Reply};
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::{Cluster, Target, install_permissions, register, register_as};
use crate::harness::namespace::{IMAGE, Namespace, SECRET, UNTAGGED, one_container, pull_secrets};
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::wire::Wire;
use crate::harness::{eventually, run};

#[test]
fn while_we_are_down_other_pods_do_not_notice_and_ecr_pods_follow_the_failure_policy() {
    run(async {
        let Cluster {
            plane,
            ecr,
            webhook,
        } = Cluster::start("down").await;
        let namespace = Namespace::create(&plane, "down").await;
        let target = Target::Url(webhook.address);
        drop(webhook);

        namespace.run("plain", "nginx:1").await;
        let pod = namespace.run("ignored", IMAGE).await;
        assert!(pull_secrets(&pod).is_empty(), "nobody was there to inject");
        let mut spec = one_container(UNTAGGED);
        spec["terminationGracePeriodSeconds"] = json!(0);
        let untagged = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "untagged", "finalizers": ["example.com/held"]},
            "spec": spec,
        });
        let path = namespace.path("pods");
        namespace.api().create(&path, &untagged).await.unwrap();

        register_as(&plane, target, |hook| hook["failurePolicy"] = json!("Fail")).await;
        eventually("ECR Pods are refused", async || {
            let name = format!("refused-{}", fastrand::u32(..));
            let made = namespace.create_pod(&name, &one_container(IMAGE)).await;
            made.is_err_and(|refusal| {
                refusal
                    .message
                    .contains("failed calling webhook \"pods.ecr-admission.dev\"")
            })
        })
        .await;
        namespace.run("still-plain", "nginx:1").await;

        // We are back: what came in meanwhile may stay, be changed in other ways, and go.
        let webhook = Webhook::start(&plane, &ecr, "again").await;
        register(&plane, Target::Url(webhook.address)).await;
        let pod = namespace.path("pods/untagged");
        let label = json!({"metadata": {"labels": {"a": "b"}}});
        namespace.api().merge(&pod, &label).await.unwrap();
        let set = [
            "set",
            "image",
            "pod/untagged",
            &format!("app={UNTAGGED}/other"),
        ];
        let said = namespace.kubectl(&set, "").await;
        assert!(
            said.err.contains("[full-reference]"),
            "what changes is judged: {said:?}"
        );

        namespace.api().delete(&pod).await.unwrap();
        let deleting = namespace.api().get(&pod).await.unwrap();
        assert!(deleting["metadata"]["deletionTimestamp"].is_string());
        let free = json!({"metadata": {"finalizers": null}});
        namespace.api().merge(&pod, &free).await.unwrap();
        assert!(!namespace.api().exists(&pod).await);
    });
}

#[test]
fn an_api_server_that_restarts_leaves_us_ready_and_degraded_and_then_well() {
    run(async {
        let mut cluster = Cluster::start("restart").await;
        let namespace = Namespace::create(&cluster.plane, "before").await;
        namespace.run("app", IMAGE).await;
        cluster.plane.kill_api_server();
        eventually("it is degraded", async || {
            cluster.webhook.is_degraded("secret-watch").await
                && cluster.webhook.is_degraded("namespace-watch").await
        })
        .await;

        cluster.plane.restart_api_server().await;
        let namespace = Namespace::create(&cluster.plane, "after").await;
        // The first requests of a new API server may come before it has read its webhooks.
        eventually("new namespaces are served", async || {
            let name = format!("app-{}", fastrand::u32(..));
            pull_secrets(&namespace.run(&name, IMAGE).await) == [SECRET]
        })
        .await;
        assert!(namespace.is_served().await);
        eventually("it is well again", async || {
            let (_, page) = cluster.webhook.admin("/readyz?verbose").await;
            !page.contains("degraded")
        })
        .await;
        let tokens = cluster.ecr.calls().len();
        assert_eq!(
            tokens, 1,
            "an outage of the API server is no reason to ask ECR"
        );
    });
}

#[test]
fn a_replica_whose_watches_are_cut_goes_on_by_what_it_knows_and_then_learns_what_it_missed() {
    run(async {
        let plane = ControlPlane::start("cut").await;
        install_permissions(&plane).await;
        let ecr = EcrDouble::start().await;
        let cable = Wire::to([plane.address()]).await;
        let kubeconfig = plane.kubeconfig_by(cable.port, "ecr-admission", &plane.token().await);
        let settings = Settings::files(&plane.folder).connecting_by(kubeconfig);
        let webhook = Webhook::start_with(&plane, &ecr, "ecr-admission", settings).await;
        register(&plane, Target::Url(webhook.address)).await;
        let namespace = Namespace::create(&plane, "warm").await;
        namespace.run("before", IMAGE).await;

        cable.refuse();
        eventually("it is degraded", async || {
            webhook.is_degraded("secret-watch").await
                && webhook.is_degraded("namespace-watch").await
        })
        .await;
        let pod = namespace.run("meanwhile", IMAGE).await;
        assert_eq!(pull_secrets(&pod), [SECRET], "it knows that it is there");
        plane.api.delete(&namespace.secret_path()).await.unwrap();

        cable.mend();
        eventually("it is well again", async || {
            let (_, page) = webhook.admin("/readyz?verbose").await;
            !page.contains("degraded")
        })
        .await;
        // A watch is well a moment before it tells what was missed.
        namespace.run("after", IMAGE).await;
        eventually("it has seen that it was gone", async || {
            namespace.is_served().await
        })
        .await;
        assert_eq!(ecr.calls().len(), 1, "no reason to ask ECR");
    });
}

#[test]
fn an_etcd_that_hangs_for_ten_seconds_is_survived_and_the_secret_made_afterwards() {
    run(async {
        let cluster = Cluster::start("hang").await;
        let namespace = Namespace::create(&cluster.plane, "cold").await;
        // The API server reads a new namespace's limits from etcd once, before it asks any webhook.
        namespace.run("plain", "nginx:1").await;
        cluster.plane.etcd.signal("STOP");
        let spec = one_container(IMAGE);
        let (pod, ()) = tokio::join!(namespace.create_pod("app", &spec), async {
            eventually("it is degraded", async || {
                cluster.webhook.is_degraded("waiting-namespaces").await
            })
            .await;
            sleep(Duration::from_secs(6)).await;
            cluster.plane.etcd.signal("CONT");
        });
        // Whether the API server could still store the Pod is its affair; if it did, the Pod can pull.
        if let Ok(pod) = pod {
            assert_eq!(pull_secrets(&pod), [SECRET]);
        }
        eventually("the Secret is made", async || namespace.is_served().await).await;
        eventually("it is well again", async || {
            let (_, page) = cluster.webhook.admin("/readyz?verbose").await;
            !page.contains("degraded")
        })
        .await;
        let pod = namespace.run("next", IMAGE).await;
        assert_eq!(pull_secrets(&pod), [SECRET]);
    });
}

#[test]
fn a_namespace_that_is_deleted_while_pods_are_admitted_leaves_nothing_behind() {
    run(async {
        let cluster = Cluster::start("deletion").await;
        let namespace = Namespace::create(&cluster.plane, "doomed").await;
        namespace.run("app", IMAGE).await;
        // Pods go on being created, and the Secret deleted, until the namespace takes no more.
        let admitting = async {
            for number in 0.. {
                let made = namespace
                    .create_pod(&format!("pod-{number}"), &one_container(IMAGE))
                    .await;
                if made.is_err() {
                    return number;
                }
            }
            unreachable!()
        };
        let deleting = async {
            sleep(Duration::from_millis(300)).await;
            let path = "/api/v1/namespaces/doomed";
            cluster.plane.api.delete(path).await.unwrap();
        };
        let (admitted, ()) = tokio::join!(admitting, deleting);
        assert!(admitted > 0);
        let path = "/api/v1/namespaces/doomed";
        eventually("it is gone", async || !cluster.plane.api.exists(path).await).await;

        let writes = async || {
            cluster
                .webhook
                .counted("ecr_admission_secret_writes_total")
                .await
        };
        let before = writes().await;
        sleep(Duration::from_secs(3)).await;
        assert_eq!(writes().await, before, "nobody goes on trying");
        assert!(!cluster.webhook.is_degraded("waiting-namespaces").await);
        assert_eq!(
            cluster
                .webhook
                .counted("ecr_admission_secret_index_size")
                .await,
            0
        );

        // A namespace of the same name starts anew.
        let namespace = Namespace::create(&cluster.plane, "doomed").await;
        namespace.run("app", IMAGE).await;
        assert!(namespace.is_served().await);
    });
}

#[test]
fn an_ecr_that_never_answers_costs_no_pod_its_name_and_the_secret_follows() {
    run(async {
        let cluster = Cluster::start("silent").await;
        let namespace = Namespace::create(&cluster.plane, "silent").await;
        cluster.ecr.always(Reply {
            delay: Duration::from_mins(1),
            ..Reply::from(Answer::Drop)
        });
        // Had we not answered within the webhook's timeout, it would be admitted without the name.
        for pod in ["one", "two", "three"] {
            assert_eq!(pull_secrets(&namespace.run(pod, IMAGE).await), [SECRET]);
        }
        eventually("it is degraded", async || {
            cluster.webhook.is_degraded("ecr-tokens").await
                && cluster.webhook.is_degraded("waiting-namespaces").await
        })
        .await;
        let life = jiff::SignedDuration::from_hours(12);
        cluster
            .ecr
            .always(Answer::Token("password-of-REGION".into(), life));
        eventually("it heals by itself", async || namespace.is_served().await).await;
    });
}
