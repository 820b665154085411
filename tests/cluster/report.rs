//! `ecr-admission report` at the real API server, with the rights of manifests/report and no others.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::control_plane::Said;
use crate::harness::install::{apply, manifest};
use crate::harness::namespace::{IMAGE, Namespace, REGISTRY};
use crate::harness::{Cluster, eventually, in_shared_cluster};
use crate::policies::{define, policy};

const ROLE: &str = "arn:aws:iam::123456789012:role/report";

/// A kubeconfig with the token of an account that may do what manifests/report says.
async fn auditor(cluster: &Cluster, namespace: &Namespace<'_>) -> PathBuf {
    apply(&cluster.plane, manifest("report/cluster-role.yaml")).await;
    let account = ["create", "serviceaccount", "auditor"];
    namespace.kubectl_ok(&account, "").await;
    let (name, subject) = (
        format!("auditor-{}", namespace.name),
        format!("--serviceaccount={}:auditor", namespace.name),
    );
    let bind = [
        "create",
        "clusterrolebinding",
        &name,
        "--clusterrole=ecr-admission-report",
        &subject,
    ];
    namespace.kubectl_ok(&bind, "").await;
    let token = namespace
        .kubectl_ok(&["create", "token", "auditor"], "")
        .await;
    let kubeconfig = cluster.plane.kubeconfig(&name, &token.out);
    let may = [
        "auth",
        "can-i",
        "list",
        "replicasets",
        "--token",
        &token.out,
    ];
    eventually("the account has its rights", async || {
        namespace.kubectl(&may, "").await.ok
    })
    .await;
    kubeconfig
}

async fn report(cluster: &Cluster, kubeconfig: &PathBuf, arguments: &[&str]) -> (i32, Said) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_ecr-admission"))
        .arg("report")
        .args(arguments)
        .env_clear()
        .env("HOME", &cluster.plane.folder)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    (output.status.code().unwrap(), output.into())
}

async fn told(cluster: &Cluster, kubeconfig: &PathBuf, arguments: &[&str]) -> (i32, Value) {
    let (code, said) = report(cluster, kubeconfig, &[arguments, &["-o", "json"]].concat()).await;
    let told = serde_json::from_str(&said.out);
    (code, told.unwrap_or_else(|_| panic!("{code} {said:?}")))
}

fn deployment(image: &str) -> Value {
    let template = json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": image}]},
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template},
    })
}

#[test]
fn what_a_policy_would_do_to_pods_and_deployments_is_told_before_it_holds() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "report").await;
        define(cluster).await;
        let kubeconfig = auditor(cluster, &namespace).await;
        let web = deployment(IMAGE).to_string();
        namespace.kubectl_ok(&["create", "-f", "-"], &web).await;
        let image = format!("--image={IMAGE}");
        namespace.kubectl_ok(&["run", "bare", &image], "").await;
        eventually("the Pods are there", async || {
            let list = ["get", "pods", "-o", "name"];
            namespace.kubectl_ok(&list, "").await.out.lines().count() == 3
        })
        .await;

        // By a file, before anybody has applied anything.
        let spec = json!({
            "namespaces": {"names": ["report"]},
            "grants": [{"registries": ["123456789012"], "role": {"arn": ROLE}}],
            "validation": {"digestRequired": {}},
        });
        let file = cluster.plane.folder.join("report-policy.json");
        std::fs::write(&file, policy("report-new", &spec)).unwrap();
        let named = ["-n", "report", "--policy", file.to_str().unwrap()];
        let (code, said) = told(cluster, &kubeconfig, &named).await;
        assert_eq!(code, 1, "{said}");
        let told_of = &said["namespaces"][0];
        assert_eq!(told_of["pods"]["refused"], 3, "{said}");
        assert_eq!(
            told_of["workloads"],
            json!({"total": 1, "refused": 1, "warned": 0, "audited": 0}),
            "{said}"
        );
        assert_eq!(told_of["podsOfWorkloads"], 2, "{said}");
        let images = &told_of["rules"][0]["images"];
        let images = images.as_array().unwrap().iter();
        let images: Vec<_> = images
            .map(|image| json!([image["kind"], image["name"], image["pods"]]))
            .collect();
        assert_eq!(
            images,
            [json!(["Deployment", "web", 2]), json!(["Pod", "bare", 0])]
        );
        assert_eq!(
            told_of["changes"],
            json!([{"registry": REGISTRY, "before": "controller", "after": ROLE, "pods": 3, "workloads": 1}])
        );

        // By the policies of the cluster; other tests have theirs at the same time.
        let audit = json!({
            "namespaces": {"names": ["report"]}, "action": "Audit", "validation": {"digestRequired": {}},
        });
        let create = ["create", "-f", "-"];
        let said = cluster
            .plane
            .kubectl(&create, &policy("report-audit", &audit))
            .await;
        assert!(said.ok, "{said:?}");
        let (_, said) = told(
            cluster,
            &kubeconfig,
            &["-l", "kubernetes.io/metadata.name=report"],
        )
        .await;
        let rules = said["namespaces"][0]["rules"].as_array().unwrap();
        let audited = rules.iter().find(|rule| rule["rule"] == "digest-required");
        let audited = audited.unwrap_or_else(|| panic!("{said}"));
        assert_eq!(
            json!([audited["action"], audited["pods"], audited["workloads"]]),
            json!(["Audit", 3, 1])
        );
        let delete = ["delete", "ecrp", "report-audit"];
        assert!(cluster.plane.kubectl(&delete, "").await.ok);

        // The whole cluster, as text: nothing in it breaks the rules that hold.
        let (code, said) =
            report(cluster, &kubeconfig, &["--policy", file.to_str().unwrap()]).await;
        assert_eq!(code, 1, "{said:?}");
        let line = "Enforce [digest-required]: 3 Pods, 1 workload";
        assert!(said.out.contains(line), "{said:?}");
        assert!(said.out.contains("left out: "), "kube-system: {said:?}");
        assert!(!said.out.contains("kube-system: 0"), "{said:?}");
    });
}

#[test]
fn without_a_right_the_rule_that_is_missing_is_named() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "report-bare").await;
        define(cluster).await;
        let account = ["create", "serviceaccount", "nobody"];
        namespace.kubectl_ok(&account, "").await;
        let token = namespace
            .kubectl_ok(&["create", "token", "nobody"], "")
            .await;
        let kubeconfig = cluster.plane.kubeconfig("report-bare", &token.out);
        for (arguments, rule) in [
            (
                &["-n", "report-bare"][..],
                "its ClusterRole lacks the rule {apiGroups: [\"ecr-admission.dev\"], resources: [ecrpolicies], verbs: [list]}",
            ),
            (
                &["-n", "report-bare", "--no-policies"],
                "resources: [namespaces], resourceNames: [report-bare], verbs: [get]}",
            ),
        ] {
            let (code, said) = report(cluster, &kubeconfig, arguments).await;
            assert!(code == 2 && said.err.contains(rule), "{code} {said:?}");
        }
    });
}
