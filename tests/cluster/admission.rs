//! Pods get the Secret and its name, whoever creates them and wherever their image stands.

use serde_json::{Value, json};

use crate::harness::namespace::{IMAGE, Namespace, REGISTRY, SECRET, one_container, pull_secrets};
use crate::harness::workloads::{self, KINDS, kind, kinds};
use crate::harness::{eventually, in_shared_cluster};

/// A registry of another account.
const OTHER: &str = "210987654321.dkr.ecr.us-east-1.amazonaws.com";

#[test]
fn the_secret_is_there_before_the_first_pod_which_names_it() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "first-pod").await;
        assert!(namespace.secret().await.is_none());
        let pod = namespace.run("app", IMAGE).await;
        // No waiting here: the Pod exists, so the Secret must.
        let secret = namespace.secret().await.unwrap();
        assert!(namespace.is_served().await);
        assert_eq!(pull_secrets(&pod), [SECRET]);
        assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
        let labels = json!({"app.kubernetes.io/managed-by": "ecr-admission"});
        assert_eq!(secret["metadata"]["labels"], labels);

        for name in ["second", "third"] {
            assert_eq!(pull_secrets(&namespace.run(name, IMAGE).await), [SECRET]);
        }
        let after = namespace.secret().await.unwrap();
        let version = |secret: &Value| secret["metadata"]["resourceVersion"].clone();
        assert_eq!(
            version(&after),
            version(&secret),
            "a warm Pod writes nothing"
        );
    });
}

#[test]
fn nothing_but_the_pull_secrets_of_a_pod_changes() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "nothing-else").await;
        let spec = json!({
            "containers": [{"name": "app", "image": IMAGE, "env": [{"name": "A", "value": "b"}]}],
            "initContainers": [{"name": "setup", "image": "busybox:1"}],
            "automountServiceAccountToken": false,
            "nodeSelector": {"a": "b"},
        });
        let ours = namespace.create_pod("ours", &spec).await.unwrap();
        // The same Pod where nobody asks us.
        let path = "/api/v1/namespaces/kube-system/pods";
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nothing-else"}, "spec": spec});
        let account = "/api/v1/namespaces/kube-system/serviceaccounts/default";
        eventually("kube-system has its default ServiceAccount", async || {
            namespace.api().exists(account).await
        })
        .await;
        let mut theirs = namespace.api().create(path, &pod).await.unwrap();
        assert!(pull_secrets(&theirs).is_empty());
        theirs["spec"]["imagePullSecrets"] = json!([{"name": SECRET}]);
        assert_eq!(ours["spec"], theirs["spec"]);
    });
}

#[test]
fn the_pods_of_every_workload_are_served() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "workloads").await;
        // The DaemonSet's Pod is made for a node; nothing has to run on it.
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}});
        namespace
            .api()
            .create("/api/v1/nodes", &node)
            .await
            .unwrap();
        workloads::create(&namespace, IMAGE).await;
        eventually("every workload has its Pod", async || {
            kinds(namespace.pods().await.iter()) == KINDS
        })
        .await;
        for pod in namespace.pods().await {
            assert_eq!(pull_secrets(&pod), [SECRET], "{}", kind(&pod));
        }
        assert!(namespace.is_served().await);
    });
}

