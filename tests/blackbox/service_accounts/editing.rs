//! One ServiceAccount: what is written, and what happens when others write too.

use std::sync::Arc;

use ecr_admission::clock::Clock;
use ecr_admission::kubernetes::{self, KubeServiceAccounts};
use ecr_admission::secret::StoreErrorKind;
use ecr_admission::service_account::memory::MemoryServiceAccounts;
use ecr_admission::service_account::{Edited, Goal, ServiceAccountStore, reach};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::api_server::{ApiServer, Resource, Verb};

const SECRET: &str = "ecr-pull-secret";
const DEFAULT: (&str, &str) = ("team-a", "default");

fn clock() -> Clock {
    Clock::simulated("2026-11-21T00:00:00Z".parse().unwrap(), 7)
}

async fn start() -> (ApiServer, KubeServiceAccounts) {
    let api = ApiServer::start().await;
    api.add_namespace("team-a");
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = api.write_kubeconfig(directory.path());
    let cluster = kubernetes::connect(Some(&kubeconfig), None).await.unwrap();
    (api, KubeServiceAccounts::new(cluster.requests))
}

fn stored(api: &ApiServer) -> Value {
    let stored = api.get(Resource::ServiceAccounts, DEFAULT.0, DEFAULT.1);
    stored.unwrap()
}

async fn reached(store: &dyn ServiceAccountStore, goal: Goal) -> Edited {
    reach(goal, store, &clock(), DEFAULT, SECRET).await.unwrap()
}

#[tokio::test]
async fn one_entry_comes_and_goes_and_everything_else_stays() {
    let (api, store) = start().await;
    let account = json!({
        "metadata": {"name": "default", "labels": {"a": "b"}, "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}},
        "automountServiceAccountToken": false,
        "secrets": [{"name": "mounted"}],
        "imagePullSecrets": [{"name": "theirs"}, {"name": "of-a-later-version", "scope": "All"}],
        "aFieldOfALaterVersion": {"x": [1]},
    });
    api.create(Resource::ServiceAccounts, "team-a", account, "kubectl");
    let before = stored(&api);

    assert!(matches!(
        reached(&store, Goal::Named).await,
        Edited::Changed(_)
    ));
    let mut expected = before.clone();
    let list = expected["imagePullSecrets"].as_array_mut().unwrap();
    list.push(json!({"name": SECRET}));
    assert_eq!(
        without_bookkeeping(stored(&api)),
        without_bookkeeping(expected)
    );
    assert!(matches!(
        reached(&store, Goal::Named).await,
        Edited::Unchanged(_)
    ));
    assert_eq!(api.count(Verb::Patch, Resource::ServiceAccounts), 1);

    assert!(matches!(
        reached(&store, Goal::Unnamed).await,
        Edited::Changed(_)
    ));
    assert_eq!(
        without_bookkeeping(stored(&api)),
        without_bookkeeping(before)
    );
    assert!(matches!(
        reached(&store, Goal::Unnamed).await,
        Edited::Unchanged(_)
    ));
    assert_eq!(api.count(Verb::Patch, Resource::ServiceAccounts), 2);
}

fn without_bookkeeping(mut account: Value) -> Value {
    let metadata = account["metadata"].as_object_mut().unwrap();
    metadata.remove("resourceVersion");
    metadata.remove("managedFields");
    account
}

#[tokio::test]
async fn one_that_does_not_exist_is_missing_and_a_name_that_cannot_be_is_never_asked_for() {
    let (api, store) = start().await;
    assert_eq!(reached(&store, Goal::Named).await, Edited::Missing);
    let asked = api.count(Verb::Get, Resource::ServiceAccounts);
    for (namespace, name) in [
        ("team-a", "../secrets/x"),
        ("Team A", "default"),
        ("team-a", ""),
    ] {
        let outcome = store.get(namespace, name).await.unwrap();
        assert_eq!(outcome, None, "{namespace} {name}");
    }
    assert_eq!(api.count(Verb::Get, Resource::ServiceAccounts), asked);
}

#[tokio::test]
async fn a_refusal_is_a_sentence_that_names_the_service_account() {
    let (api, store) = start().await;
    let account = json!({"metadata": {"name": "default"}});
    api.create(Resource::ServiceAccounts, "team-a", account, "kubectl");
    let forbidden = (
        403,
        "Forbidden",
        "User \"x\" cannot patch resource \"serviceaccounts\"",
    );
    api.refuse((Verb::Patch, Resource::ServiceAccounts), 1, forbidden);
    let error = reach(Goal::Named, &store, &clock(), DEFAULT, SECRET)
        .await
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Refused);
    insta::assert_snapshot!(error, @r#"cannot write imagePullSecrets of ServiceAccount "default" in namespace "team-a": User "x" cannot patch resource "serviceaccounts""#);
}

#[tokio::test(start_paused = true)]
async fn whoever_writes_in_between_loses_nothing() {
    let store = Arc::new(MemoryServiceAccounts::default());
    store.set("team-a", "default", &[]);
    let mut others = ["theirs", "more"].into_iter();
    store.before_each_write(move |store| {
        if let Some(other) = others.next() {
            let mut list = store.look("team-a", "default").unwrap().pull_secrets;
            list.push(json!({"name": other}));
            store.set("team-a", "default", &list);
        }
    });
    let done = reached(&*store, Goal::Named).await;
    let Edited::Changed(account) = done else {
        panic!("{done:?}");
    };
    let expected = json!([{"name": "theirs"}, {"name": "more"}, {"name": SECRET}]);
    assert_eq!(json!(account.pull_secrets), expected);
    assert_eq!(store.writes(), 3);
}

#[tokio::test]
async fn of_many_who_add_and_remove_at_once_each_gets_its_own_and_none_is_doubled() {
    let (api, store) = start().await;
    let account = json!({"metadata": {"name": "default"}, "imagePullSecrets": [{"name": "old-1"}, {"name": "kept"}]});
    api.create(Resource::ServiceAccounts, "team-a", account, "kubectl");
    let clock = clock();
    let goals = [
        (Goal::Named, "new-1"),
        (Goal::Named, "new-1"),
        (Goal::Named, "new-2"),
        (Goal::Unnamed, "old-1"),
        (Goal::Unnamed, "old-1"),
    ];
    let all = goals.map(|(goal, secret)| reach(goal, &store, &clock, DEFAULT, secret));
    for done in join_all(all).await {
        done.unwrap();
    }
    let list = stored(&api)["imagePullSecrets"].clone();
    let mut names: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["name"].as_str())
        .collect();
    assert_eq!(names[0], "kept");
    names.sort_unstable();
    assert_eq!(names, ["kept", "new-1", "new-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_rival_that_always_wins_ends_the_attempts() {
    let store = Arc::new(MemoryServiceAccounts::default());
    store.set("team-a", "default", &[]);
    store.before_each_write(|store| store.set("team-a", "default", &[]));
    let error = reach(Goal::Named, &*store, &clock(), DEFAULT, SECRET)
        .await
        .unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::Conflict);
    assert_eq!(store.writes(), 10);
}
