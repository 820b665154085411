//! What the status of policies says, and how seldom it is written.

use std::time::Duration;

use ecr_admission::policy_book::RegisteredPods;
use ecr_admission::secret::{StoreError, StoreErrorKind};
use ecr_admission::token::MintErrorKind;
use serde_json::{Value, json};

use super::cluster::{World, grant, pass};
use crate::support::mint::Behaviour;

/// Long enough for two replicas to find that there is nothing to do.
const WHILE: Duration = Duration::from_secs(20);

/// Lets the watches tell of every write, as long as there are any.
async fn settle(world: &World, names: &[&str]) {
    for _ in 0..8 {
        pass(WHILE / 4).await;
        for name in names {
            world.tell(name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_told_to_be_in_force_once_by_whichever_replica_comes_first() {
    let world = World::start(2).await;
    world.apply("team-a", grant(&["a", "b"], Some("a")));
    settle(&world, &["team-a"]).await;
    assert_eq!(world.says("team-a", "Ready"), "True Compiled");
    assert_eq!(world.says("team-a", "Isolated"), "True OwnRoles");
    assert_eq!(world.says("team-a", "Conflict"), "False NoConflict");
    assert_eq!(world.says("team-a", "RoleAssumable"), "Unknown NotTried");
    let status = world.look("team-a").status;
    assert_eq!(
        (&status["namespaces"], &status["observedGeneration"]),
        (&json!(2), &json!(1))
    );
    // Both may have been about to.
    let writes = world.store.writes();
    assert!(writes <= 2, "{writes}");
    settle(&world, &["team-a"]).await;
    assert_eq!(world.store.writes(), writes, "again");
    assert_eq!(world.board.said(), "");
}

#[tokio::test(start_paused = true)]
async fn what_stays_keeps_its_time_and_what_is_not_ours_stays() {
    let world = World::start(1).await;
    world.apply("team-a", grant(&["a"], None));
    settle(&world, &["team-a"]).await;
    let mut status = world.look("team-a").status;
    let ready = status["conditions"][0].clone();
    let theirs = json!({"type": "Newer", "status": "True", "reason": "X", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    status["conditions"]
        .as_array_mut()
        .unwrap()
        .push(theirs.clone());
    status["later"] = json!(7);
    world.store.set_status("team-a", status);
    world.apply("team-a", grant(&["b", "a"], None));
    settle(&world, &["team-a"]).await;
    let status = world.look("team-a").status;
    let conditions = status["conditions"].as_array().unwrap();
    assert!(
        conditions.contains(&theirs) && status["later"] == 7,
        "{status}"
    );
    let now = &conditions[0];
    assert_eq!(now["lastTransitionTime"], ready["lastTransitionTime"]);
    assert_eq!(
        (&ready["observedGeneration"], &now["observedGeneration"]),
        (&json!(1), &json!(2))
    );
}

#[tokio::test(start_paused = true)]
async fn an_invalid_policy_says_what_is_wrong_with_it_and_nothing_else() {
    let world = World::start(2).await;
    world.apply("team-a", grant(&["a"], Some("a")));
    settle(&world, &["team-a"]).await;
    let mut spec = grant(&["a", "b"], Some("a"));
    spec["grants"][0]["registries"] = json!(["nonsense"]);
    world.apply("team-a", spec);
    settle(&world, &["team-a"]).await;
    let (status, reason, message) = world.condition("team-a", "Ready").unwrap();
    assert_eq!((&*status, &*reason), ("False", "Invalid"));
    assert!(
        message.starts_with("spec.grants[0].registries[0]: \"nonsense\"")
            && message.ends_with("until this is mended, its namespaces are granted nothing"),
        "{message}"
    );
    for kind in ["Isolated", "Conflict", "RoleAssumable"] {
        assert_eq!(world.says("team-a", kind), "", "{kind}");
    }
    assert_eq!(world.look("team-a").status["namespaces"], 2);
    let said = world.board.said();
    assert!(
        said.starts_with("Warning PolicyInvalid EcrPolicy/team-a: its namespaces"),
        "{said}"
    );

    world.apply("team-a", json!({"grants": 1}));
    settle(&world, &["team-a"]).await;
    assert_eq!(world.says("team-a", "Ready"), "False Undecodable");
    world.apply("team-a", grant(&["a"], Some("a")));
    settle(&world, &["team-a"]).await;
    assert_eq!(world.says("team-a", "Ready"), "True Compiled");
}

#[tokio::test(start_paused = true)]
async fn whoever_loses_to_another_policy_is_told_and_that_tokens_are_shared() {
    let world = World::start(2).await;
    world.apply("team-a", grant(&["a"], Some("a")));
    world.apply("team-b", grant(&["a", "b"], Some("b")));
    world.apply("base", grant(&["c"], None));
    settle(&world, &["team-a", "team-b", "base"]).await;
    assert_eq!(world.says("team-a", "Conflict"), "False NoConflict");
    let (status, _, message) = world.condition("team-b", "Conflict").unwrap();
    assert_eq!(status, "True");
    insta::assert_snapshot!(message, @r#"policy "team-a" wins: "team/*" and "team/*" need one key in the pull Secret for two identities"#);
    assert_eq!(world.says("base", "Isolated"), "False SharedIdentity");
    let said = world.board.said();
    assert!(
        said.contains("Warning PolicyConflict EcrPolicy/team-b: policy \"team-a\" wins"),
        "{said}"
    );
    let metrics = world.replicas[0].metrics();
    assert!(metrics.contains("policy_conflicts 1\n"), "{metrics}");

    world.delete("team-a");
    settle(&world, &["team-b", "base"]).await;
    assert_eq!(world.says("team-b", "Conflict"), "False NoConflict");
}

#[tokio::test(start_paused = true)]
async fn a_policy_without_grants_says_nothing_about_identities() {
    let world = World::start(1).await;
    world.apply("digests", json!({"validation": {"digestRequired": {}}}));
    world.apply("ecr", json!({"validation": {"onlyEcr": {}}}));
    settle(&world, &["digests", "ecr"]).await;
    assert_eq!(world.says("digests", "Ready"), "True Compiled");
    assert_eq!(world.says("digests", "Isolated"), "");
    assert_eq!(world.says("digests", "RoleAssumable"), "");
    // Nobody asks about Pods without any image of ECR.
    assert_eq!(world.says("ecr", "Ready"), "False NotRegistered");
}

#[tokio::test(start_paused = true)]
async fn where_all_pods_are_registered_rules_about_all_images_are_in_force() {
    let world = World::start_asked_about(1, RegisteredPods::All).await;
    world.apply("ecr", json!({"validation": {"onlyEcr": {}}}));
    let listed = json!({"validation": {"allowedImages": {"images": ["registry.k8s.io/**"]}}});
    world.apply("listed", listed);
    settle(&world, &["ecr", "listed"]).await;
    for policy in ["ecr", "listed"] {
        assert_eq!(world.says(policy, "Ready"), "True Compiled");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_learnt_of_a_role_is_told_by_whoever_learnt_it_and_by_nobody_else() {
    let world = World::start(2).await;
    world.apply("team-a", grant(&["a"], Some("a")));
    settle(&world, &["team-a"]).await;
    world.replicas[1].mint("team-a").await;
    settle(&world, &["team-a"]).await;
    assert_eq!(world.says("team-a", "RoleAssumable"), "True TokenMade");

    // The other one cannot, and says so once; who could does not insist.
    let refused = Behaviour::Fail(MintErrorKind::Denied);
    world.replicas[0].mint.always(refused);
    world.replicas[0].mint("team-a").await;
    settle(&world, &["team-a"]).await;
    let (status, reason, message) = world.condition("team-a", "RoleAssumable").unwrap();
    assert_eq!((&*status, &*reason), ("False", "TokenRefused"));
    insta::assert_snapshot!(message, @"arn:aws:iam::123456789012:role/a: ECR in eu-west-1 is down (denied)");
    let said = world.board.said();
    assert!(said.contains("RoleNotAssumable EcrPolicy/team-a"), "{said}");
    let writes = world.store.writes();
    settle(&world, &["team-a"]).await;
    assert_eq!(world.store.writes(), writes);

    // Trouble on the way says nothing about the role.
    let mut other = grant(&["b"], Some("b"));
    other["grants"][0]["repositories"] = json!(["other/*"]);
    world.apply("team-b", other);
    settle(&world, &["team-b"]).await;
    world.replicas[0]
        .mint
        .always(Behaviour::Fail(MintErrorKind::TimedOut));
    world.replicas[0].mint("team-b").await;
    settle(&world, &["team-a", "team-b"]).await;
    assert_eq!(world.says("team-b", "RoleAssumable"), "Unknown NotTried");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_comes_is_counted_but_not_each_of_many_by_itself() {
    let world = World::start(2).await;
    world.apply("all", json!({"onFailure": "Deny"}));
    settle(&world, &["all"]).await;
    let before = world.store.writes();
    for number in 0..60 {
        world.add_namespace(&format!("team-{number}"));
        pass(Duration::from_secs(1)).await;
        world.tell("all");
    }
    settle(&world, &["all"]).await;
    settle(&world, &["all"]).await;
    assert_eq!(world.look("all").status["namespaces"], 62);
    let writes = world.store.writes() - before;
    assert!(
        writes <= 12,
        "{writes} writes for 60 namespaces in a minute"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_keeps_changing_a_status_is_not_fought() {
    let world = World::start(2).await;
    world.apply("team-a", grant(&["a"], None));
    settle(&world, &["team-a"]).await;
    let before = world.store.writes();
    for _ in 0..60 {
        world.store.set_status("team-a", Value::Null);
        world.tell("team-a");
        pass(Duration::from_secs(10)).await;
    }
    let writes = world.store.writes() - before;
    assert!((1..=4).contains(&writes), "{writes} writes in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn a_status_that_cannot_be_written_is_told_and_tried_seldom() {
    let world = World::start(1).await;
    world.store.refuse(Some(StoreError {
        kind: StoreErrorKind::Refused,
        message: "cannot write the status of EcrPolicy \"team-a\": forbidden".to_owned(),
    }));
    world.apply("team-a", grant(&["a"], None));
    pass(Duration::from_mins(1)).await;
    insta::assert_snapshot!(world.replicas[0].trouble("policy-status"), @r#"the status of policies is not up to date: cannot write the status of EcrPolicy "team-a": forbidden"#);
    let writes = world.store.writes();
    assert!((2..=5).contains(&writes), "{writes}");
    world.store.refuse(None);
    settle(&world, &["team-a"]).await;
    assert_eq!(world.says("team-a", "Ready"), "True Compiled");
    assert_eq!(world.replicas[0].trouble("policy-status"), "");
}