#[test]
fn an_init_container_an_image_volume_and_a_generated_name_count_too() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "kinds-of-image").await;
        let image =
            |account: &str| format!("{account}.dkr.ecr.eu-west-1.amazonaws.com/team/app:v1");
        let init = json!({
            "initContainers": [{"name": "setup", "image": image("111111111111")}],
            "containers": [{"name": "app", "image": "nginx:1"}],
        });
        let volume = json!({
            "containers": [{"name": "app", "image": "nginx:1"}],
            "volumes": [{"name": "model", "image": {"reference": image("222222222222")}}],
        });
        for (name, spec) in [("init", init), ("volume", volume)] {
            let pod = namespace.create_pod(name, &spec).await.unwrap();
            assert_eq!(pull_secrets(&pod), [SECRET], "{name}");
        }
        let generated = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"generateName": "generated-"},
            "spec": one_container(&image("333333333333")),
        });
        let pod = namespace
            .api()
            .create(&namespace.path("pods"), &generated)
            .await;
        assert_eq!(pull_secrets(&pod.unwrap()), [SECRET]);

        let passwords = namespace.passwords().await;
        let accounts: Vec<&str> = passwords.iter().map(|(host, _)| &host[..12]).collect();
        assert_eq!(accounts, ["111111111111", "222222222222", "333333333333"]);
    });
}

#[test]
fn a_debug_container_gets_its_registry_into_the_secret() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "debugged").await;
        namespace.run("app", IMAGE).await;
        let image = format!("{OTHER}/tools/debug:v1");
        let debug = [
            "debug",
            "pod/app",
            "--attach=false",
            "--profile=general",
            "--container=debug",
            "--image",
        ];
        namespace
            .kubectl_ok(&[&debug[..], &[&image]].concat(), "")
            .await;
        let passwords = namespace.passwords().await;
        assert!(passwords.contains(&(OTHER.to_owned(), "password-of-us-east-1".to_owned())));
        assert!(namespace.is_served().await);
        let pod = namespace
            .api()
            .get(&namespace.path("pods/app"))
            .await
            .unwrap();
        assert_eq!(pod["spec"]["ephemeralContainers"][0]["image"], image);
    });
}

#[test]
fn pull_secrets_that_a_pod_brings_stay_and_stay_in_order() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "own-pull-secrets").await;
        for (name, own, expected) in [
            ("theirs", &["z", "a"][..], &["z", "a", SECRET][..]),
            ("has-ours", &["z", SECRET, "a"], &["z", SECRET, "a"]),
        ] {
            let mut spec = one_container(IMAGE);
            let own = own.iter().map(|name| json!({"name": name}));
            spec["imagePullSecrets"] = own.collect();
            let pod = namespace.create_pod(name, &spec).await.unwrap();
            assert_eq!(pull_secrets(&pod), expected, "{name}");
        }
        let list = json!({"imagePullSecrets": [{"name": "from-account"}, {"name": "second"}]});
        let account = namespace.path("serviceaccounts/default");
        namespace.api().merge(&account, &list).await.unwrap();
        // The API server's ServiceAccount admission reads from a cache.
        eventually("Pods get the ServiceAccount's list", async || {
            let name = format!("from-account-{}", fastrand::u32(..));
            let pod = namespace.run(&name, IMAGE).await;
            pull_secrets(&pod) == ["from-account", "second", SECRET]
        })
        .await;
    });
}

#[test]
fn a_pod_or_namespace_that_opted_out_is_not_injected() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "opted-out").await;
        let out = json!({"metadata": {"annotations": {"ecr-admission.dev/inject": "false"}}});
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "spec": one_container(IMAGE)});
        pod["metadata"] = out["metadata"].clone();
        pod["metadata"]["name"] = json!("app");
        let made = namespace.api().create(&namespace.path("pods"), &pod).await;
        assert!(pull_secrets(&made.unwrap()).is_empty());
        assert!(namespace.secret().await.is_none());

        let path = "/api/v1/namespaces/opted-out";
        namespace.api().merge(path, &out).await.unwrap();
        eventually("the namespace's wish is respected", async || {
            let name = format!("other-{}", fastrand::u32(..));
            pull_secrets(&namespace.run(&name, IMAGE).await).is_empty()
        })
        .await;
        let said = namespace
            .kubectl(&["run", "bad", "--image", &format!("{REGISTRY}/x")], "")
            .await;
        assert!(
            said.err.contains("[full-reference]"),
            "validation stays: {said:?}"
        );
    });
}
