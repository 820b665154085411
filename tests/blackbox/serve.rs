//! `ecr-admission serve` as a whole process: real TLS, the API server's and ECR's wire protocols.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::support::api_server::{ApiServer, Fault, Resource, Verb};
use crate::support::ecr::{Answer, EcrDouble};
use crate::support::process::{Process, eventually, write_pair};
use crate::support::review::{IMAGE, REGISTRY, create, create_with};

const SECRET: &str = "ecr-pull-secret";

async fn doubles(namespaces: &[&str]) -> (ApiServer, EcrDouble) {
    let api = ApiServer::start().await;
    for namespace in namespaces {
        api.add_namespace(namespace);
    }
    (api, EcrDouble::start().await)
}

/// The password in the namespace's Secret for a registry.
fn password(api: &ApiServer, namespace: &str, registry: &str) -> Option<String> {
    let secret = api.get(Resource::Secrets, namespace, SECRET)?;
    let document = secret["data"][".dockerconfigjson"].as_str()?;
    let document: Value = serde_json::from_slice(&BASE64_STANDARD.decode(document).ok()?).ok()?;
    let auth = document["auths"][registry]["auth"].as_str()?;
    let pair = String::from_utf8(BASE64_STANDARD.decode(auth).ok()?).ok()?;
    Some(pair.strip_prefix("AWS:")?.to_owned())
}

