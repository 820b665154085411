//! `ecr-admission refresh` as a process, over the wire protocol of the API server.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::api_server::{ApiServer, Resource, Verb};
use crate::support::ecr::{Answer, EcrDouble};

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// Runs the command; its exit code, standard output and standard error.
async fn refresh(api: &ApiServer, ecr: &EcrDouble, args: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_ecr-admission"))
        .arg("refresh")
        .args(args)
        .current_dir(folder.path())
        .env_clear()
        .env("HOME", folder.path())
        .env("KUBECONFIG", api.write_kubeconfig(folder.path()))
        .env("AWS_ENDPOINT_URL_ECR", &ecr.url)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "example")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_mins(1), child).await;
    let output = output.expect("it hangs").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    (code, text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn the_command_writes_what_the_webhook_would_and_tells_it_as_text_and_json() {
    let (api, ecr) = (ApiServer::start().await, EcrDouble::start().await);
    api.add_namespace("default");
    api.add_namespace("team-a");
    let (code, out, err) = refresh(&api, &ecr, &["--registry", HOST]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let line = format!("default: Secret ecr-pull-secret renewed: {HOST} until 20");
    assert!(out.starts_with(&line) && out.lines().count() == 1, "{out}");
    let secret = api
        .get(Resource::Secrets, "default", "ecr-pull-secret")
        .unwrap();
    assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
    assert_eq!(
        secret["metadata"]["labels"]["app.kubernetes.io/managed-by"],
        "ecr-admission"
    );
    assert!(!out.contains("password-of"));

    let args = [
        "-n",
        "team-a",
        "-n",
        "default",
        "--registry",
        HOST,
        "--format",
        "json",
        "--dry-run",
    ];
    let (code, out, _) = refresh(&api, &ecr, &args).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &report["failed"], &report["dryRun"]),
        (0, &json!(0), &json!(true))
    );
    let namespaces = report["namespaces"].as_array().unwrap();
    assert_eq!(namespaces[0]["namespace"], "team-a");
    assert_eq!(namespaces[1]["registries"][0]["host"], HOST);
    assert_eq!(
        api.get(Resource::Secrets, "team-a", "ecr-pull-secret"),
        None
    );
}

#[tokio::test]
async fn a_missing_permission_is_named_as_the_rule_that_is_missing() {
    let (api, ecr) = (ApiServer::start().await, EcrDouble::start().await);
    api.add_namespace("default");
    let refusal = "secrets is forbidden: User \"system:serviceaccount:default:puller\" cannot create resource \
                   \"secrets\" in API group \"\" in the namespace \"default\"";
    api.refuse(
        (Verb::Create, Resource::Secrets),
        1,
        (403, "Forbidden", refusal),
    );
    let (code, out, err) = refresh(&api, &ecr, &["--registry", HOST]).await;
    assert_eq!((code, out.as_str()), (1, "default: failed\n"));
    let rule = "its Role in namespace \"default\" lacks the rule {apiGroups: [\"\"], resources: [secrets], verbs: [create]}";
    assert!(err.contains(rule) && err.lines().count() == 1, "{err}");
}

#[tokio::test]
async fn what_makes_no_sense_ends_with_two_and_what_fails_with_one() {
    let (api, ecr) = (ApiServer::start().await, EcrDouble::start().await);
    for args in [
        &["--registry", "ghcr.io"][..],
        &["--all-namespaces", "--namespace", "a"],
        &["--selector", "a", "--all-namespaces"],
        &["--secret-name", "No_Name"],
    ] {
        let (code, out, err) = refresh(&api, &ecr, args).await;
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
    }
    api.add_namespace("default");
    ecr.always(Answer::Error(400, "AccessDeniedException", "no"));
    let (code, _, err) = refresh(&api, &ecr, &["--registry", HOST]).await;
    assert_eq!(code, 1);
    let part = format!("default: no token for {HOST}: ");
    assert!(err.contains(&part) && err.lines().count() == 1, "{err}");
}
