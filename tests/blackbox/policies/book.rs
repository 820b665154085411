//! Policies of the cluster: read, in force, and lost.

use std::time::Duration;

use ecr_admission::policy_book::Definition;
use ecr_admission::secret::{StoreError, StoreErrorKind};
use ecr_admission::watch::Mirror;
use serde_json::json;

use super::cluster::{World, grant, pass};

const MOMENT: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn before_the_first_list_nothing_is_granted_and_nobody_is_told_that_policies_are_known() {
    let world = World::unlisted(1);
    let replica = &world.replicas[0];
    assert!(!replica.grants("a"), "it may be withheld");
    let known = tokio::time::timeout(MOMENT, replica.book.known());
    assert!(known.await.is_err());

    world.apply("team-a", grant(&["a"], Some("a")));
    pass(MOMENT).await;
    assert!(!replica.grants("a"), "there may be more of them");
    replica.book.listed(&["team-a".to_owned()].into(), "1");
    // In force before anybody can go by it.
    assert!(replica.grants("a") && !replica.grants("b"));
    replica.book.known().await;
    assert_eq!(replica.trouble("policies"), "");
}

#[tokio::test(start_paused = true)]
async fn without_any_policy_everything_is_granted() {
    let world = World::start(1).await;
    assert!(world.replicas[0].grants("a"));
    assert!(world.replicas[0].rulebook.set().is_empty());
}

#[tokio::test(start_paused = true)]
async fn additions_changes_and_deletions_come_into_force_together_with_what_comes_with_them() {
    let world = World::start(1).await;
    let replica = &world.replicas[0];
    let changes = replica.rulebook.changes();
    let before = *changes.borrow();
    world.apply("team-a", grant(&["a"], Some("a")));
    world.apply("team-b", grant(&["b"], Some("b")));
    pass(MOMENT).await;
    assert!(replica.grants("a") && replica.grants("b"));
    assert_eq!(*changes.borrow(), before + 1, "one change");

    world.apply("team-a", grant(&["c"], Some("a")));
    pass(MOMENT).await;
    assert!(!replica.grants("a") && replica.grants("c"));
    world.delete("team-a");
    pass(MOMENT).await;
    assert!(!replica.grants("c") && replica.grants("b"));
    let metrics = replica.metrics();
    assert!(
        metrics.contains("policies{state=\"ready\"} 1\n"),
        "{metrics}"
    );

    // What changes no spec is no change, and an old event undoes nothing.
    let before = *changes.borrow();
    world.tell("team-b");
    let mut old = world.look("team-b");
    old.resource_version = "1".to_owned();
    old.spec = grant(&["z"], None);
    replica.book.apply("team-b", old);
    pass(MOMENT).await;
    assert!(replica.grants("b") && *changes.borrow() == before);
}

#[tokio::test(start_paused = true)]
async fn a_list_brings_what_was_missed_and_takes_what_is_gone() {
    let world = World::start(1).await;
    let replica = &world.replicas[0];
    world.apply("team-a", grant(&["a"], Some("a")));
    world.apply("team-b", grant(&["b"], Some("b")));
    pass(MOMENT).await;
    let version = world.store.remove("team-a");
    replica.book.listed(&["team-b".to_owned()].into(), &version);
    pass(MOMENT).await;
    assert!(!replica.grants("a") && replica.grants("b"));
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_cannot_be_read_withholds_everything_from_its_namespaces_until_it_is_mended()
{
    let world = World::start(1).await;
    let replica = &world.replicas[0];
    world.apply("all", grant(&["*"], None));
    pass(MOMENT).await;
    assert!(replica.grants("a") && replica.grants("b"));

    // From a newer version, perhaps.
    let mut newer = grant(&["a"], None);
    newer["grants"][0]["onlyOnSundays"] = json!(true);
    world.apply("team-a", newer);
    pass(MOMENT).await;
    assert!(!replica.grants("a") && replica.grants("b"));
    insta::assert_snapshot!(replica.trouble("policies"), @"1 of the policies cannot be read, and their namespaces are granted nothing; their status says why: team-a");
    let metrics = replica.metrics();
    assert!(
        metrics.contains("policies{state=\"invalid\"} 1\n"),
        "{metrics}"
    );

    // Whom it is about is lost as well: those that it was about.
    world.apply("team-a", json!("nonsense"));
    pass(MOMENT).await;
    assert!(!replica.grants("a") && replica.grants("b"));
    world.apply("team-a", grant(&["a"], None));
    pass(MOMENT).await;
    assert!(replica.grants("a"));
    assert_eq!(replica.trouble("policies"), "");
}

#[tokio::test(start_paused = true)]
async fn policies_that_go_with_their_definition_stay_in_force_until_it_is_there_again() {
    let world = World::start(1).await;
    let replica = &world.replicas[0];
    world.apply("team-a", grant(&["a"], Some("a")));
    pass(MOMENT).await;
    world.store.define(Ok(Definition::Leaving));
    world.delete("team-a");
    pass(Duration::from_hours(1)).await;
    assert!(replica.grants("a"));
    assert!(!replica.grants("b"), "not widened either");
    let trouble = replica.trouble("policies");
    assert!(
        trouble.starts_with("the CustomResourceDefinition of EcrPolicy was deleted"),
        "{trouble}"
    );

    // It is there again, and there is no policy.
    world.store.define(Ok(Definition::Present));
    replica.book.listed(&[].into(), "1000");
    pass(MOMENT).await;
    assert!(replica.grants("b") && replica.trouble("policies").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_deletion_waits_for_whoever_can_tell_what_it_means() {
    let world = World::start(1).await;
    let replica = &world.replicas[0];
    world.apply("team-a", grant(&["a"], Some("a")));
    world.apply("team-b", grant(&["b"], Some("b")));
    pass(MOMENT).await;
    world.store.define(Err(StoreError {
        kind: StoreErrorKind::Unreachable,
        message: "no connection".to_owned(),
    }));
    world.delete("team-a");
    pass(Duration::from_mins(1)).await;
    assert!(replica.grants("a"));
    insta::assert_snapshot!(replica.trouble("policies"), @"deleted policies stay in force meanwhile: no connection");
    world.store.define(Ok(Definition::Present));
    pass(Duration::from_secs(5)).await;
    assert!(!replica.grants("a") && replica.grants("b"));
    assert_eq!(replica.trouble("policies"), "");

    // One that was made again meanwhile is another one.
    world.delete("team-b");
    world.apply("team-b", grant(&["a"], Some("b")));
    pass(MOMENT).await;
    assert!(replica.grants("a") && !replica.grants("b"));
}
