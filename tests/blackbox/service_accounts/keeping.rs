//! ServiceAccounts kept as the mode wants them, by two replicas, whatever others do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ecr_admission::clock::Clock;
use ecr_admission::event::{self, Events};
use ecr_admission::health::{Health, State};
use ecr_admission::namespace::{Label, Namespace, NamespaceIndex, NamespaceMode};
use ecr_admission::secret::{StoreError, StoreErrorKind};
use ecr_admission::service_account::memory::MemoryServiceAccounts;
use ecr_admission::service_account::{
    Keeper, KeeperParts, Metrics, Names, Plan, ServiceAccountIndex, Task,
};
use ecr_admission::watch::Mirror;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::events::Noticeboard;

const SECRET: &str = "ecr-pull-secret";

/// A cluster, and the replicas that look after it.
struct World {
    store: Arc<MemoryServiceAccounts>,
    replicas: Vec<Replica>,
    board: Arc<Noticeboard>,
    telling: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.telling.abort();
    }
}

struct Replica {
    index: Arc<ServiceAccountIndex>,
    namespaces: Arc<NamespaceIndex>,
    health: Health,
    running: JoinHandle<()>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl World {
    fn start(plan: &Plan, names: &Names, replicas: u64) -> Self {
        let store = Arc::new(MemoryServiceAccounts::default());
        let board = Arc::new(Noticeboard::default());
        let clock = Clock::simulated("2026-11-21T00:00:00Z".parse().unwrap(), 9);
        let metrics = event::Metrics::register(&mut Registry::default());
        let events = Arc::new(Events::new(Arc::clone(&board) as Arc<_>, clock, metrics));
        let telling = Arc::clone(&events);
        let replica = |seed| {
            let clock = Clock::simulated("2026-11-21T00:00:00Z".parse().unwrap(), seed);
            let (index, namespaces) = (
                Arc::new(ServiceAccountIndex::new(SECRET, names.clone())),
                Arc::new(NamespaceIndex::default()),
            );
            let health = Health::default();
            let parts = KeeperParts {
                store: Arc::clone(&store) as Arc<_>,
                index: Arc::clone(&index),
                namespaces: Arc::clone(&namespaces),
                clock,
                metrics: Metrics::register(&mut Registry::default()),
                condition: health.condition("service-accounts"),
                events: Arc::clone(&events),
            };
            let keeper = Keeper::new(plan.clone(), parts);
            Replica {
                index,
                namespaces,
                health,
                running: tokio::spawn(async move { keeper.run().await }),
            }
        };
        Self {
            replicas: (0..replicas).map(replica).collect(),
            store,
            board,
            telling: tokio::spawn(async move { telling.run().await }),
        }
    }

    /// Somebody makes or changes a ServiceAccount, and the watches tell.
    fn set(&self, namespace: &str, name: &str, pull_secrets: &[&str]) {
        let entries: Vec<Value> = pull_secrets
            .iter()
            .map(|name| json!({"name": name}))
            .collect();
        self.store.set(namespace, name, &entries);
        self.tell(namespace, name);
    }

    fn tell(&self, namespace: &str, name: &str) {
        let account = self.store.look(namespace, name).unwrap();
        for replica in &self.replicas {
            let key = format!("{namespace}/{name}");
            replica.index.apply(&key, account.clone());
        }
    }

    fn namespace(&self, name: &str, namespace: &Namespace) {
        for replica in &self.replicas {
            replica.namespaces.apply(name, namespace.clone());
        }
    }

    fn names(&self, namespace: &str, name: &str) -> Vec<String> {
        let account = self.store.look(namespace, name).unwrap();
        let names = account
            .pull_secrets
            .iter()
            .map(|entry| entry["name"].as_str().unwrap());
        names.map(str::to_owned).collect()
    }

    fn trouble(&self) -> String {
        match &self.replicas[0].health.report().lines[0].state {
            State::Degraded(reason) => reason.clone(),
            _ => String::new(),
        }
    }
}

fn plan(task: Task) -> Plan {
    Plan {
        task,
        namespaces: NamespaceMode::OptOut,
        excluded: BTreeSet::from(["kube-system".to_owned()]),
    }
}

fn labelled(label: Label) -> Namespace {
    Namespace {
        label,
        ..Namespace::default()
    }
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn selected_namespaces_get_our_entry_and_others_nothing() {
    let world = World::start(&plan(Task::Add), &Names::All, 2);
    let no_injection = Namespace {
        inject: false,
        ..Namespace::default()
    };
    let terminating = Namespace {
        terminating: true,
        ..Namespace::default()
    };
    world.namespace("out", &labelled(Label::Disabled));
    world.namespace("no-injection", &no_injection);
    world.namespace("ending", &terminating);
    for namespace in ["team-a", "out", "no-injection", "ending", "kube-system"] {
        world.set(namespace, "default", &["theirs"]);
        world.set(namespace, "builder", &[]);
    }
    pass(Duration::from_secs(1)).await;
    assert_eq!(world.names("team-a", "default"), ["theirs", SECRET]);
    assert_eq!(world.names("team-a", "builder"), [SECRET]);
    for namespace in ["out", "no-injection", "ending", "kube-system"] {
        assert_eq!(world.names(namespace, "default"), ["theirs"], "{namespace}");
    }
    // A conflict between the two counts twice at most.
    assert!(world.store.writes() <= 4, "{}", world.store.writes());

    world.set("new", "default", &[]);
    pass(Duration::from_secs(1)).await;
    assert_eq!(world.names("new", "default"), [SECRET]);
    assert_eq!(world.trouble(), "");
}

#[tokio::test(start_paused = true)]
async fn opt_in_waits_for_the_label_and_opting_out_takes_our_entry_away() {
    let by_label = Plan {
        namespaces: NamespaceMode::OptIn,
        ..plan(Task::Add)
    };
    let world = World::start(&by_label, &Names::All, 2);
    world.set("team-a", "default", &[]);
    world.set("team-b", "default", &[SECRET]);
    pass(Duration::from_mins(1)).await;
    assert_eq!(world.names("team-a", "default"), Vec::<String>::new());
    assert_eq!(
        world.names("team-b", "default"),
        [SECRET],
        "perhaps by somebody else's wish"
    );

    world.namespace("team-a", &labelled(Label::Enabled));
    world.namespace("team-b", &labelled(Label::Disabled));
    pass(Duration::from_mins(1)).await;
    assert_eq!(world.names("team-a", "default"), [SECRET]);
    assert_eq!(world.names("team-b", "default"), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn removing_takes_our_entry_and_only_ours_from_everywhere() {
    let world = World::start(&plan(Task::Remove), &Names::All, 2);
    world.namespace("out", &labelled(Label::Disabled));
    for namespace in ["team-a", "out", "kube-system"] {
        world.set(namespace, "default", &["theirs", SECRET, "more"]);
        world.set(namespace, "builder", &["theirs"]);
    }
    pass(Duration::from_mins(1)).await;
    for namespace in ["team-a", "out", "kube-system"] {
        assert_eq!(world.names(namespace, "default"), ["theirs", "more"]);
        assert_eq!(world.names(namespace, "builder"), ["theirs"]);
    }
}

#[tokio::test(start_paused = true)]
async fn somebody_who_keeps_removing_our_entry_is_told_of_and_not_fought() {
    let world = World::start(&plan(Task::Add), &Names::All, 2);
    world.set("team-a", "default", &[]);
    for _ in 0..3600 {
        pass(Duration::from_secs(1)).await;
        if world
            .names("team-a", "default")
            .contains(&SECRET.to_owned())
        {
            world.set("team-a", "default", &[]);
        }
    }
    let writes = world.store.writes();
    assert!((6..=16).contains(&writes), "{writes} writes in an hour");
    let trouble = world.trouble();
    assert!(
        trouble.contains("keeps undoing our change of 1 ServiceAccounts, such as team-a/default"),
        "{trouble}"
    );

    insta::assert_snapshot!(world.board.said(), @r#"Warning PullSecretRemoved ServiceAccount/default: Secret "ecr-pull-secret" was taken out of imagePullSecrets right after ecr-admission had put it in; it is put back seldom only. Let whoever manages this ServiceAccount leave the field alone, or name the Secret there"#);

    pass(Duration::from_mins(20)).await;
    assert_eq!(world.names("team-a", "default"), [SECRET]);
    assert_eq!(world.trouble(), "");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_deleted_and_made_anew_is_no_quarrel() {
    let world = World::start(&plan(Task::Add), &Names::All, 1);
    for round in 0..5 {
        world.set("team-a", "default", &[]);
        pass(Duration::from_secs(1)).await;
        assert_eq!(world.names("team-a", "default"), [SECRET], "{round}");
        world.store.remove("team-a", "default");
        for replica in &world.replicas {
            replica.index.delete("team-a/default", "1000000");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_tried_again_seldom_and_shown() {
    let world = World::start(&plan(Task::Add), &Names::All, 1);
    world.store.refuse(Some(StoreError {
        kind: StoreErrorKind::Refused,
        message: "cannot write imagePullSecrets of ServiceAccount \"default\": forbidden"
            .to_owned(),
    }));
    world.set("team-a", "default", &[]);
    pass(Duration::from_hours(1)).await;
    let writes = world.store.writes();
    assert!((5..=20).contains(&writes), "{writes} writes in an hour");
    let expected = "1 ServiceAccounts could not be changed, for one: cannot write imagePullSecrets of ServiceAccount \"default\": forbidden";
    assert_eq!(world.trouble(), expected);

    world.store.refuse(None);
    pass(Duration::from_mins(20)).await;
    assert_eq!(world.names("team-a", "default"), [SECRET]);
    assert_eq!(world.trouble(), "");
}

#[tokio::test(start_paused = true)]
async fn of_ten_thousand_a_new_one_does_not_wait_for_the_others() {
    let world = World::start(&plan(Task::Add), &Names::All, 1);
    for number in 0..10_000 {
        world.set(&format!("team-{number}"), "default", &[]);
    }
    pass(Duration::from_secs(10)).await;
    world.set("late", "default", &[]);
    pass(Duration::from_secs(5)).await;
    assert_eq!(world.names("late", "default"), [SECRET]);
    assert!(world.store.writes() < 5_000, "{}", world.store.writes());

    pass(Duration::from_mins(5)).await;
    assert_eq!(world.store.writes(), 10_001);
    for number in [0, 5_000, 9_999] {
        assert_eq!(world.names(&format!("team-{number}"), "default"), [SECRET]);
    }
}
