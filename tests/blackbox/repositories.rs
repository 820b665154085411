//! Argo CD's repository Secrets, kept by two replicas.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ecr_admission::clock::Clock;
use ecr_admission::event::{self, Events, NoEvents};
use ecr_admission::health::{Health, State};
use ecr_admission::kubernetes::{self, KubeRepositories};
use ecr_admission::policy::Policy;
use ecr_admission::repository::memory::MemoryRepositories;
use ecr_admission::repository::{Keeper, KeeperParts, RepositoryContent, RepositoryStore};
use ecr_admission::rulebook::Rulebook;
use ecr_admission::secret::{DataWriter, StoreErrorKind};
use ecr_admission::token::{self, TokenCache};
use ecr_admission::watch::Mirror;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::api_server::{ApiServer, Resource, Verb};
use crate::support::mint::Mint;

const NAMESPACE: &str = "argocd";
const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const OTHER: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

struct Replica {
    keeper: Arc<Keeper>,
    health: Health,
    running: JoinHandle<()>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn replica(store: Arc<dyn RepositoryStore>, mint: &Arc<Mint>, clock: Clock) -> Replica {
    let health = Health::default();
    let metrics = token::Metrics::register(&mut Registry::default());
    let told = event::Metrics::register(&mut Registry::default());
    let event_clock = clock.clone();
    let keeper = Arc::new(Keeper::new(KeeperParts {
        namespaces: vec![NAMESPACE.to_owned()],
        rulebook: Arc::new(Rulebook::everywhere(Policy::default())),
        store,
        tokens: TokenCache::new(Arc::clone(mint) as Arc<_>, clock.clone(), metrics),
        clock,
        condition: health.condition("repositories"),
        events: Arc::new(Events::new(Arc::new(NoEvents), event_clock, told)),
    }));
    let runs = Arc::clone(&keeper);
    Replica {
        keeper,
        health,
        running: tokio::spawn(async move { runs.run().await }),
    }
}

struct World {
    store: Arc<MemoryRepositories>,
    replicas: Vec<Replica>,
}

impl World {
    fn start() -> Self {
        let store = Arc::new(MemoryRepositories::default());
        let clock = |seed| Clock::simulated("2026-11-21T00:00:00Z".parse().unwrap(), seed);
        let mint = Arc::new(Mint::new(&clock(0)));
        let replica = |seed| replica(Arc::clone(&store) as Arc<_>, &mint, clock(seed));
        Self {
            replicas: vec![replica(1), replica(2)],
            store,
        }
    }

    fn ask(&self, annotation: &str) {
        for replica in &self.replicas {
            replica.keeper.apply(NAMESPACE, annotation.to_owned());
        }
    }

    fn urls(&self) -> BTreeSet<String> {
        let found = self.store.look(NAMESPACE).into_values();
        found.filter_map(|(url, _)| url).collect()
    }

    fn trouble(&self) -> String {
        match &self.replicas[0].health.report().lines[0].state {
            State::Degraded(reason) => reason.clone(),
            _ => String::new(),
        }
    }
}

fn set(urls: &[String]) -> BTreeSet<String> {
    urls.iter().cloned().collect()
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_comes_and_what_is_not_any_more_goes() {
    let world = World::start();
    pass(Duration::from_mins(5)).await;
    assert_eq!(
        world.store.writes(),
        0,
        "nothing is known of the namespace yet"
    );

    let (a, b, c) = (
        format!("{HOST}/a"),
        format!("{HOST}/b"),
        format!("{OTHER}/c"),
    );
    world.ask(&format!("{a}, {b}"));
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.urls(), set(&[a, b.clone()]));
    let before = world.store.look(NAMESPACE);

    world.ask(&format!("{c}, {b}"));
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.urls(), set(&[b.clone(), c]));
    let after = world.store.look(NAMESPACE);
    let name_of_b = before
        .iter()
        .find(|(_, (url, _))| url.as_ref() == Some(&b))
        .unwrap()
        .0;
    assert_eq!(after[name_of_b], before[name_of_b], "it was not touched");

    world.ask("");
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.urls(), set(&[]));
    assert_eq!(world.trouble(), "");
}