#[tokio::test]
async fn the_secret_is_there_when_the_first_pod_is_admitted_and_the_next_one_costs_no_call() {
    let (api, ecr) = doubles(&["team-a"]).await;
    let serve = Process::start(&api, &ecr, &[]).await;
    serve.ready().await;

    let answer = serve.admit(&create_with("team-a", IMAGE)).await;
    assert_eq!(answer["allowed"], true, "{answer}");
    let patch = BASE64_STANDARD
        .decode(answer["patch"].as_str().unwrap())
        .unwrap();
    let patch: Value = serde_json::from_slice(&patch).unwrap();
    let added =
        json!([{"op": "add", "path": "/spec/imagePullSecrets", "value": [{"name": SECRET}]}]);
    assert_eq!(patch, added);
    assert_eq!(
        password(&api, "team-a", REGISTRY).unwrap(),
        "password-of-eu-west-1"
    );
    let secret = api.get(Resource::Secrets, "team-a", SECRET).unwrap();
    assert_eq!(secret["type"], "kubernetes.io/dockerconfigjson");
    assert_eq!(
        secret["metadata"]["labels"]["app.kubernetes.io/managed-by"],
        "ecr-admission"
    );

    let calls = api.received().len();
    for _ in 0..20 {
        assert_eq!(
            serve.admit(&create_with("team-a", IMAGE)).await["allowed"],
            true
        );
    }
    assert_eq!(api.received().len(), calls);
    assert_eq!(ecr.calls().len(), 1);

    let (_, metrics) = serve.admin("/metrics").await;
    for line in [
        r#"ecr_admission_admissions_total{operation="create",verdict="injected",reason="ensured"} 1"#,
        r#"ecr_admission_admissions_total{operation="create",verdict="injected",reason="warm"} 20"#,
        r#"ecr_admission_token_mints_total{region="eu-west-1",result="ok"} 1"#,
        r#"ecr_admission_secret_writes_total{result="created"} 1"#,
        "ecr_admission_secret_index_size 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let encoded = BASE64_STANDARD.encode("AWS:password-of-eu-west-1");
    for text in [serve.log(), metrics] {
        assert!(!text.contains("password-of") && !text.contains(&encoded));
    }
}

#[tokio::test]
async fn what_is_wrong_with_an_image_is_said_in_one_sentence() {
    let (api, ecr) = doubles(&["team-a"]).await;
    let serve = Process::start(&api, &ecr, &[]).await;
    let review = create(
        "team-a",
        &json!({"containers": [{"name": "app", "image": "nginx"}],
                "initContainers": [{"name": "setup", "image": format!("{REGISTRY}/team/setup")}]}),
    );
    let answer = serve.admit(&review).await;
    assert_eq!(answer["allowed"], false);
    assert_eq!(answer["status"]["code"], 403);
    insta::assert_snapshot!(answer["status"]["message"].as_str().unwrap(), @r#"init container "setup": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/setup" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/setup:tag" with the tag you mean [full-reference]"#);
    assert!(password(&api, "team-a", REGISTRY).is_none());
}

#[tokio::test]
async fn while_ecr_refuses_pods_are_admitted_with_a_warning_and_heal_when_it_gives_tokens_again() {
    let (api, ecr) = doubles(&["team-a"]).await;
    ecr.always(Answer::Error(400, "ThrottlingException", "Rate exceeded"));
    let serve = Process::start(&api, &ecr, &[]).await;
    let answer = serve.admit(&create_with("team-a", IMAGE)).await;
    assert_eq!(answer["allowed"], true);
    assert!(answer["patch"].is_string());
    let warning = answer["warnings"][0].as_str().unwrap().to_owned();
    assert!(
        warning.starts_with("no pull credential yet, still trying: "),
        "{warning}"
    );
    eventually(async || {
        serve
            .admin("/readyz?verbose")
            .await
            .1
            .contains("ecr-tokens: degraded")
    })
    .await;
    assert!(serve.is_ready().await);

    ecr.always(Answer::Token(
        "healed".into(),
        jiff::SignedDuration::from_hours(12),
    ));
    eventually(async || password(&api, "team-a", REGISTRY).is_some()).await;
    eventually(async || !serve.admin("/readyz").await.1.contains("degraded")).await;
}

#[tokio::test]
async fn asking_again_for_registries_that_failed_is_not_asking_for_more() {
    let (api, ecr) = doubles(&["team-a"]).await;
    ecr.always(Answer::Error(400, "ThrottlingException", "Rate exceeded"));
    let serve = Process::start(&api, &ecr, &[]).await;
    let registries: Vec<String> = (0..20)
        .map(|account| format!("{account:012}.dkr.ecr.eu-west-1.amazonaws.com"))
        .collect();
    let containers = registries.iter().enumerate();
    let containers: Vec<Value> = containers
        .map(
            |(at, registry)| json!({"name": format!("c{at}"), "image": format!("{registry}/a:v1")}),
        )
        .collect();
    let review = create("team-a", &json!({"containers": containers}));
    for _ in 0..3 {
        let answer = serve.admit(&review).await;
        let warning = answer["warnings"][0].as_str().unwrap();
        assert!(warning.contains("asks to slow down"), "{warning}");
    }
    let token = Answer::Token("healed".into(), jiff::SignedDuration::from_hours(12));
    ecr.always(token);
    eventually(async || {
        let healed = |registry: &String| password(&api, "team-a", registry).is_some();
        registries.iter().all(healed)
    })
    .await;
}

#[tokio::test]
async fn it_is_unready_until_the_cluster_was_listed_and_says_why() {
    let (api, ecr) = doubles(&[]).await;
    let broken = Fault::Refuse {
        code: 403,
        reason: "Forbidden".into(),
        message: "secrets is forbidden: no RBAC policy matched".into(),
    };
    api.fail(Verb::List, Resource::Secrets, 2, broken);
    let serve = Process::start(&api, &ecr, &[]).await;
    eventually(async || {
        let (status, page) = serve.admin("/readyz?verbose").await;
        status == StatusCode::SERVICE_UNAVAILABLE
            && page.contains("secret-index: not ready")
            && page.contains("no RBAC policy matched")
    })
    .await;
    assert_eq!(serve.admin("/livez").await.0, StatusCode::OK);
    serve.ready().await;
}

#[tokio::test]
async fn sigterm_makes_it_unready_at_once_while_it_goes_on_serving_and_then_ends_with_zero() {
    let (api, ecr) = doubles(&["team-a"]).await;
    let mut serve = Process::start(&api, &ecr, &["--grace-time", "5s"]).await;
    serve.ready().await;
    serve.signal("TERM").await;
    eventually(async || !serve.is_ready().await).await;
    assert_eq!(
        serve.admit(&create_with("team-a", IMAGE)).await["allowed"],
        true
    );
    assert_eq!(serve.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let (api, ecr) = doubles(&[]).await;
    let mut serve = Process::start(&api, &ecr, &["--grace-time", "10m"]).await;
    serve.signal("TERM").await;
    eventually(async || !serve.is_ready().await).await;
    serve.signal("INT").await;
    // Nobody waits for ten minutes here.
    assert_eq!(serve.ended().await.code(), Some(1));
}

#[tokio::test]
async fn a_new_certificate_is_served_without_a_restart() {
    let (api, ecr) = doubles(&[]).await;
    let mut serve = Process::start(&api, &ecr, &["--tls-poll", "50ms"]).await;
    for _ in 0..2 {
        let ca = crate::support::https::development_ca();
        write_pair(&serve.folder, &ca);
        serve.client = serve.client.trusting_only(&ca.ca_pem);
        eventually(async || serve.client.connect(&["http/1.1"]).await.is_ok()).await;
    }
}

#[tokio::test]
async fn a_flag_wins_over_the_environment_and_the_environment_over_the_file() {
    let (api, ecr) = doubles(&["team-a", "team-b"]).await;
    let untagged = format!("{REGISTRY}/team/app");
    let folder = tempfile::tempdir().unwrap();
    write_pair(&folder, &crate::support::https::development_ca());
    let file = "tlsCert: tls.crt\ntlsKey: tls.key\nsecretName: from-file\nexcludedNamespaces: [team-b]\npolicy:\n  action: Audit\n";
    std::fs::write(folder.path().join("settings.yaml"), file).unwrap();
    let mut command = Process::command(&api, &ecr, &folder);
    command
        .args(["--config", "settings.yaml", "--action", "Warn"])
        .env("ECR_ADMISSION_ACTION", "Enforce")
        .env("ECR_ADMISSION_SECRET_NAME", "from-environment");
    let serve = Process::follow(command, folder).await;
    let answer = serve.admit(&create_with("team-a", &untagged)).await;
    assert_eq!(answer["allowed"], true);
    assert!(
        answer["warnings"][0]
            .as_str()
            .unwrap()
            .contains("[full-reference]")
    );
    assert!(
        api.get(Resource::Secrets, "team-a", "from-environment")
            .is_some()
    );
    let excluded = serve.admit(&create_with("team-b", IMAGE)).await;
    assert_eq!(excluded, json!({"uid": excluded["uid"], "allowed": true}));
}

#[tokio::test]
async fn what_it_cannot_start_with_is_one_sentence_and_exit_code_two() {
    let (api, ecr) = doubles(&[]).await;
    let refusal = async |arguments: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        write_pair(&folder, &crate::support::https::development_ca());
        std::fs::write(folder.path().join("settings.yaml"), "lisen: 1\n").unwrap();
        let child = Process::command(&api, &ecr, &folder)
            .args(arguments)
            .output();
        let output = child.await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let pair = ["--tls-cert", "tls.crt", "--tls-key", "tls.key"];
    insta::assert_snapshot!(refusal(&["--tls-cert", "tls.crt"]).await, @"ecr-admission: --tls-key is missing: give it as a flag, as ECR_ADMISSION_TLS_KEY, or in the --config file");
    insta::assert_snapshot!(refusal(&[]).await, @"ecr-admission: --namespace is missing: outside of a Pod, self-managed certificates need to know where their Secret is (or give --tls-cert and --tls-key)");
    insta::assert_snapshot!(refusal(&["--tls-cert", "no.crt", "--tls-key", "tls.key"]).await, @"ecr-admission: the certificate file no.crt cannot be read: No such file or directory (os error 2)");
    insta::assert_snapshot!(refusal(&["--config", "settings.yaml"]).await, @"ecr-admission: settings.yaml: unknown field `lisen`, expected one of listen, adminListen, tlsCert, tlsKey, tlsNames, tlsPoll, clientCa, maxConnections, graceTime, drainTime, secretName, excludedNamespaces, namespace, namespaceMode, registeredPods, serviceAccountMode, serviceAccounts, argocdNamespaces, clusterName, policySource, policyFiles, logFormat, log, selfManaged, policy at line 1, column 1");
    insta::assert_snapshot!(refusal(&["--config", "none.yaml"]).await, @"ecr-admission: cannot read none.yaml: No such file or directory (os error 2)");
    insta::assert_snapshot!(refusal(&[&pair[..], &["--log", "a=b=c"]].concat()).await, @r#"ecr-admission: --log "a=b=c" is neither a level nor a list of directives: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5"#);
}

#[tokio::test]
async fn a_stalled_api_server_never_delays_an_admission_past_its_deadline() {
    let (api, ecr) = doubles(&["team-a"]).await;
    let serve = Process::start(&api, &ecr, &[]).await;
    serve.ready().await;
    api.fail(
        Verb::Create,
        Resource::Secrets,
        1,
        Fault::Delay(Duration::from_mins(1)),
    );
    let asked = Instant::now();
    let answer = serve.admit(&create_with("team-a", IMAGE)).await;
    assert_eq!(answer["allowed"], true);
    assert!(answer["warnings"][0].is_string(), "{answer}");
    // The review says timeout=5s; the API server takes a minute.
    assert!(asked.elapsed() < Duration::from_secs(30));
    eventually(async || password(&api, "team-a", REGISTRY).is_some()).await;
}
