//! Self-managed certificates of whole processes, over the API server's wire protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::StatusCode;
use serde_json::json;
use tokio::time::sleep;

use crate::support::api_server::{ApiServer, Fault, Resource, Verb};
use crate::support::ecr::EcrDouble;
use crate::support::https::{Client, development_ca, request};
use crate::support::process::{Process, eventually, write_pair};

pub(crate) const CONFIGURATION: &str = "zz-ecr-admission";
pub(crate) const SECRET: &str = "ecr-admission-tls";
/// What the API server asks for.
pub(crate) const NAME: &str = "ecr-admission.ours.svc";
pub(crate) const KINDS: [Resource; 2] = [
    Resource::MutatingWebhookConfigurations,
    Resource::ValidatingWebhookConfigurations,
];
/// Lives of seconds, the authority changes every few seconds. A leaf is renewed long before its end: on a machine
/// that is busy a process may well stand still for seconds.
const HURRIED: [&str; 6] = [
    "--tls-leaf-life=25s",
    "--tls-authority-life=90s",
    "--tls-propagation=2s",
    "--tls-clock-skew=2s",
    "--tls-leaf-renewal=1s",
    "--tls-authority-renewal=3s",
];

pub(crate) fn configure(api: &ApiServer) {
    for kind in KINDS {
        let webhook =
            |name| json!({"name": name, "clientConfig": {"service": {"name": "ecr-admission"}}});
        let configuration = json!({
            "metadata": {"name": CONFIGURATION},
            "webhooks": [webhook("pods.ecr-admission.dev"), webhook("workloads.ecr-admission.dev")],
        });
        api.create(kind, "", configuration, "helm");
    }
}

pub(crate) async fn cluster() -> (ApiServer, EcrDouble) {
    let api = ApiServer::start().await;
    api.add_namespace("ours");
    (api, EcrDouble::start().await)
}

pub(crate) async fn start(api: &ApiServer, ecr: &EcrDouble, more: &[&str]) -> Process {
    let folder = tempfile::tempdir().unwrap();
    // Only for the client that is not used here.
    write_pair(&folder, &development_ca());
    let mut command = Process::command(api, ecr, &folder);
    command.args(["--namespace", "ours"]).args(more);
    Process::follow(command, folder).await
}

/// The `caBundle` of every webhook of a configuration, in PEM.
pub(crate) fn bundles(api: &ApiServer, kind: Resource) -> Vec<String> {
    let Some(configuration) = api.get(kind, "", CONFIGURATION) else {
        return Vec::new();
    };
    let webhooks = configuration["webhooks"].as_array().unwrap();
    let bundle = |webhook: &serde_json::Value| {
        let encoded = webhook["clientConfig"]["caBundle"]
            .as_str()
            .unwrap_or_default();
        String::from_utf8(BASE64_STANDARD.decode(encoded).unwrap()).unwrap()
    };
    webhooks.iter().map(bundle).collect()
}

/// The client that the API server would be now, of each webhook.
fn clients(api: &ApiServer, process: &Process) -> Vec<Client> {
    let bundles = KINDS.into_iter().flat_map(|kind| bundles(api, kind));
    let client = |bundle: String| process.client.trusting_only(&bundle).asking_for(NAME);
    bundles.map(client).collect()
}

pub(crate) async fn is_trusted(api: &ApiServer, process: &Process) -> bool {
    let clients = clients(api, process);
    for client in &clients {
        if client.connect(&["http/1.1"]).await.is_err() {
            return false;
        }
    }
    !clients.is_empty()
}

async fn counted(process: &Process, series: &str) -> u64 {
    let (_, page) = process.admin("/metrics").await;
    let value = page
        .lines()
        .find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    value.unwrap_or_default()
}

