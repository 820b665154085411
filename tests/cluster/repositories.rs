//! Argo CD's repository Secrets, in a real API server.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::ecr::EcrDouble;
use crate::harness::control_plane::{ControlPlane, version};
use crate::harness::helm::{Helm, RELEASE};
use crate::harness::install::{apply, documents, install_permissions};
use crate::harness::namespace::{Namespace, REGISTRY};
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::{eventually, run};

const FIRST: &str = "ecr-admission-repository-1";
const LABELS: [(&str, &str); 2] = [
    ("app.kubernetes.io/managed-by", "ecr-admission"),
    ("argocd.argoproj.io/secret-type", "repository"),
];

async fn install(plane: &ControlPlane) {
    install_permissions(plane).await;
    apply(plane, manifests().await).await;
}

/// What the chart grants for it, which is in no plain manifest, and the policies with it.
pub(crate) async fn manifests() -> Vec<Value> {
    let set = ["--set", "config.argocdNamespaces={argocd}"];
    let only = ["argocd", "argocd-policy", "secret-create-policy"];
    let only = only.map(|name| format!("templates/{name}.yaml"));
    let show = only.iter().flat_map(|name| ["--show-only", name]);
    let arguments: Vec<&str> = set
        .into_iter()
        .chain(show)
        .chain(["--kube-version"])
        .collect();
    let version = version();
    let arguments = [&arguments[..], &[&version]].concat();
    let said = Helm::Four.chart(&["template", RELEASE], &arguments).await;
    assert!(said.ok, "{}", said.err);
    documents(&said.out)
}

async fn urls(namespace: &Namespace<'_>) -> Vec<String> {
    let list = namespace
        .api()
        .get(&namespace.path("secrets"))
        .await
        .unwrap();
    let secrets = list["items"].as_array().unwrap().iter();
    let ours = secrets.filter(|secret| {
        LABELS
            .iter()
            .all(|(key, value)| secret["metadata"]["labels"][key] == *value)
    });
    let decode = |secret: &Value| {
        let url = BASE64_STANDARD.decode(secret["data"]["url"].as_str().unwrap());
        String::from_utf8(url.unwrap()).unwrap()
    };
    let mut urls: Vec<String> = ours.map(decode).collect();
    urls.sort();
    urls
}

async fn ask(namespace: &Namespace<'_>, value: &str) {
    let annotation =
        json!({"metadata": {"annotations": {"ecr-admission.dev/argocd-repositories": value}}});
    let path = format!("/api/v1/namespaces/{}", namespace.name);
    namespace.api().merge(&path, &annotation).await.unwrap();
}

fn secret(name: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": labels},
        "stringData": {"url": "example.com"},
    })
}

#[test]
fn repositories_come_and_go_with_the_annotation_and_our_account_can_write_nothing_else_there() {
    run(async {
        let plane = ControlPlane::start("repositories").await;
        let argocd = Namespace::create(&plane, "argocd").await;
        install(&plane).await;
        let cluster_keys = secret(
            "cluster-keys",
            &json!({"argocd.argoproj.io/secret-type": "cluster"}),
        );
        plane
            .api
            .create(&argocd.path("secrets"), &cluster_keys)
            .await
            .unwrap();
        let ecr = EcrDouble::start().await;
        let settings = Settings::files(&plane.folder);
        let settings = settings.with(["--argocd-namespaces", "argocd"].map(Into::into));
        let replicas = [
            Webhook::start_with(&plane, &ecr, "argocd-a", settings.clone()).await,
            Webhook::start_with(&plane, &ecr, "argocd-b", settings).await,
        ];

        let (charts, more) = (format!("{REGISTRY}/charts"), format!("{REGISTRY}/more"));
        ask(&argocd, &format!("{charts}, {more}, docker.io/x")).await;
        eventually("both are there", async || {
            urls(&argocd).await == [charts.clone(), more.clone()]
        })
        .await;
        let path = argocd.path(&format!("secrets/{FIRST}"));
        let first = plane.api.get(&path).await.unwrap();
        let password = first["data"]["password"].as_str().unwrap();
        assert_eq!(
            BASE64_STANDARD.decode(password).unwrap(),
            b"password-of-eu-west-1"
        );
        eventually("what cannot be had is told", async || {
            replicas[0].is_degraded("repositories").await
        })
        .await;
        ask(&argocd, &more).await;
        eventually("one is gone", async || {
            urls(&argocd).await == [more.clone()]
        })
        .await;

        nothing_else_can_be_written(&plane).await;
        ask(&argocd, "").await;
        eventually("all are gone", async || urls(&argocd).await.is_empty()).await;
        assert!(plane.api.exists(&argocd.path("secrets/cluster-keys")).await);
    });
}

async fn nothing_else_can_be_written(plane: &ControlPlane) {
    let token = plane.token().await;
    let refused = async |arguments: &str, stdin: &Value| {
        let arguments: Vec<&str> = arguments.split(' ').chain(["--token", &token]).collect();
        let said = plane.kubectl(&arguments, &stdin.to_string()).await;
        assert!(!said.ok, "{arguments:?} {stdin} was allowed");
        assert!(
            said.err.to_lowercase().contains("forbidden") || said.err.contains("may "),
            "{said:?}"
        );
    };
    let ours = json!({"app.kubernetes.io/managed-by": "ecr-admission", "argocd.argoproj.io/secret-type": "repository"});
    let cluster = json!({"app.kubernetes.io/managed-by": "ecr-admission", "argocd.argoproj.io/secret-type": "cluster"});
    let create = "create -n argocd -f -";
    let as_cluster = secret("ecr-admission-repository-9", &cluster);
    eventually("the policy holds", async || {
        let dry = [
            "create",
            "-n",
            "argocd",
            "-f",
            "-",
            "--dry-run=server",
            "--token",
            &token,
        ];
        !plane.kubectl(&dry, &as_cluster.to_string()).await.ok
    })
    .await;
    refused(create, &as_cluster).await;
    // The one that is there cannot be turned into what hands Argo CD a cluster.
    let turn = r#"{"metadata":{"labels":{"argocd.argoproj.io/secret-type":"cluster"}}}"#;
    let turn = format!("patch secret ecr-admission-repository-2 -n argocd -p {turn}");
    refused(&turn, &Value::Null).await;
    refused(create, &secret("ecr-admission-repository-17", &ours)).await;
    refused(create, &secret("another", &ours)).await;
    refused(
        "create -n default -f -",
        &secret("ecr-admission-repository-9", &ours),
    )
    .await;
    for attempt in [
        "get secrets -n argocd",
        "get secret cluster-keys -n argocd",
        "delete secret cluster-keys -n argocd",
    ] {
        refused(attempt, &Value::Null).await;
    }
    let mut more = secret("ecr-admission-repository-9", &ours);
    more["stringData"]["sshPrivateKey"] = json!("x");
    refused(create, &more).await;
}
