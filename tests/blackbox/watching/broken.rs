//! Watches that break: what was seen stays, and what was missed is made good.

use std::time::Duration;

use ecr_admission::kubernetes::Pace;

use super::{NAME, PACE, Scene, add_secret, has_state, set_state};
use crate::support::api_server::{Fault, GoneAs, Resource, Verb};

#[tokio::test]
async fn a_watch_goes_on_from_its_last_bookmark_however_old_its_last_event_is() {
    let scene = Scene::start(PACE).await;
    scene.watches(1).await;
    scene.api.add_namespace("c");
    scene.api.set_bookmark_pause(Duration::from_millis(5));
    let before = *scene.mirror.heard.borrow();
    // The second from now has surely been made after the change.
    scene
        .sees(|mirror| *mirror.heard.borrow() >= before + 2)
        .await;
    scene.api.compact(GoneAs::Status);
    scene.api.cut();
    add_secret(&scene.api, "c", NAME);
    scene.sees(|mirror| mirror.get("c").is_some()).await;
    assert_eq!(scene.lists().len(), 1, "no list was needed");
}

#[tokio::test]
async fn a_cut_connection_is_watched_again_from_where_it_was() {
    let scene = Scene::start(PACE).await;
    for round in 0..3 {
        scene.watches(round + 1).await;
        scene.api.cut();
        let state = format!("round {round}");
        set_state(&scene.api, "a", &state);
        scene.sees(|mirror| has_state(mirror, "a", &state)).await;
    }
    assert_eq!(scene.lists().len(), 1, "no list was needed");
    assert!(scene.state.borrow().broken.is_none());
}

async fn relists_after(gone_as: GoneAs) {
    let scene = Scene::start(PACE).await;
    scene.watches(1).await;
    // While nobody watches, one Secret goes and one changes, and the events of it are forgotten.
    scene.api.freeze(true);
    scene.api.remove(Resource::Secrets, "a", NAME);
    set_state(&scene.api, "b", "two");
    scene.api.compact(gone_as);
    scene.api.cut();
    scene.api.freeze(false);
    scene
        .sees(|mirror| mirror.namespaces() == ["b"] && has_state(mirror, "b", "two"))
        .await;
    // After a 410 only a consistent read will do, in pages.
    let lists = scene.lists();
    assert_eq!(lists.len(), 2);
    assert!(
        lists[1].contains("limit=500") && !lists[1].contains("resourceVersion="),
        "{}",
        lists[1]
    );
}

#[tokio::test]
async fn after_410_gone_in_the_stream_a_list_removes_what_has_vanished() {
    relists_after(GoneAs::Event).await;
}

#[tokio::test]
async fn after_410_gone_as_status_a_list_removes_what_has_vanished() {
    relists_after(GoneAs::Status).await;
}

#[tokio::test]
async fn pages_are_followed_and_started_over_when_their_token_expires() {
    let scene = Scene::start(PACE).await;
    scene.watches(1).await;
    scene.api.freeze(true);
    for number in 0..600 {
        let namespace = format!("n{number:03}");
        scene.api.add_namespace(&namespace);
        add_secret(&scene.api, &namespace, NAME);
    }
    scene.api.expire_page_tokens(true);
    scene.api.compact(GoneAs::Status);
    scene.api.cut();
    scene.api.freeze(false);
    scene.until(|state| state.broken.is_some()).await;
    scene.api.expire_page_tokens(false);
    scene.sees(|mirror| mirror.namespaces().len() == 602).await;
    let state = scene.until(|state| state.broken.is_none()).await;
    assert!(state.synced);
}

#[tokio::test]
async fn an_api_server_that_is_down_at_first_is_waited_for() {
    let scene = Scene::unsynced(PACE, |api| {
        let refusal = (403, "Forbidden", "secrets is forbidden: no rule");
        api.refuse((Verb::List, Resource::Secrets), 3, refusal);
        api.fail(Verb::List, Resource::Secrets, 3, Fault::Drop);
    })
    .await;
    let state = scene.until(|state| state.broken.is_some()).await;
    assert!(!state.synced, "nothing is synced before the first list");
    let (_, cause) = state.broken.unwrap();
    assert!(cause.contains("no rule"), "{cause}");
    let state = scene.until(|state| state.synced).await;
    assert!(state.broken.is_none());
    assert_eq!(scene.mirror.namespaces(), ["a", "b"]);
}

