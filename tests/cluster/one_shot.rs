//! `ecr-admission refresh`, as the CronJob of manifests/cron-job runs it and as a person does.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::control_plane::Said;
use crate::harness::namespace::{IMAGE, Namespace, REGISTRY, SECRET};
use crate::harness::{Cluster, eventually, in_shared_cluster};

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/cron-job");
const ELSEWHERE: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// Makes a namespace with what the manifests hold: the Secret once, the rest as often as somebody likes.
async fn install<'a>(cluster: &'a Cluster, name: &str) -> Namespace<'a> {
    let namespace = Namespace::create(&cluster.plane, name).await;
    let secret = format!("{MANIFESTS}/secret.yaml");
    namespace.kubectl_ok(&["create", "-f", &secret], "").await;
    namespace.kubectl_ok(&["apply", "-k", MANIFESTS], "").await;
    namespace
}

/// A kubeconfig with the token of the CronJob's account.
async fn account(cluster: &Cluster, namespace: &Namespace<'_>) -> PathBuf {
    let token = namespace
        .kubectl_ok(&["create", "token", "ecr-refresh"], "")
        .await;
    cluster
        .plane
        .kubeconfig(&format!("refresh-{}", namespace.name), &token.out)
}

async fn refresh(cluster: &Cluster, kubeconfig: PathBuf, arguments: &[&str]) -> (i32, Said) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_ecr-admission"))
        .arg("refresh")
        .args(arguments)
        .env_clear()
        .env("HOME", &cluster.plane.folder)
        .env("KUBECONFIG", kubeconfig)
        .env("AWS_ENDPOINT_URL_ECR", &cluster.ecr.url)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "example")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    (output.status.code().unwrap(), output.into())
}

fn admin(cluster: &Cluster) -> PathBuf {
    cluster.plane.folder.join("admin.kubeconfig")
}

#[test]
fn the_cron_jobs_account_needs_no_more_than_its_role_and_may_do_nothing_else() {
    in_shared_cluster(async |cluster| {
        let namespace = install(cluster, "one-shot").await;
        let before = namespace.secret().await.unwrap();
        let kubeconfig = account(cluster, &namespace).await;
        let own = ["-n", "one-shot", "--registry", REGISTRY];
        for _ in 0..2 {
            let (code, said) = refresh(cluster, kubeconfig.clone(), &own).await;
            assert_eq!(code, 0, "{said:?}");
            assert!(namespace.is_served().await);
            // Somebody applies the manifests again, which leaves the tokens.
            namespace.kubectl_ok(&["apply", "-k", MANIFESTS], "").await;
        }
        let after = namespace.secret().await.unwrap();
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
        assert!(namespace.is_served().await);
        assert!(after["metadata"]["annotations"]["ecr-admission.dev/expires-at"].is_string());

        // What it may not do is told as the rule that is missing.
        let of_namespaces = "lacks the rule {apiGroups: [\"\"], resources: [namespaces]";
        let of_secret = "its Role in namespace \"default\" lacks the rule {apiGroups: [\"\"], resources: [secrets], \
                         resourceNames: [ecr-pull-secret], verbs: [get]}";
        for (arguments, expected, part) in [
            (&["-n", "one-shot"][..], 1, of_namespaces),
            (&["-n", "default", "--registry", REGISTRY], 1, of_secret),
            (&["-A", "--registry", REGISTRY], 2, of_namespaces),
        ] {
            let (code, said) = refresh(cluster, kubeconfig.clone(), arguments).await;
            assert!(
                code == expected && said.err.contains(part),
                "{arguments:?}: {code} {said:?}"
            );
        }
    });
}

#[test]
fn a_secret_that_is_not_there_and_may_not_be_made_is_named_with_the_rule() {
    in_shared_cluster(async |cluster| {
        let namespace = install(cluster, "one-shot-bare").await;
        namespace
            .kubectl_ok(&["delete", "secret", SECRET], "")
            .await;
        let kubeconfig = account(cluster, &namespace).await;
        let own = ["-n", "one-shot-bare", "--registry", REGISTRY];
        let (code, said) = refresh(cluster, kubeconfig, &own).await;
        let rule = "its Role in namespace \"one-shot-bare\" lacks the rule {apiGroups: [\"\"], resources: [secrets], \
                    verbs: [create]}";
        assert!(code == 1 && said.err.contains(rule), "{code} {said:?}");
        assert_eq!(namespace.secret().await, None);
    });
}

