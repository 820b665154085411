//! A tenant's token is where its policy puts it, and nowhere else: also while policies, labels and namespaces change.

use std::time::Duration;

use ecr_admission::namespace::{Namespace, Pins};
use ecr_admission::watch::Mirror;
use serde_json::json;
use tokio::time::sleep;

use super::world::{
    CONTROLLER, HOST_A, HOST_B, NO_TEAM, ROLE_A, ROLE_B, SHARED, TEAM_A, World, seconds,
};
use crate::support::review::{create_with, pod, update};

fn image(host: &str) -> String {
    format!("{host}/app:1")
}

#[tokio::test(start_paused = true)]
async fn each_tenant_gets_the_token_of_its_own_role_and_no_image_of_the_other() {
    let world = World::of_two_tenants();
    let service = &world.service;
    for (namespace, host, role) in [("one", HOST_A, ROLE_A), ("two", HOST_B, ROLE_B)] {
        let answer = service.mutate(&create_with(namespace, &image(host))).await;
        assert!(answer.is_injected(), "{answer:?}");
        assert_eq!(service.registries(namespace), [host]);
        assert_eq!(world.holder(namespace, host).unwrap(), role);
    }
    let answer = service.mutate(&create_with("one", &image(HOST_B))).await;
    insta::assert_snapshot!(answer.message(), @r#"container "app": image "222222222222.dkr.ecr.eu-west-1.amazonaws.com/app:1" is not granted to this namespace by policy "team-a" [granted]"#);
    // Somebody whom no policy selects.
    world.label("three", &[]);
    let answer = service.mutate(&create_with("three", &image(HOST_A))).await;
    insta::assert_snapshot!(answer.message(), @r#"container "app": image "111111111111.dkr.ecr.eu-west-1.amazonaws.com/app:1" is not granted to this namespace: no policy grants it anything [granted]"#);
    assert_eq!(world.minted_for().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_nobody_has_heard_of_is_read_and_one_that_is_not_there_gets_nothing() {
    let world = World::of_two_tenants();
    let service = &world.service;
    world.label_unheard("new", &[("team", "a")]);
    let answer = service.mutate(&create_with("new", &image(HOST_A))).await;
    assert!(answer.is_injected(), "{answer:?}");
    assert_eq!(world.holder("new", HOST_A).unwrap(), ROLE_A);
    // A review that somebody in the cluster forged.
    let answer = service.mutate(&create_with("forged", &image(HOST_A))).await;
    insta::assert_snapshot!(answer.message(), @r#"the policies for this namespace cannot be told: there is no namespace "forged"; try again"#);
    assert!(service.secret("forged").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_update_that_changes_no_image_passes_also_where_nobody_can_tell_what_is_allowed() {
    let world = World::of_two_tenants();
    let service = &world.service;
    let (one, other) = (pod(&[&image(HOST_A)]), pod(&[&image(HOST_B)]));
    let mut finalized = one.clone();
    finalized["metadata"]["finalizers"] = json!([]);
    for review in [
        update("unheard-of", &one, &finalized),
        update("two", &one, &finalized),
    ] {
        let answer = service.validate(&review).await;
        assert!(answer.is_untouched(), "{answer:?}");
    }
    let answer = service.validate(&update("unheard-of", &one, &other)).await;
    insta::assert_snapshot!(answer.message(), @r#"the policies for this namespace cannot be told: there is no namespace "unheard-of"; try again"#);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_lags_gives_no_token_to_the_next_tenant_of_a_name() {
    let world = World::of_two_tenants();
    let service = &world.service;
    service.look_after();
    // Deleted, and made anew by somebody else: the mirror has not heard of it.
    world.label_unheard("one", &[("team", "b")]);
    let answer = service.mutate(&create_with("one", &image(HOST_A))).await;
    assert!(answer.is_allowed() && world.holder("one", HOST_A).is_none());
    insta::assert_snapshot!(answer.warnings()[0], @r#"no pull credential yet, still trying: the policies or the labels of namespace "one" have just changed, and what it is granted is decided anew"#);
    // What was read then holds from then on, though the watch is silent.
    let answer = service.mutate(&create_with("one", &image(HOST_B))).await;
    assert!(answer.is_injected(), "{answer:?}");
    assert_eq!(world.holder("one", HOST_B).unwrap(), ROLE_B);
    world.hear_of("one");
    sleep(Duration::from_mins(10)).await;
    assert_eq!(service.registries("one"), [HOST_B]);
}

#[tokio::test(start_paused = true)]
async fn a_mirror_that_lags_gives_the_controllers_token_to_no_tenant_of_a_role() {
    let world = World::new(&[("no-team", NO_TEAM), ("team-a", TEAM_A)]);
    let service = &world.service;
    world.label("one", &[]);
    world.label("two", &[]);
    world.label_unheard("one", &[("team", "a")]);
    let answer = service.mutate(&create_with("one", &image(HOST_A))).await;
    assert!(answer.is_allowed() && !answer.warnings().is_empty());
    assert!(service.registries("one").is_empty());
    for (namespace, holder) in [("one", ROLE_A), ("two", CONTROLLER)] {
        let answer = service
            .mutate(&create_with(namespace, &image(HOST_A)))
            .await;
        assert!(answer.is_injected(), "{answer:?}");
        assert_eq!(world.holder(namespace, HOST_A).unwrap(), holder);
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_has_changed_in_the_cluster_writes_no_token_by_what_it_said_before() {
    let world = World::of_two_tenants();
    let service = &world.service;
    service.look_after();
    let now = r#"
    namespaces: {matchLabels: {team: c}}
    grants:
    - registries: ["111111111111"]
      role: {arn: "arn:aws:iam::111111111111:role/ecr-team-a"}
    "#;
    world.write_policy("team-a", now);
    let answer = service.mutate(&create_with("one", &image(HOST_A))).await;
    assert!(answer.is_allowed() && !answer.warnings().is_empty());
    assert!(service.registries("one").is_empty());
    // The other tenant's policy is as it was.
    assert!(
        service
            .mutate(&create_with("two", &image(HOST_B)))
            .await
            .is_injected()
    );
    world.hear_of_policies();
    sleep(Duration::from_mins(10)).await;
    assert!(service.registries("one").is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_granted_no_more_is_gone_within_seconds_and_losing_a_policy_widens_nothing() {
    let world = World::of_two_tenants();
    let service = &world.service;
    service.look_after();
    seconds().await;
    for (namespace, host) in [("one", HOST_A), ("two", HOST_B)] {
        service.mutate(&create_with(namespace, &image(host))).await;
    }
    world.delete_policy("team-a");
    seconds().await;
    assert!(service.registries("one").is_empty());
    assert_eq!(service.registries("two"), [HOST_B]);
    let answer = service.mutate(&create_with("one", &image(HOST_A))).await;
    assert!(!answer.is_allowed());
    // A label that is lost.
    world.label("two", &[]);
    seconds().await;
    assert!(service.registries("two").is_empty());
    assert!(
        !world
            .minted_for()
            .iter()
            .any(|identity| identity.to_string() == CONTROLLER)
    );
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_cannot_be_read_grants_its_namespaces_nothing() {
    let world = World::of_two_tenants();
    let service = &world.service;
    service.look_after();
    seconds().await;
    service.mutate(&create_with("one", &image(HOST_A))).await;
    world.write_policy("team-a", "grants: 7");
    world.hear_of_policies();
    seconds().await;
    assert!(service.registries("one").is_empty());
    let answer = service.mutate(&create_with("one", &image(HOST_A))).await;
    insta::assert_snapshot!(answer.message(), @r#"container "app": image "111111111111.dkr.ecr.eu-west-1.amazonaws.com/app:1" is not granted to this namespace: policy "team-a" cannot be read, and until it can, its namespaces are granted nothing [granted]"#);
}

#[tokio::test(start_paused = true)]
async fn who_pulls_changes_with_the_policy_for_pods_that_are_there() {
    let world = World::of_two_tenants();
    let service = &world.service;
    service.look_after();
    seconds().await;
    service.mutate(&create_with("one", &image(HOST_A))).await;
    service.pods.run([image(HOST_A)]);
    let other = TEAM_A.replace("ecr-team-a", "ecr-team-a-2");
    world.write_policy("team-a", &other);
    world.hear_of_policies();
    seconds().await;
    let role = "role arn:aws:iam::111111111111:role/ecr-team-a-2";
    assert_eq!(world.holder("one", HOST_A).unwrap(), role);
    // And back, at once, as often as somebody likes: nobody else is fought with.
    for (spec, holder) in [(TEAM_A, ROLE_A), (&other, role), (TEAM_A, ROLE_A)] {
        world.write_policy("team-a", spec);
        world.hear_of_policies();
        seconds().await;
        assert_eq!(world.holder("one", HOST_A).unwrap(), holder);
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_made_by_the_same_role_and_pins_are_too() {
    let world = World::of_two_tenants();
    let service = &world.service;
    service.look_after();
    service.mutate(&create_with("one", &image(HOST_A))).await;
    let first = service.password("one", HOST_A).unwrap();
    let pinning = Namespace {
        pins: Pins::of(&format!("{HOST_B},{SHARED}")),
        ..(*service.namespaces.get("two")).clone()
    };
    service.namespaces.apply("two", pinning);
    sleep(Duration::from_hours(8)).await;
    assert_ne!(service.password("one", HOST_A).unwrap(), first);
    assert_eq!(world.holder("one", HOST_A).unwrap(), ROLE_A);
    assert_eq!(service.registries("two"), [HOST_B]);
    assert_eq!(world.holder("two", HOST_B).unwrap(), ROLE_B);
    let told = service.events.said();
    assert!(
        told.contains(SHARED) && told.contains("is not granted to this namespace by any policy"),
        "{told:?}"
    );
}
