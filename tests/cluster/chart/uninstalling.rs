//! What `ecr-admission cleanup` takes away, with the rights that the chart's Job has for it. That `helm uninstall` runs that
//! Job is shown where Pods run: in `node/uninstalling.rs`.

use std::path::Path;

use serde_json::{Value, json};

use super::installing::{create_namespace, done, everything, helm, nothing_is_left, start};
use crate::harness::control_plane::{ControlPlane, Said, said, version};
use crate::harness::helm::{Helm, RELEASE};
use crate::harness::install::{apply, documents};
use crate::harness::namespace::{Namespace, SECRET};
use crate::harness::run;

const CLEANUP: &str = "ecr-admission-cleanup";

/// The Job's objects, but for the Job.
async fn account(plane: &ControlPlane) -> Vec<Value> {
    let version = version();
    let arguments = [
        "--kube-version",
        &version,
        "--show-only",
        "templates/cleanup.yaml",
    ];
    let said = Helm::Four.chart(&["template", RELEASE], &arguments).await;
    assert!(said.ok, "{}", said.err);
    let mut objects = documents(&said.out);
    let all = objects.len();
    objects.retain(|object| object["kind"] != "Job");
    assert_eq!(objects.len(), all - 1);
    apply(plane, objects.clone()).await;
    objects
}

async fn cleanup(plane: &ControlPlane, arguments: &[&str]) -> Said {
    let path = format!("/api/v1/namespaces/{RELEASE}/serviceaccounts/{CLEANUP}/token");
    let request =
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let answer = plane.api.create(&path, &request).await.unwrap();
    let kubeconfig = plane.kubeconfig(CLEANUP, answer["status"]["token"].as_str().unwrap());
    let binary = Path::new(env!("CARGO_BIN_EXE_ecr-admission"));
    let all = [&["cleanup", "--namespace", RELEASE], arguments].concat();
    said(binary, &all, [("KUBECONFIG", &kubeconfig)], "").await
}

fn secret(name: &str, owned: bool) -> Value {
    let by = if owned { "ecr-admission" } else { "somebody" };
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": by}},
        "stringData": {"key": "value"},
    })
}

/// What replicas would have written.
async fn leave_behind(namespaces: &[Namespace<'_>], foreign: &Namespace<'_>) {
    for namespace in namespaces {
        let api = namespace.api();
        api.create(&namespace.path("secrets"), &secret(SECRET, true))
            .await
            .unwrap();
        api.create(&namespace.path("secrets"), &secret("other", true))
            .await
            .unwrap();
        let entries = json!({"imagePullSecrets": [{"name": "theirs"}, {"name": SECRET}]});
        let path = namespace.path("serviceaccounts/default");
        api.merge(&path, &entries).await.unwrap();
    }
    let api = foreign.api();
    api.create(&foreign.path("secrets"), &secret(SECRET, false))
        .await
        .unwrap();
}

#[test]
fn what_replicas_have_written_goes_and_what_others_have_stays() {
    run(async {
        let plane = start("chart-cleanup").await;
        create_namespace(&plane).await;
        let before = everything(&plane).await;
        let set = ["--set", "config.serviceAccountMode=Add"];
        helm(Helm::Four, &plane, "install", &set).await;
        let namespaces = [
            Namespace::create(&plane, "team-a").await,
            Namespace::create(&plane, "team-b").await,
        ];
        let foreign = Namespace::create(&plane, "foreign").await;
        leave_behind(&namespaces, &foreign).await;
        let secrets = format!("/api/v1/namespaces/{RELEASE}/secrets");
        let certificate = secret("ecr-admission-tls", true);
        plane.api.create(&secrets, &certificate).await.unwrap();
        let objects = account(&plane).await;

        let dry = cleanup(&plane, &["--dry-run"]).await;
        assert!(
            dry.ok
                && dry
                    .out
                    .contains("would scale to zero Deployment \"ecr-admission\""),
            "{dry:?}"
        );
        for namespace in &namespaces {
            assert!(namespace.secret().await.is_some());
        }
        let real = cleanup(&plane, &["--format", "json"]).await;
        assert!(real.ok, "{real:?}");
        let lines: Vec<Value> = real
            .out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let kept: Vec<&Value> = lines
            .iter()
            .filter(|line| line["result"] == "kept")
            .collect();
        assert_eq!(kept.len(), 1, "{lines:?}");
        assert_eq!(kept[0]["namespace"], "foreign");
        // Every object that it would have changed, but for the one line that sums up.
        assert_eq!(
            lines.len() + 1,
            dry.out.lines().count(),
            "{} {lines:?}",
            dry.out
        );

        for namespace in &namespaces {
            assert!(namespace.secret().await.is_none());
            let other = namespace.path("secrets/other");
            assert!(plane.api.exists(&other).await, "a Secret of another name");
            let account = namespace.path("serviceaccounts/default");
            let account = plane.api.get(&account).await.unwrap();
            assert_eq!(account["imagePullSecrets"], json!([{"name": "theirs"}]));
        }
        assert!(foreign.secret().await.is_some());
        let pods = format!("/api/v1/namespaces/{RELEASE}/pods");
        let pods = plane.api.get(&pods).await.unwrap();
        assert_eq!(pods["items"], json!([]));

        let again = cleanup(&plane, &["--format", "json"]).await;
        let scaled = r#"{"kind":"Deployment","namespace":"ecr-admission","name":"ecr-admission","action":"scale","result":"done"}"#;
        let told: Vec<&str> = again.out.lines().collect();
        assert!(
            again.ok && told.len() == 2 && told[0] == scaled,
            "{again:?}"
        );

        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        let delete = ["delete", "-f", "-"];
        let said = plane.kubectl(&delete, &list.to_string()).await;
        assert!(said.ok, "{said:?}");
        helm(Helm::Four, &plane, "uninstall", &["--no-hooks"]).await;
        nothing_is_left(&plane, &before).await;
        done(&plane, &["delete", "namespace", "foreign", "--wait=false"]).await;
    });
}
