//! What EcrPolicies of a real API server grant no more leaves the Secrets, and nothing of it goes to the next tenant.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::ecr::Answer;
use crate::harness::namespace::{Namespace, REGISTRY};
use crate::harness::{eventually, run};
use crate::policies_in_force::{ACCOUNT, POLICIES, Scene};

/// Grants the test's registry to the namespaces of a team, by its role.
fn grant(team: &str) -> Value {
    let role = json!({"arn": format!("arn:aws:iam::{ACCOUNT}:role/{team}")});
    json!({
        "namespaces": {"matchLabels": {"team": team}},
        "grants": [{"registries": [ACCOUNT], "repositories": ["team/*"], "role": role}],
    })
}

fn of_team(team: &str) -> Value {
    json!({"team": team})
}

/// What a Secret holds that was made by the role of a team: the double's tokens say who asked.
fn token_of(team: &str) -> BTreeSet<(String, String)> {
    [(REGISTRY.to_owned(), format!("of-AKID{team}"))].into()
}

/// Waits until a namespace's Secret holds just that, and tells how long it took.
async fn comes_to_hold(namespace: &Namespace<'_>, wanted: &BTreeSet<(String, String)>) -> Duration {
    let started = Instant::now();
    eventually("the Secret holds what is granted", async || {
        namespace.passwords().await == *wanted
    })
    .await;
    started.elapsed()
}

#[test]
fn what_is_granted_no_more_leaves_the_secrets_and_the_next_tenant_of_a_name_gets_none_of_it() {
    run(async {
        let scene = Scene::start("policies-removed").await;
        let told = Answer::Token("of-KEY".to_owned(), SignedDuration::from_hours(12));
        scene.ecr.always(told);
        for team in ["a", "b"] {
            scene.apply(team, &grant(team)).await;
        }
        let plane = &scene.plane;
        let one = Namespace::create_labelled(plane, "one", &of_team("a")).await;
        let two = Namespace::create_labelled(plane, "two", &of_team("b")).await;
        for (namespace, team) in [(&one, "a"), (&two, "b")] {
            scene.all(&namespace.name, true).await;
            comes_to_hold(namespace, &token_of(team)).await;
        }
        let nothing = BTreeSet::new();

        plane.api.delete(&format!("{POLICIES}/a")).await.unwrap();
        let by_policy = comes_to_hold(&one, &nothing).await;
        assert_eq!(two.passwords().await, token_of("b"));
        let label = json!({"metadata": {"labels": {"team": "c"}}});
        let path = "/api/v1/namespaces/two";
        plane.api.merge(path, &label).await.unwrap();
        let by_label = comes_to_hold(&two, &nothing).await;
        println!(
            "out of the Secret: {by_policy:?} after the policy was deleted, {by_label:?} after the label changed"
        );

        scene.apply("a", &grant("a")).await;
        scene.all("one", true).await;
        comes_to_hold(&one, &token_of("a")).await;
        let path = "/api/v1/namespaces/one";
        plane.api.delete(path).await.unwrap();
        eventually("the namespace is gone", async || {
            !plane.api.exists(path).await
        })
        .await;
        let metadata = json!({"name": "one", "labels": of_team("b")});
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        plane
            .api
            .create("/api/v1/namespaces", &object)
            .await
            .unwrap();
        // At once, and again and again: some replica may not have heard of it.
        eventually("the next tenant has its own token", async || {
            let asked = scene.replicas.iter();
            join_all(asked.map(|replica| scene.admits(replica, "one"))).await;
            let holds = one.passwords().await;
            assert!(holds.is_disjoint(&token_of("a")), "{holds:?}");
            holds == token_of("b")
        })
        .await;
    });
}
