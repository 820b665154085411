//! What is granted no more is taken out, and nothing that is: not by a mirror that lags, not while ECR is down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ecr_admission::secret::PodSight;
use ecr_admission::token::MintErrorKind;
use serde_json::json;
use tokio::time::sleep;

use super::world::{
    CONTROLLER, Cluster, HOST_A, NO_TEAM, ROLE_A, SHARED, TEAM_A, TEAM_B, World, seconds,
};
use crate::support::mint::Behaviour;
use crate::support::review::{create, create_with};
use crate::support::store::{Call, Trouble};

/// As long as the longest wait before a namespace is looked into again.
const LATER: Duration = Duration::from_mins(20);

const BASE: &str = r#"
    grants:
    - registries: ["999999999999"]
      repositories: ["base/**"]
"#;

/// A world in which the first tenant's namespace holds its token.
async fn in_use() -> World {
    let world = World::of_two_tenants();
    world.service.look_after();
    seconds().await;
    admit(&world).await;
    world
}

async fn admit(world: &World) {
    let image = format!("{HOST_A}/app:1");
    let answer = world.service.mutate(&create_with("one", &image)).await;
    assert!(answer.is_injected(), "{answer:?}");
    assert_eq!(world.holder("one", HOST_A).unwrap(), ROLE_A);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_is_wrong_about_a_namespace_takes_nothing_from_its_tenant() {
    let world = in_use().await;
    world.mishear_of("one", &[("team", "b")]);
    sleep(LATER).await;
    assert_eq!(world.service.registries("one"), [HOST_A]);
    world.label("one", &[("team", "b")]);
    seconds().await;
    assert!(world.service.registries("one").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_has_not_heard_of_a_policy_takes_nothing_that_it_grants() {
    let world = in_use().await;
    // Renamed: the same by another name.
    world.write_policy("a-team", TEAM_A);
    world.cluster.forget("team-a");
    world.hear_only_that_is_gone("team-a");
    sleep(LATER).await;
    assert_eq!(world.service.registries("one"), [HOST_A]);
    world.hear_of_policies();
    seconds().await;
    assert_eq!(world.service.registries("one"), [HOST_A]);
    world.delete_policy("a-team");
    seconds().await;
    assert!(world.service.registries("one").is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_the_tenants_by_right_is_not_replaced_by_a_token_of_somebody_else() {
    let world = World::new(&[("no-team", NO_TEAM), ("team-a", TEAM_A)]);
    world.label("one", &[("team", "a")]);
    admit(&world).await;
    world.mishear_of("one", &[]);
    let image = format!("{HOST_A}/app:1");
    let answer = world.service.mutate(&create_with("one", &image)).await;
    insta::assert_snapshot!(answer.warnings()[0], @r#"no pull credential yet, still trying: the policies or the labels of namespace "one" have just changed, and what it is granted is decided anew"#);
    sleep(LATER).await;
    assert_eq!(world.holder("one", HOST_A).unwrap(), ROLE_A);
    world.label("one", &[]);
    let answer = world.service.mutate(&create_with("one", &image)).await;
    assert!(answer.is_injected(), "{answer:?}");
    assert_eq!(world.holder("one", HOST_A).unwrap(), CONTROLLER);
}

#[tokio::test(start_paused = true)]
async fn the_secret_of_the_next_tenant_of_a_name_loses_nothing_to_what_was_asked_about_the_last() {
    let world = in_use().await;
    let (cluster, is_over): (Arc<Cluster>, _) = (Arc::clone(&world.cluster), AtomicBool::default());
    world.service.store.before(move |call, secrets| {
        // After the namespace was read: it is deleted, and made anew with the labels and the entry that it had.
        if call == Call::Get && !is_over.swap(true, Ordering::SeqCst) {
            cluster.label("one", &[("team", "a")]);
            secrets.change("one", |secret| {
                let mut secret = secret.unwrap();
                secret.metadata.uid = "another".to_owned();
                Some(secret)
            });
        }
        Trouble::None
    });
    world.label("one", &[("team", "b")]);
    sleep(LATER).await;
    let secret = world.service.secret("one").unwrap();
    assert_eq!(secret.metadata.uid, "another");
    assert_eq!(world.service.registries("one"), [HOST_A]);
}

#[tokio::test(start_paused = true)]
async fn what_another_replica_wrote_by_old_labels_before_it_died_goes_with_the_next_survey() {
    let world = in_use().await;
    let service = &world.service;
    let written = service.secret("one").unwrap();
    world.label("one", &[("team", "b")]);
    seconds().await;
    assert!(service.registries("one").is_empty());
    service.pods.show([PodSight {
        namespace: "one".to_owned(),
        images: vec![format!("{HOST_A}/app:1")],
        ..PodSight::default()
    }]);
    service.store.cluster.change("one", |_| Some(written));
    seconds().await;
    assert_eq!(service.registries("one"), [HOST_A]);
    sleep(4 * LATER).await;
    assert!(service.registries("one").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_removal_asks_ecr_for_nothing_and_needs_none() {
    let world = World::new(&[("base", BASE), ("team-a", TEAM_A), ("team-b", TEAM_B)]);
    world.label("one", &[("team", "a")]);
    let service = &world.service;
    service.look_after();
    seconds().await;
    let base = format!("{SHARED}/base/app:1");
    let containers = json!({"containers": [
        {"name": "app", "image": format!("{HOST_A}/app:1")},
        {"name": "side", "image": base},
    ]});
    assert!(
        service
            .mutate(&create("one", &containers))
            .await
            .is_injected()
    );
    assert_eq!(service.registries("one"), [HOST_A, SHARED]);
    service.pods.run([format!("{HOST_A}/app:1"), base]);
    let minted = service.tokens.count();

    service
        .tokens
        .always(Behaviour::Fail(MintErrorKind::Unreachable));
    world.delete_policy("base");
    seconds().await;
    assert_eq!(service.registries("one"), [HOST_A]);
    assert_eq!(service.tokens.count(), minted);
    world.label("one", &[("team", "b")]);
    seconds().await;
    assert!(service.registries("one").is_empty());
    // Nor is anything asked for on behalf of the Pods that are there: their images are not the new tenant's.
    assert_eq!(service.tokens.count(), minted);
}
