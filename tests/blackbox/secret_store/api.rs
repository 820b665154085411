//! The store over the API: the cluster around it, and what it promises beyond the contract.

use std::time::Duration;

use ecr_admission::kubernetes::{self, KubeSecretStore};
use ecr_admission::secret::{SecretStore, StoreError, StoreErrorKind};
use serde_json::{Value, json};

use super::contract::{Cluster, EDITED, NAMESPACES, content, create, get, ours, update};
use crate::support::api_server::{ApiServer, Fault, Resource, Verb};

const NAME: &str = "ecr-pull-secret";

pub(super) struct OverApi {
    pub(super) api: ApiServer,
    store: KubeSecretStore,
}

impl OverApi {
    pub(super) async fn start() -> Self {
        let api = ApiServer::start().await;
        for namespace in NAMESPACES {
            api.add_namespace(namespace);
        }
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = api.write_kubeconfig(directory.path());
        let cluster = kubernetes::connect(Some(&kubeconfig), None).await.unwrap();
        assert_eq!(cluster.own_namespace, None);
        let store = KubeSecretStore::new(cluster.requests, NAME);
        Self { api, store }
    }

    fn edit(&self, namespace: &str, edit: impl FnOnce(&mut Value)) {
        self.api
            .edit(Resource::Secrets, namespace, NAME, "kubectl-edit", edit);
    }

    fn stored(&self, namespace: &str) -> Value {
        self.api.get(Resource::Secrets, namespace, NAME).unwrap()
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(text)
}

impl Cluster for OverApi {
    fn store(&self) -> &dyn SecretStore {
        &self.store
    }

    async fn terminate_namespace(&self, namespace: &str) {
        self.api.terminate_namespace(namespace);
    }

    async fn remove_namespace(&self, namespace: &str) {
        self.api.remove_namespace(namespace);
    }

    async fn add_foreign(&self, namespace: &str) {
        let secret = json!({
            "metadata": {"name": NAME, "labels": {"app.kubernetes.io/managed-by": "Helm"}},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": base64(EDITED)},
        });
        self.api
            .create(Resource::Secrets, namespace, secret, "helm");
    }

    async fn edit_data(&self, namespace: &str) {
        self.edit(namespace, |secret| {
            secret["data"][".dockerconfigjson"] = json!(base64(EDITED));
        });
    }

    async fn clear_tracking(&self, namespace: &str) {
        self.edit(namespace, |secret| {
            secret["metadata"]["managedFields"] = json!([{}]);
        });
    }

    async fn make_immutable(&self, namespace: &str) {
        self.edit(namespace, |secret| secret["immutable"] = json!(true));
    }

