//! The watches that feed the index of pull Secrets and the index of namespaces.

mod broken;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecr_admission::clock::Clock;
use ecr_admission::kubernetes::{
    self, KubeLive, Pace, Watch, WatchState, watch_namespaces, watch_secrets,
};
use ecr_admission::namespace::{INJECT_ANNOTATION, NamespaceIndex};
use ecr_admission::rulebook::LiveReads;
use ecr_admission::secret::{DataWriter, SecretMetadata};
use ecr_admission::watch::Mirror;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::support::api_server::{ApiServer, Resource, Verb};

const NAME: &str = "ecr-pull-secret";
/// For what must happen; long only where it does not.
const PATIENCE: Duration = Duration::from_secs(20);

/// Quick enough for a test.
const PACE: Pace = Pace {
    retry_first: Duration::from_millis(2),
    retry_most: Duration::from_millis(20),
    silence: Duration::from_secs(10),
};

/// A mirror as plain as can be, which counts what it hears.
#[derive(Default)]
struct Plain {
    objects: Mutex<BTreeMap<String, SecretMetadata>>,
    heard: watch::Sender<usize>,
}

impl Mirror<SecretMetadata> for Plain {
    fn apply(&self, key: &str, object: SecretMetadata) {
        self.objects.lock().unwrap().insert(key.to_owned(), object);
    }

    fn delete(&self, key: &str, resource_version: &str) {
        assert!(resource_version.parse::<u64>().is_ok());
        self.objects.lock().unwrap().remove(key);
    }

    fn listed(&self, keys: &HashSet<String>, resource_version: &str) {
        assert!(resource_version.parse::<u64>().is_ok());
        let mut objects = self.objects.lock().unwrap();
        objects.retain(|key, _| keys.contains(key));
    }

    fn heard(&self) {
        self.heard.send_modify(|heard| *heard += 1);
    }
}

impl Plain {
    fn namespaces(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }

    fn get(&self, namespace: &str) -> Option<SecretMetadata> {
        self.objects.lock().unwrap().get(namespace).cloned()
    }
}

/// A running watch over a double with some namespaces; both end when dropped.
struct Scene {
    api: ApiServer,
    mirror: Arc<Plain>,
    state: watch::Receiver<WatchState>,
    task: AbortHandle,
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn spawn<T: Send + 'static>(watch: Watch<T>) -> (watch::Receiver<WatchState>, AbortHandle) {
    let state = watch.state();
    let task = tokio::spawn(async move { watch.run().await });
    (state, task.abort_handle())
}

async fn clients(api: &ApiServer) -> kubernetes::Cluster {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = api.write_kubeconfig(directory.path());
    kubernetes::connect(Some(&kubeconfig), None).await.unwrap()
}

impl Scene {
    /// Namespaces `a` and `b`, each with a pull Secret and another one, and a watch that has synced.
    async fn start(pace: Pace) -> Self {
        let scene = Self::unsynced(pace, |_| {}).await;
        scene.until(|state| state.synced).await;
        scene
    }

    async fn unsynced(pace: Pace, prepare: impl FnOnce(&ApiServer)) -> Self {
        let api = ApiServer::start().await;
        for namespace in ["a", "b"] {
            api.add_namespace(namespace);
            add_secret(&api, namespace, NAME);
            add_secret(&api, namespace, "another");
        }
        prepare(&api);
        let mirror = Arc::new(Plain::default());
        let client = clients(&api).await.watches;
        let told = Arc::<Plain>::clone(&mirror);
        let (state, task) = spawn(watch_secrets(client, NAME, told, Clock::system(), pace));
        Self {
            api,
            mirror,
            state,
            task,
        }
    }

    async fn until(&self, wanted: impl FnMut(&WatchState) -> bool) -> WatchState {
        let mut state = self.state.clone();
        let reached = tokio::time::timeout(PATIENCE, state.wait_for(wanted)).await;
        reached.expect("the watch never got there").unwrap().clone()
    }

    /// Waits until the mirror holds what is wanted; it is asked after everything that it hears.
    async fn sees(&self, wanted: impl Fn(&Plain) -> bool) {
        let mut heard = self.mirror.heard.subscribe();
        let seen = heard.wait_for(|_| wanted(&self.mirror));
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        seen.expect("the mirror never saw it").unwrap();
    }

    async fn watches(&self, wanted: usize) {
        let started = tokio::time::Instant::now();
        while self.api.count(Verb::Watch, Resource::Secrets) < wanted {
            assert!(started.elapsed() < PATIENCE, "no further watch was opened");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn lists(&self) -> Vec<String> {
        let received = self.api.received().into_iter();
        received
            .filter(|received| {
                (received.verb, received.resource) == (Verb::List, Resource::Secrets)
            })
            .map(|received| received.query)
            .collect()
    }
}

fn add_secret(api: &ApiServer, namespace: &str, name: &str) {
    let secret = json!({
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "ecr-admission"},
            "annotations": {"ecr-admission.dev/state": "one", "other": "x"},
        },
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": "e30="},
    });
    api.create(Resource::Secrets, namespace, secret, "ecr-admission");
}