#[tokio::test]
async fn a_list_that_breaks_off_in_the_middle_removes_nothing() {
    let scene = Scene::start(PACE).await;
    scene.watches(1).await;
    let half = r#"{"kind":"SecretList","metadata":{"resourceVersion":"9"},"items":[{"metadata":{"name":"ecr-pull-secret","namespace":"a""#;
    scene.api.fail(
        Verb::List,
        Resource::Secrets,
        1,
        Fault::Answer(half.to_owned()),
    );
    scene.api.add_namespace("c");
    scene.api.compact(GoneAs::Status);
    scene.api.cut();
    let state = scene.until(|state| state.broken.is_some()).await;
    assert_eq!(scene.mirror.namespaces(), ["a", "b"]);
    assert!(state.synced, "what was synced stays so");
    scene.until(|state| state.broken.is_none()).await;
}

#[tokio::test]
async fn after_failing_watches_a_list_not_older_than_what_was_seen_starts_afresh() {
    let scene = Scene::unsynced(PACE, |api| {
        let failure = (500, "InternalError", "etcdserver: leader changed");
        api.refuse((Verb::Watch, Resource::Secrets), 3, failure);
    })
    .await;
    let seen = scene
        .until(|state| {
            state
                .broken
                .as_ref()
                .is_some_and(|(_, cause)| cause.contains("leader"))
        })
        .await;
    assert!(seen.synced);
    scene.watches(4).await;
    let lists = scene.lists();
    assert_eq!(lists.len(), 2);
    assert!(
        lists[1].contains("resourceVersionMatch=NotOlderThan")
            && !lists[1].contains("resourceVersion=0")
            && !lists[1].contains("limit="),
        "{}",
        lists[1]
    );
    scene.until(|state| state.broken.is_none()).await;
}

#[tokio::test]
async fn a_server_that_has_not_reached_our_version_is_asked_for_its_latest() {
    let scene = Scene::unsynced(PACE, |api| {
        let failure = (
            504,
            "Timeout",
            "Too large resource version: 900, current: 107",
        );
        api.refuse((Verb::List, Resource::Secrets), 1, failure);
    })
    .await;
    scene.until(|state| state.synced).await;
    let lists = scene.lists();
    assert!(lists[0].contains("resourceVersion=0"), "{}", lists[0]);
    assert!(!lists[1].contains("resourceVersion"), "{}", lists[1]);
}

#[tokio::test]
async fn a_silent_connection_is_given_up() {
    let pace = Pace {
        silence: Duration::from_millis(50),
        ..PACE
    };
    let scene = Scene::start(pace).await;
    scene.watches(1).await;
    scene.api.freeze(true);
    set_state(&scene.api, "a", "two");
    let (_, cause) = scene
        .until(|state| state.broken.is_some())
        .await
        .broken
        .unwrap();
    assert!(cause.contains("silent"), "{cause}");
    scene.api.freeze(false);
    scene.sees(|mirror| has_state(mirror, "a", "two")).await;
}

#[tokio::test]
async fn watches_that_end_at_once_do_not_make_it_spin() {
    let slow = Pace {
        retry_first: Duration::from_mins(1),
        retry_most: Duration::from_mins(1),
        ..PACE
    };
    let scene = Scene::unsynced(slow, |api| {
        api.fail(
            Verb::Watch,
            Resource::Secrets,
            1000,
            Fault::Answer(String::new()),
        );
    })
    .await;
    let state = scene.until(|state| state.broken.is_some()).await;
    assert!(state.broken.unwrap().1.contains("at once"));
    assert_eq!(scene.api.count(Verb::Watch, Resource::Secrets), 1);
}