    async fn delete(&self, namespace: &str) {
        self.api.remove(Resource::Secrets, namespace, NAME);
    }
}

#[tokio::test]
async fn a_created_secret_has_our_type_name_label_and_annotations() {
    let cluster = OverApi::start().await;
    create(&cluster, "team-a", "one").await;
    let stored = cluster.stored("team-a");
    assert_eq!(stored["type"], "kubernetes.io/dockerconfigjson");
    assert_eq!(
        stored["metadata"]["labels"],
        json!({"app.kubernetes.io/managed-by": "ecr-admission"})
    );
    let annotations = &stored["metadata"]["annotations"];
    assert_eq!(
        annotations["ecr-admission.dev/expires-at"],
        "2026-11-21T12:00:00Z"
    );
    assert_eq!(annotations["ecr-admission.dev/state"], content("one").state);
    assert_eq!(
        stored["metadata"]["managedFields"][0]["manager"],
        "ecr-admission"
    );
}

#[tokio::test]
async fn what_others_put_on_our_secret_survives_an_update_and_a_repair() {
    let cluster = OverApi::start().await;
    let created = create(&cluster, "team-a", "one").await.metadata;
    cluster.edit("team-a", |secret| {
        secret["metadata"]["labels"]["team"] = json!("a");
        secret["metadata"]["annotations"]["note"] = json!("theirs");
        secret["data"]["extra"] = json!("eA==");
    });
    let late = update(&cluster, &created, "two").await;
    assert_eq!(late.unwrap_err(), StoreErrorKind::Conflict);
    let current = get(&cluster, "team-a").await.unwrap();
    assert!(ours(&current), "a label of others does not touch our data");

    update(&cluster, &current.metadata, "two").await.unwrap();
    cluster.clear_tracking("team-a").await;
    let untracked = get(&cluster, "team-a").await.unwrap().metadata;
    update(&cluster, &untracked, "three").await.unwrap();

    let stored = cluster.stored("team-a");
    assert_eq!(stored["metadata"]["labels"]["team"], "a");
    assert_eq!(
        stored["metadata"]["labels"]["app.kubernetes.io/managed-by"],
        "ecr-admission"
    );
    assert_eq!(stored["metadata"]["annotations"]["note"], "theirs");
    assert_eq!(stored["data"]["extra"], "eA==");
    assert_eq!(cluster.api.count(Verb::Apply, Resource::Secrets), 1);
    // Updates go on as merge patches after the repair.
    let repaired = get(&cluster, "team-a").await.unwrap().metadata;
    let last = update(&cluster, &repaired, "four").await.unwrap();
    assert!(ours(&last));
    assert_eq!(cluster.api.count(Verb::Apply, Resource::Secrets), 1);
}

#[tokio::test]
async fn a_secret_of_another_type_is_not_writable() {
    let cluster = OverApi::start().await;
    let secret = json!({"metadata": {"name": NAME}, "type": "Opaque", "data": {"x": "eA=="}});
    cluster
        .api
        .create(Resource::Secrets, "team-a", secret, "helm");
    let found = get(&cluster, "team-a").await.unwrap();
    assert!(!found.writable && found.docker_config.is_none());
}

async fn error_of_create(cluster: &OverApi) -> StoreError {
    let created = cluster.store.create("team-a", &content("one")).await;
    created.unwrap_err()
}

#[tokio::test]
async fn a_refusal_names_its_cause_and_is_tried_once() {
    let cluster = OverApi::start().await;
    for (expected, code, reason, message) in [
        (
            StoreErrorKind::Refused,
            403,
            "Forbidden",
            "exceeded quota: secrets-quota",
        ),
        (
            StoreErrorKind::Refused,
            400,
            "",
            "admission webhook \"x\" denied the request: no",
        ),
        (StoreErrorKind::Refused, 401, "Unauthorized", "Unauthorized"),
        (
            StoreErrorKind::Unavailable,
            429,
            "TooManyRequests",
            "please try again later",
        ),
        (
            StoreErrorKind::Unavailable,
            503,
            "ServiceUnavailable",
            "apiserver not ready",
        ),
        (
            StoreErrorKind::Conflict,
            409,
            "Conflict",
            "on resourcequotas \"q\"",
        ),
    ] {
        let before = cluster.api.count(Verb::Create, Resource::Secrets);
        cluster.api.refuse(
            (Verb::Create, Resource::Secrets),
            1,
            (code, reason, message),
        );
        let error = error_of_create(&cluster).await;
        assert_eq!(error.kind, expected);
        let start = "cannot create Secret \"ecr-pull-secret\" in namespace \"team-a\": ";
        assert!(
            error.message.starts_with(start) && error.message.contains(message),
            "{error}"
        );
        assert_eq!(
            cluster.api.count(Verb::Create, Resource::Secrets),
            before + 1
        );
    }
}

#[tokio::test]
async fn a_dropped_connection_and_a_dead_server_are_unreachable() {
    let cluster = OverApi::start().await;
    cluster
        .api
        .fail(Verb::Create, Resource::Secrets, 1, Fault::Drop);
    assert_eq!(
        error_of_create(&cluster).await.kind,
        StoreErrorKind::Unreachable
    );
    create(&cluster, "team-a", "one").await;

    let OverApi { api, store } = cluster;
    drop(api);
    let error = store.get("team-a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Unreachable, "{error}");
}

#[tokio::test]
async fn a_slow_server_is_given_up_in_time() {
    let cluster = OverApi::start().await;
    let store = cluster
        .store
        .clone()
        .with_timeout(Duration::from_millis(50));
    let slow = Fault::Delay(Duration::from_mins(1));
    cluster.api.fail(Verb::Get, Resource::Secrets, 1, slow);
    let error = store.get("team-a").await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::TimedOut);
    assert!(error.message.contains("50ms"), "{error}");
    assert!(store.get("team-a").await.unwrap().is_none());
}

#[tokio::test]
async fn no_token_is_shown_by_debug_or_by_any_error() {
    const TOKEN: &str =
        "QVdTOmV5SndZWGxzYjJGa0lqb2lhRzlzWVE9PSIsInR5cGUiOiJEQVRBX0tFWSJ9QVdTOmV5SndZWGxz";
    let cluster = OverApi::start().await;
    let mut secret = content("one");
    secret.docker_config = format!(r#"{{"auths":{{"r":{{"auth":"{TOKEN}"}}}}}}"#).into();
    let encoded = base64(r#"{"auths":{"r":{"auth":""#);
    let stored = cluster.store.create("team-a", &secret).await.unwrap();
    let mut shown = vec![format!("{secret:?}"), format!("{stored:?}")];

    let body = cluster.stored("team-a").to_string();
    // A server that quotes what it was sent, and one whose answer is no Secret though it holds one.
    let quoting = format!("denied: {body}");
    cluster.api.refuse(
        (Verb::Patch, Resource::Secrets),
        1,
        (403, "Forbidden", &quoting),
    );
    let error = cluster
        .store
        .update("team-a", &stored.metadata, &secret)
        .await;
    let error = error.unwrap_err();
    assert!(error.message.contains("denied"));
    shown.extend([error.to_string(), format!("{error:?}")]);
    for garbled in [
        body.replace("\"metadata\"", "\"meta\""),
        body.replace("\".dockerconfigjson\":\"", "\".dockerconfigjson\":\"*"),
        format!("[{body}"),
    ] {
        cluster
            .api
            .fail(Verb::Get, Resource::Secrets, 1, Fault::Answer(garbled));
        let error = cluster.store.get("team-a").await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unavailable);
        shown.extend([error.to_string(), format!("{error:?}")]);
    }
    for text in shown {
        assert!(
            !text.contains(&TOKEN[..16]) && !text.contains(&encoded[..16]),
            "{text}"
        );
    }
}
