//! Pods over the API: read in pages, as views.

use std::sync::Arc;

use ecr_admission::kubernetes::{self, KubePodImages};
use ecr_admission::secret::PodImages;
use serde_json::{Value, json};

use super::api::OverApi;
use crate::support::api_server::Resource;

const NAME: &str = "ecr-pull-secret";

#[tokio::test]
async fn the_images_of_all_pages_and_kinds_are_listed_but_not_of_ended_pods() {
    let cluster = OverApi::start().await;
    let spec = json!({
        "containers": [{"name": "c", "image": "main"}],
        "initContainers": [{"name": "i", "image": "init"}],
        "ephemeralContainers": [{"name": "e", "image": "debug"}, {"name": "none"}],
        "volumes": [{"name": "v", "image": {"reference": "volume"}}, {"name": "w", "emptyDir": {}}],
    });
    cluster.api.add_pod("team-a", "all-kinds", "Pending", &spec);
    cluster.api.add_pod("team-b", "elsewhere", "Running", &spec);
    let ended = json!({"containers": [{"image": "ended"}]});
    cluster.api.add_pod("team-a", "done", "Succeeded", &ended);
    cluster.api.add_pod("team-a", "failed", "Failed", &ended);
    for pod in 0..250 {
        let spec = json!({"containers": [{"image": format!("image-{pod}")}]});
        cluster
            .api
            .add_pod("team-a", &format!("pod-{pod}"), "Running", &spec);
    }
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.api.write_kubeconfig(directory.path());
    let clients = kubernetes::connect(Some(&kubeconfig), Some("double"))
        .await
        .unwrap();
    let pods: Arc<dyn PodImages> = Arc::new(KubePodImages::new(clients.requests));

    let mut images = pods.images("team-a").await.unwrap();
    images.sort();
    assert_eq!(images.len(), 254);
    for image in ["main", "init", "debug", "volume", "image-249"] {
        assert!(images.binary_search(&image.to_owned()).is_ok(), "{image}");
    }
    assert!(!images.contains(&"ended".to_owned()));
    assert!(pods.images("No/Name").await.unwrap().is_empty());
    let received = cluster.api.received();
    assert_eq!(
        received.len(),
        2,
        "two pages, and nothing for what is no name"
    );
    assert!(
        received
            .iter()
            .all(|received| received.namespace.as_deref() == Some("team-a"))
    );
}

#[tokio::test]
async fn pods_of_all_namespaces_are_seen_in_pages_with_what_they_cannot_pull() {
    let cluster = OverApi::start().await;
    let pod = |name: &str, more: Value| {
        let mut pod = json!({
            "metadata": {"name": name},
            "spec": {
                "containers": [{"name": "a", "image": "one"}, {"name": "b", "image": "two"}],
                "initContainers": [{"name": "i", "image": "three"}],
                "volumes": [{"name": "v", "image": {"reference": "four"}}, {"name": "w"}],
            },
            "status": {"phase": "Pending"},
        });
        json_patch::merge(&mut pod, &more);
        pod
    };
    let waits =
        |name: &str, reason: &str| json!({"name": name, "state": {"waiting": {"reason": reason}}});
    let failing = json!({
        "spec": {"imagePullSecrets": [{"name": "theirs"}, {"name": NAME}]},
        "status": {"containerStatuses": [waits("a", "ContainerCreating"), waits("b", "ImagePullBackOff")]},
    });
    let leaving = json!({"metadata": {"deletionTimestamp": "2026-11-21T00:00:00Z"}});
    let mirror = json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}});
    let out = json!({
        "metadata": {"annotations": {"ecr-admission.dev/inject": "false"}},
        "status": {"phase": "Running"},
    });
    let ended = json!({"status": {"phase": "Succeeded"}});
    for (namespace, name, more) in [
        ("team-a", "failing", failing),
        ("team-a", "leaving", leaving),
        ("team-b", "mirror", mirror),
        ("team-b", "out", out),
        ("team-b", "ended", ended),
    ] {
        cluster
            .api
            .create(Resource::Pods, namespace, pod(name, more), "kubectl-create");
    }
    for number in 0..300 {
        let more = pod(&format!("more-{number}"), json!({}));
        cluster
            .api
            .create(Resource::Pods, "team-b", more, "kubectl-create");
    }
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.api.write_kubeconfig(directory.path());
    let client = kubernetes::connect(Some(&kubeconfig), None).await.unwrap();
    let pods = KubePodImages::new(client.requests);
    let first = pods.page(None, None).await.unwrap();
    assert_eq!(first.pods.len(), 200);
    let second = pods.page(None, first.next.as_deref()).await.unwrap();
    assert_eq!((second.pods.len(), second.next), (104, None));

    let seen = |name: &str| {
        let mut all = first.pods.iter().chain(&second.pods);
        all.find(|pod| pod.name == name).unwrap()
    };
    let failing = seen("failing");
    assert_eq!(failing.namespace, "team-a");
    assert_eq!(failing.images, ["four", "one", "two", "three"]);
    assert_eq!(failing.failing, ["four", "two"]);
    assert_eq!(failing.pull_secrets, ["theirs", NAME]);
    assert!(!failing.uid.is_empty() && !failing.beyond_help && !failing.opts_out);
    assert!(seen("leaving").beyond_help && seen("mirror").beyond_help);
    assert!(seen("out").opts_out && seen("out").failing.is_empty());
    assert!(failing.pending && !seen("out").pending);

    let one = pods.page(Some("team-a"), None).await.unwrap();
    assert_eq!(one.pods.len(), 2);
    cluster.api.expire_page_tokens(true);
    let error = pods.page(None, first.next.as_deref()).await.unwrap_err();
    assert!(
        error.to_string().starts_with("cannot list Pods: "),
        "{error}"
    );
}