#[tokio::test(start_paused = true)]
async fn each_is_renewed_at_half_of_its_life_and_seldom_written() {
    let world = World::start();
    world.ask(&format!("{HOST}/a,{OTHER}/b"));
    pass(Duration::from_secs(5)).await;
    let first = world.store.look(NAMESPACE);
    pass(Duration::from_hours(5)).await;
    assert_eq!(world.store.look(NAMESPACE), first);
    pass(Duration::from_hours(2)).await;
    for (name, (url, password)) in world.store.look(NAMESPACE) {
        assert_eq!(url, first[&name].0);
        assert_ne!(password, first[&name].1, "{name} was renewed");
    }
    pass(Duration::from_hours(72 - 7)).await;
    let writes = world.store.writes();
    // Two Secrets, every six hours, and the attempts of who came second.
    assert!((24..=60).contains(&writes), "{writes} writes in three days");
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_somebody_else_is_never_written_and_an_edited_one_is_repaired() {
    let world = World::start();
    world
        .store
        .put_foreign(NAMESPACE, "ecr-admission-repository-1");
    world.ask(&format!("{HOST}/a"));
    pass(Duration::from_secs(5)).await;
    let found = world.store.look(NAMESPACE);
    assert_eq!(found["ecr-admission-repository-1"], (None, String::new()));
    assert_eq!(
        found["ecr-admission-repository-2"].0,
        Some(format!("{HOST}/a"))
    );

    let edited = "ecr-admission-repository-2";
    world
        .store
        .edit(NAMESPACE, edited, |stored| stored.url = None);
    pass(Duration::from_mins(3)).await;
    let found = world.store.look(NAMESPACE);
    assert_eq!(found[edited].0, Some(format!("{HOST}/a")));
    world.ask("");
    pass(Duration::from_mins(3)).await;
    assert_eq!(world.store.look(NAMESPACE).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_password_that_somebody_edits_is_put_back_in_minutes_and_not_in_a_loop() {
    let world = World::start();
    let url = format!("{HOST}/a");
    world.ask(&url);
    pass(Duration::from_secs(5)).await;
    let name = "ecr-admission-repository-1";
    let edit = |writer, breaks: bool| {
        world.store.edit(NAMESPACE, name, |stored| {
            stored.metadata.data_writer = writer;
            if breaks {
                stored.url = None;
            }
        });
    };
    let written_by = async || {
        let stored = world.store.get(NAMESPACE, name).await.unwrap().unwrap();
        stored.metadata.data_writer
    };
    for (hour, somebody) in [DataWriter::SomebodyElse, DataWriter::Untracked]
        .into_iter()
        .enumerate()
    {
        pass(Duration::from_mins(20)).await;
        edit(somebody, false);
        let before = world.store.writes();
        pass(Duration::from_secs(90)).await;
        assert_eq!(written_by().await, DataWriter::Us { at: None }, "{hour}");
        // Two replicas may come at one moment; the second finds it done or fails.
        assert!((1..=2).contains(&(world.store.writes() - before)));
    }
    for (somebody, breaks) in [
        (DataWriter::SomebodyElse, false),
        (DataWriter::Us { at: None }, true),
    ] {
        let before = world.store.writes();
        for _ in 0..180 {
            edit(somebody, breaks);
            pass(Duration::from_secs(20)).await;
        }
        let writes = world.store.writes() - before;
        // In an hour, by each of two replicas, and what fails because the other was first.
        assert!((5..=4 * 7).contains(&writes), "{writes} writes");
    }
    pass(Duration::from_mins(12)).await;
    assert_eq!(written_by().await, DataWriter::Us { at: None });
    assert_eq!(world.urls(), set(&[url]));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_had_is_told_and_keeps_nothing_back() {
    let world = World::start();
    world.ask(&format!("docker.io/x, {HOST}/a"));
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.urls(), set(&[format!("{HOST}/a")]));
    let trouble = world.trouble();
    assert!(
        trouble.contains("\"docker.io/x\" does not start with the host"),
        "{trouble}"
    );
    world.ask(&format!("{HOST}/a"));
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.trouble(), "");
}

#[tokio::test]
async fn over_the_api_it_is_as_argo_cd_reads_it_and_no_password_is_read_back() {
    let api = ApiServer::start().await;
    api.add_namespace(NAMESPACE);
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = api.write_kubeconfig(directory.path());
    let cluster = kubernetes::connect(Some(&kubeconfig), None).await.unwrap();
    let store = Arc::new(KubeRepositories::new(cluster.requests));
    let clock = Clock::system();
    let mint = Arc::new(Mint::new(&clock));
    let replica = replica(Arc::clone(&store) as Arc<_>, &mint, clock);
    replica.keeper.apply(NAMESPACE, format!("{HOST}/charts"));
    let name = "ecr-admission-repository-1";
    let secret = loop {
        match api.get(Resource::Secrets, NAMESPACE, name) {
            Some(secret) => break secret,
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_eq!(secret["type"], "Opaque");
    let labels = &secret["metadata"]["labels"];
    assert_eq!(labels["argocd.argoproj.io/secret-type"], "repository");
    assert_eq!(labels["app.kubernetes.io/managed-by"], "ecr-admission");
    let data = secret["data"].as_object().unwrap();
    let decoded = |key: &str| {
        use base64::Engine as _;
        let bytes = base64::prelude::BASE64_STANDARD.decode(data[key].as_str().unwrap());
        String::from_utf8(bytes.unwrap()).unwrap()
    };
    let shown = ["type", "enableOCI", "url", "username"].map(decoded);
    assert_eq!(shown, ["helm", "true", &format!("{HOST}/charts"), "AWS"]);
    assert!(!decoded("password").is_empty());
    assert_eq!(data.len(), 5);
    drop(replica);

    let stored = store.get(NAMESPACE, name).await.unwrap().unwrap();
    assert_eq!(stored.url, Some(format!("{HOST}/charts")));
    assert!(stored.metadata.owned && !format!("{stored:?}").contains(&decoded("password")));
    for (field, value) in [
        ("type", "Z2l0"),
        ("username", "eA=="),
        ("enableOCI", "ZmFsc2U="),
    ] {
        let before = api.get(Resource::Secrets, NAMESPACE, name).unwrap()["data"][field].clone();
        let put = |value: Value| {
            api.edit(Resource::Secrets, NAMESPACE, name, "kubectl", |secret| {
                secret["data"][field] = value;
            });
        };
        put(json!(value));
        let stored = store.get(NAMESPACE, name).await.unwrap().unwrap();
        assert_eq!(stored.url, None, "{field}");
        put(before);
    }
    let stored = store.get(NAMESPACE, name).await.unwrap().unwrap();
    store
        .delete(NAMESPACE, name, &stored.metadata)
        .await
        .unwrap();
    assert!(store.get(NAMESPACE, name).await.unwrap().is_none());
    assert_eq!(api.count(Verb::Patch, Resource::Secrets), 0);
}

#[tokio::test]
async fn over_the_api_a_password_of_somebody_else_is_known_and_tracking_comes_back_with_ours() {
    let api = ApiServer::start().await;
    api.add_namespace(NAMESPACE);
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = api.write_kubeconfig(directory.path());
    let cluster = kubernetes::connect(Some(&kubeconfig), None).await.unwrap();
    let store = KubeRepositories::new(cluster.requests);
    let content = |password: &str| RepositoryContent {
        url: format!("{HOST}/charts"),
        password: password.to_owned().into(),
        state: "{}".to_owned(),
        expires_at: String::new(),
    };
    let name = "ecr-admission-repository-1";
    let read = async || store.get(NAMESPACE, name).await.unwrap().unwrap().metadata;
    store
        .create(NAMESPACE, name, &content("first"))
        .await
        .unwrap();
    assert!(matches!(read().await.data_writer, DataWriter::Us { .. }));
    let edit = |edit: fn(&mut Value)| api.edit(Resource::Secrets, NAMESPACE, name, "kubectl", edit);

    edit(|secret| secret["metadata"]["labels"]["team"] = json!("a"));
    assert!(matches!(read().await.data_writer, DataWriter::Us { .. }));

    edit(|secret| secret["data"]["password"] = json!("eA=="));
    let edited = read().await;
    assert_eq!(edited.data_writer, DataWriter::SomebodyElse);
    let update = async |current, password| {
        let content = content(password);
        store.update(NAMESPACE, name, &current, &content).await
    };
    update(edited, "second").await.unwrap();
    assert!(matches!(read().await.data_writer, DataWriter::Us { .. }));

    edit(|secret| secret["metadata"]["managedFields"] = json!([{}]));
    let cleared = read().await;
    assert_eq!(cleared.data_writer, DataWriter::Untracked);
    update(cleared.clone(), "third").await.unwrap();
    assert!(matches!(read().await.data_writer, DataWriter::Us { .. }));
    let kind = update(cleared, "fourth").await.unwrap_err().kind;
    assert_eq!(kind, StoreErrorKind::Conflict, "it is a compare-and-swap");
}