fn set_state(api: &ApiServer, namespace: &str, value: &str) {
    api.edit(
        Resource::Secrets,
        namespace,
        NAME,
        "ecr-admission",
        |secret| {
            secret["metadata"]["annotations"]["ecr-admission.dev/state"] = json!(value);
        },
    );
}

fn has_state(mirror: &Plain, namespace: &str, value: &str) -> bool {
    mirror
        .get(namespace)
        .is_some_and(|secret| secret.state.as_deref() == Some(value))
}

#[tokio::test]
async fn the_first_list_delivers_our_secrets_projected_and_no_others() {
    let scene = Scene::start(PACE).await;
    assert_eq!(scene.mirror.namespaces(), ["a", "b"]);
    let secret = scene.mirror.get("a").unwrap();
    assert!(secret.owned);
    assert_eq!(secret.state.as_deref(), Some("one"));
    assert!(matches!(secret.data_writer, DataWriter::Us { at: Some(_) }));
    assert!(scene.state.borrow().broken.is_none());
    // From the API server's cache, and never wider than RBAC allows.
    let query = &scene.lists()[0];
    assert!(
        query.contains("resourceVersion=0") && !query.contains("limit="),
        "{query}"
    );
    scene.watches(1).await;
    for received in scene.api.received() {
        let selector = "fieldSelector=metadata.name%3Decr-pull-secret";
        assert!(received.query.contains(selector), "{}", received.query);
    }
}

#[tokio::test]
async fn a_cluster_without_any_secret_of_ours_is_synced_and_its_first_one_arrives() {
    let scene = Scene::unsynced(PACE, |api| {
        for namespace in ["a", "b"] {
            api.remove(Resource::Secrets, namespace, NAME);
        }
    })
    .await;
    scene.until(|state| state.synced).await;
    assert!(scene.mirror.namespaces().is_empty());
    add_secret(&scene.api, "a", NAME);
    scene.sees(|mirror| mirror.namespaces() == ["a"]).await;
}

#[tokio::test]
async fn additions_changes_edits_and_deletions_arrive() {
    let scene = Scene::start(PACE).await;
    scene.api.add_namespace("c");
    add_secret(&scene.api, "c", "another");
    add_secret(&scene.api, "c", NAME);
    scene
        .sees(|mirror| mirror.namespaces() == ["a", "b", "c"])
        .await;
    set_state(&scene.api, "a", "two");
    scene.sees(|mirror| has_state(mirror, "a", "two")).await;
    scene
        .api
        .edit(Resource::Secrets, "a", NAME, "kubectl-edit", |secret| {
            secret["data"][".dockerconfigjson"] = json!("eyJhdXRocyI6e319");
        });
    let edited = |mirror: &Plain| mirror.get("a").unwrap().data_writer == DataWriter::SomebodyElse;
    scene.sees(edited).await;
    scene.api.remove(Resource::Secrets, "b", NAME);
    scene.sees(|mirror| mirror.namespaces() == ["a", "c"]).await;
    assert_eq!(scene.lists().len(), 1);
}

#[tokio::test]
async fn a_bookmark_counts_as_heard() {
    let scene = Scene::start(PACE).await;
    scene.api.set_bookmark_pause(Duration::from_millis(5));
    let before = *scene.mirror.heard.borrow();
    scene
        .sees(|mirror| *mirror.heard.borrow() >= before + 3)
        .await;
    assert_eq!(scene.mirror.namespaces(), ["a", "b"]);
}

#[tokio::test]
async fn namespaces_that_opt_out_or_are_being_deleted_are_known() {
    let api = ApiServer::start().await;
    for name in ["plain", "out", "going"] {
        api.add_namespace(name);
    }
    api.annotate_namespace("out", INJECT_ANNOTATION, "false");
    let index = Arc::new(NamespaceIndex::default());
    let mirror = Arc::<NamespaceIndex>::clone(&index);
    let client = clients(&api).await.watches;
    let (mut state, task) = spawn(watch_namespaces(client, mirror, Clock::system(), PACE));
    let synced = tokio::time::timeout(PATIENCE, state.wait_for(|state| state.synced)).await;
    assert!(synced.unwrap().is_ok());
    assert!(!index.get("out").inject);
    assert!(index.get("plain").inject && !index.get("going").terminating);

    api.terminate_namespace("going");
    api.remove_namespace("out");
    let started = tokio::time::Instant::now();
    while !index.get("going").terminating || !index.get("out").inject {
        assert!(started.elapsed() < PATIENCE, "the change never arrived");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    task.abort();
}

#[tokio::test]
async fn the_answers_of_the_api_server_tell_a_clock_that_is_decades_wrong_the_time() {
    let api = ApiServer::start().await;
    let (cluster, started) = (clients(&api).await, Clock::system().now());
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 1);
    cluster.tell_time(&clock);
    let namespaces = KubeLive::new(cluster.requests.clone());
    assert!(namespaces.namespace("a").await.is_err(), "nobody made it");
    // The date has no fraction of a second.
    let told = clock.reckoned() + SignedDuration::from_secs(1);
    assert!(told >= started, "{told}");
}