/// Asks as the API server does, with a new connection and the `caBundle` of now, and on a connection that is kept;
/// panics at the first failure.
async fn load(
    api: Arc<ApiServer>,
    process: Arc<Process>,
    done: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
) {
    let mut kept = clients(&api, &process)[0].http1().await;
    while !done.load(Ordering::Relaxed) {
        for client in clients(&api, &process) {
            let connection = client.connect(&["http/1.1"]).await;
            let refused = connection.err();
            assert!(refused.is_none(), "{refused:?}\n{}", process.log());
            asked.fetch_add(1, Ordering::Relaxed);
        }
        kept.sender.ready().await.unwrap();
        let answer = kept
            .sender
            .send_request(request("GET", "/nothing", ""))
            .await;
        assert_eq!(answer.unwrap().status(), StatusCode::NOT_FOUND);
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_that_start_at_once_serve_one_leaf_and_rotate_it_without_a_failed_handshake() {
    let (api, ecr) = cluster().await;
    configure(&api);
    let (one, two) = tokio::join!(start(&api, &ecr, &HURRIED), start(&api, &ecr, &HURRIED));
    let (api, done) = (Arc::new(api), Arc::new(AtomicBool::new(false)));
    let asked = Arc::new(AtomicUsize::new(0));
    let replicas = [Arc::new(one), Arc::new(two)];
    let mut tasks = Vec::new();
    for replica in &replicas {
        replica.ready().await;
        let (api, replica) = (Arc::clone(&api), Arc::clone(replica));
        tasks.push(tokio::spawn(load(
            api,
            replica,
            Arc::clone(&done),
            Arc::clone(&asked),
        )));
    }
    let rotations = async |part: &str| {
        let series = format!("ecr_admission_certificate_rotations_total{{part=\"{part}\"}}");
        counted(&replicas[0], &series).await + counted(&replicas[1], &series).await
    };
    let before = Instant::now();
    while rotations("authority").await < 5 && before.elapsed() < Duration::from_mins(3) {
        sleep(Duration::from_millis(100)).await;
        for replica in &replicas {
            assert!(
                replica.is_ready().await,
                "{}",
                replica.admin("/readyz?verbose").await.1
            );
        }
    }
    done.store(true, Ordering::Relaxed);
    for task in tasks {
        // A refused handshake has panicked in it.
        task.await.unwrap();
    }
    let (authorities, leaves) = (rotations("authority").await, rotations("leaf").await);
    assert!(
        authorities >= 5 && leaves > authorities,
        "{authorities} {leaves}"
    );
    assert!(asked.load(Ordering::Relaxed) > 100, "{asked:?}");
    for replica in &replicas {
        let repairs = "ecr_admission_certificate_bundle_writes_total{reason=\"repair\"}";
        assert_eq!(counted(replica, repairs).await, 0);
        for secret in ["PRIVATE KEY", "MIGHAgEA"] {
            assert!(!replica.log().contains(secret));
        }
    }
}

#[tokio::test]
async fn what_others_overwrite_delete_or_destroy_is_put_right_within_seconds() {
    let (api, ecr) = cluster().await;
    configure(&api);
    let serve = start(&api, &ecr, &[]).await;
    serve.ready().await;
    assert!(is_trusted(&api, &serve).await);
    let secret = || api.get(Resource::Secrets, "ours", SECRET).unwrap();
    assert_eq!(secret()["type"], "kubernetes.io/tls");
    let right = bundles(&api, KINDS[0]);

    let soon = async |holds: &dyn Fn() -> bool| eventually(async || holds()).await;
    for bundle in [
        json!(null),
        json!(""),
        json!("Z2FyYmFnZQ=="),
        json!(BASE64_STANDARD.encode(development_ca().ca_pem)),
    ] {
        api.edit(KINDS[1], "", CONFIGURATION, "helm", |configuration| {
            configuration["webhooks"][1]["clientConfig"]["caBundle"] = bundle.clone();
        });
        soon(&|| bundles(&api, KINDS[1]) == right).await;
    }
    let repairs = "ecr_admission_certificate_bundle_writes_total{reason=\"repair\"}";
    // Counted after it was written.
    eventually(async || counted(&serve, repairs).await == 4).await;

    for kind in KINDS {
        api.remove(kind, "", CONFIGURATION);
    }
    eventually(async || {
        serve
            .admin("/readyz")
            .await
            .1
            .contains("certificate-bundle")
    })
    .await;
    assert!(serve.is_ready().await);
    configure(&api);
    soon(&|| bundles(&api, KINDS[0]) == right).await;

    let before = secret()["data"].clone();
    api.remove(Resource::Secrets, "ours", SECRET);
    soon(&|| api.get(Resource::Secrets, "ours", SECRET).is_some()).await;
    assert_eq!(secret()["data"], before);
    api.edit(Resource::Secrets, "ours", SECRET, "kubectl", |secret| {
        secret["data"] = json!({"tls.crt": "Z2FyYmFnZQ==", "tls.key": "", "mine": ""});
    });
    soon(&|| secret()["data"]["tls.crt"] == before["tls.crt"]).await;
    assert_eq!(secret()["data"]["mine"], "", "keys of others stay");
    assert!(is_trusted(&api, &serve).await);
}

#[tokio::test]
async fn a_secret_of_somebody_else_is_never_written_and_the_reason_is_told() {
    let (api, ecr) = cluster().await;
    configure(&api);
    let foreign = json!({"metadata": {"name": SECRET}, "type": "kubernetes.io/tls", "data": {"tls.crt": "", "tls.key": ""}});
    api.create(Resource::Secrets, "ours", foreign, "somebody");
    let serve = start(&api, &ecr, &[]).await;
    eventually(async || {
        serve
            .admin("/readyz")
            .await
            .1
            .contains("it lacks the label")
    })
    .await;
    assert!(!serve.is_ready().await);
    assert_eq!(api.count(Verb::Patch, Resource::Secrets), 0);
    api.remove(Resource::Secrets, "ours", SECRET);
    serve.ready().await;
}

#[tokio::test]
async fn cut_off_for_longer_than_its_leaf_lives_it_is_unready_and_comes_back_by_itself() {
    let (api, ecr) = cluster().await;
    configure(&api);
    let short = [
        "--tls-leaf-life=6s",
        "--tls-authority-life=30s",
        "--tls-clock-skew=1s",
    ];
    let serve = start(&api, &ecr, &short).await;
    serve.ready().await;
    for verb in [Verb::Get, Verb::Patch] {
        for resource in [Resource::Secrets, KINDS[0], KINDS[1]] {
            api.fail(verb, resource, usize::MAX, Fault::Drop);
        }
    }
    eventually(async || !serve.is_ready().await).await;
    let told = serve.admin("/readyz").await.1;
    assert!(told.contains("the served certificate expires at"), "{told}");
    api.heal();
    serve.ready().await;
    assert!(is_trusted(&api, &serve).await);
}