#[test]
fn what_a_namespace_names_is_found_in_its_annotation_its_pods_and_its_templates() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "one-shot-found").await;
        let path = "/api/v1/namespaces/one-shot-found";
        // Injection is off, so the webhook makes nothing but what is pinned.
        let metadata = json!({
            "annotations": {"ecr-admission.dev/registries": ELSEWHERE, "ecr-admission.dev/inject": "false"},
            "labels": {"one-shot": "found"},
        });
        namespace
            .api()
            .merge(path, &json!({"metadata": metadata}))
            .await
            .unwrap();
        let template = json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "app", "image": IMAGE}]},
        });
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": template},
        });
        namespace
            .kubectl_ok(&["create", "-f", "-"], &deployment.to_string())
            .await;
        let named = ["-n", "one-shot-found", "--format", "json"];
        let (code, said) = refresh(
            cluster,
            admin(cluster),
            &[&named[..], &["--dry-run"]].concat(),
        )
        .await;
        assert_eq!(code, 0, "{said:?}");
        let passwords = namespace.passwords().await;
        assert!(
            !passwords.iter().any(|(host, _)| host == REGISTRY),
            "a dry run writes nothing"
        );
        let (code, said) = refresh(cluster, admin(cluster), &named).await;
        assert_eq!(code, 0, "{said:?}");
        let report: Value = serde_json::from_str(&said.out).unwrap();
        let fresh = report["namespaces"][0]["registries"].as_array().unwrap();
        let hosts: Vec<_> = fresh
            .iter()
            .map(|fresh| fresh["host"].as_str().unwrap())
            .collect();
        assert_eq!(hosts, [ELSEWHERE, REGISTRY]);
        eventually("both have a password", async || {
            namespace.passwords().await.len() == 2
        })
        .await;

        // Of those that are selected, the ones that opted out are skipped.
        let (code, said) = refresh(cluster, admin(cluster), &["-l", "one-shot=found"]).await;
        assert!(
            code == 0 && said.out.starts_with("one-shot-found: skipped: "),
            "{said:?}"
        );
    });
}

#[test]
fn somebody_elses_secret_of_that_name_is_left_alone() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "one-shot-foreign").await;
        let create = ["create", "secret", "generic", SECRET, "--from-literal=a=b"];
        namespace.kubectl_ok(&create, "").await;
        let before = namespace.secret().await;
        let own = ["-n", "one-shot-foreign", "--registry", REGISTRY];
        let (code, said) = refresh(cluster, admin(cluster), &own).await;
        assert!(
            code == 1 && said.err.contains("is not ours"),
            "{code} {said:?}"
        );
        assert_eq!(namespace.secret().await, before);
    });
}

#[test]
fn with_the_component_the_default_service_account_names_the_secret_beside_its_own() {
    in_shared_cluster(async |cluster| {
        let namespace = install(cluster, "one-shot-account").await;
        let folder = cluster.plane.folder.join("one-shot-account");
        std::fs::create_dir_all(&folder).unwrap();
        // kustomize takes folders by relative paths only.
        let up = "../".repeat(folder.components().count() - 1);
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [format!("{up}{MANIFESTS}")],
            "components": [format!("{up}{MANIFESTS}/service-account")],
        });
        std::fs::write(folder.join("kustomization.yaml"), kustomization.to_string()).unwrap();
        namespace
            .kubectl_ok(&["apply", "-k", folder.to_str().unwrap()], "")
            .await;
        let path = namespace.path("serviceaccounts/default");
        let theirs = json!({"imagePullSecrets": [{"name": "theirs"}]});
        namespace.api().merge(&path, &theirs).await.unwrap();

        let job = namespace
            .kubectl_ok(&["get", "cronjob", "ecr-refresh", "-o", "json"], "")
            .await;
        let job: Value = serde_json::from_str(&job.out).unwrap();
        let args = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"];
        let given = [
            "refresh",
            "--registry",
            "$(REGISTRIES)",
            "--service-account=default",
        ];
        assert_eq!(args, &json!(given));
        let kubeconfig = account(cluster, &namespace).await;
        let own = ["-n", "one-shot-account", "--registry", REGISTRY, given[3]];
        let (code, said) = refresh(cluster, kubeconfig.clone(), &own).await;
        assert!(
            code == 0 && said.out.contains("ServiceAccount default now names"),
            "{said:?}"
        );
        let account = namespace.api().get(&path).await.unwrap();
        assert_eq!(
            account["imagePullSecrets"],
            json!([{"name": "theirs"}, {"name": SECRET}])
        );

        let other = [
            "-n",
            "one-shot-account",
            "--registry",
            REGISTRY,
            "--service-account=builder",
        ];
        let (code, said) = refresh(cluster, kubeconfig, &other).await;
        let rule = "resources: [serviceaccounts], resourceNames: [builder], verbs: [get]}";
        assert!(code == 1 && said.err.contains(rule), "{code} {said:?}");
    });
}
