//! Pinned registries: the Secret is there, and stays fresh, before any Pod.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ecr_admission::clock::Clock;
use ecr_admission::namespace::{Namespace, Pins};
use ecr_admission::policy::Policy;
use ecr_admission::secret::Lookup;
use ecr_admission::secret::memory::MemorySecretStore;
use ecr_admission::token::MintErrorKind;
use ecr_admission::watch::Mirror;
use tokio::time::sleep;

use crate::support::api_server::{ApiServer, Resource};
use crate::support::ecr::EcrDouble;
use crate::support::mint::{Behaviour, LIFE};
use crate::support::process::{Process, eventually};
use crate::support::review::{IMAGE, REGISTRY, create_with, image_in};
use crate::support::service::{EXCLUDED, START, Service};
use crate::support::store::Call;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
const OTHER: &str = "000000000002.dkr.ecr.us-east-2.amazonaws.com";

fn pin(service: &Service, namespace: &str, registries: &str) {
    let pinning = Namespace {
        pins: Pins::of(registries),
        ..Namespace::default()
    };
    service.namespaces.apply(namespace, pinning);
}

/// Lets a replica look after things, its mirrors filled.
fn run(service: &Service) {
    service.namespaces.listed(&HashSet::new(), "1");
    service.look_after();
}

/// Whether the entry for a registry has more than a third of its life left.
fn is_fresh(service: &Service, namespace: &str, registry: &str) -> bool {
    let Lookup::Known(known) = service.index.look_up(namespace) else {
        return false;
    };
    let mut standings = known.standings(service.clock.moment());
    standings.any(|entry| entry.key == registry && entry.left > entry.life / 3)
}

#[tokio::test(start_paused = true)]
async fn a_pinned_registry_is_there_within_a_second_and_stays_fresh_without_any_pod() {
    let service = Service::new();
    run(&service);
    sleep(MINUTE).await;
    pin(&service, "team-a", REGISTRY);
    sleep(SECOND).await;
    assert_eq!(service.registries("team-a"), [REGISTRY]);
    pin(&service, "team-a", &format!("{REGISTRY}, {OTHER}"));
    sleep(SECOND).await;
    assert_eq!(service.registries("team-a"), [OTHER, REGISTRY]);
    for _ in 0..10 * 24 {
        sleep(60 * MINUTE).await;
        for registry in [OTHER, REGISTRY] {
            assert!(is_fresh(&service, "team-a", registry));
        }
    }
    assert!(service.events.said().is_empty());
    // Without the pin it is like any that no Pod uses.
    service.namespaces.apply("team-a", Namespace::default());
    sleep(6 * DAY).await;
    assert!(is_fresh(&service, "team-a", REGISTRY));
    sleep(3 * DAY).await;
    assert!(service.secret("team-a").is_none());
}

#[tokio::test(start_paused = true)]
async fn all_that_is_pinned_when_a_replica_starts_costs_one_token_and_a_write_each() {
    let service = Service::new();
    for number in 0..1_000 {
        pin(&service, &format!("team-{number}"), REGISTRY);
    }
    let all: HashSet<String> = (0..1_000).map(|number| format!("team-{number}")).collect();
    service.namespaces.listed(&all, "1");
    service.look_after();
    sleep(10 * SECOND).await;
    // One that is pinned now does not wait for the others.
    pin(&service, "new", OTHER);
    sleep(SECOND).await;
    assert_eq!(service.registries("new"), [OTHER]);
    assert!(service.index.len() < 1_000, "they come at a pace");
    sleep(MINUTE).await;
    assert_eq!(service.index.len(), 1_001);
    assert_eq!(service.tokens.count(), 2);
    let calls = service.store.calls();
    assert!(calls.iter().all(|call| *call == Call::Create), "{calls:?}");
    sleep(60 * MINUTE).await;
    assert!(service.store.calls().is_empty(), "all is well");
}

#[tokio::test(start_paused = true)]
async fn two_replicas_make_one_secret() {
    let cluster = Arc::new(MemorySecretStore::new(Clock::simulated(START, 2)));
    let watched = Arc::clone(&cluster);
    tokio::spawn(async move { watched.bookmarks().await });
    let [one, two] = [1, 2].map(|seed| {
        let clock = Clock::simulated(START, seed);
        let service = Service::over(Policy::default(), &clock, &cluster);
        run(&service);
        service
    });
    for service in [&one, &two] {
        pin(service, "team-a", REGISTRY);
    }
    sleep(MINUTE).await;
    let writes = [&one, &two].map(|service| {
        let calls = service.store.calls();
        calls.iter().filter(|call| **call == Call::Update).count()
    });
    assert_eq!(writes, [0, 0]);
    assert_eq!(two.registries("team-a"), [REGISTRY]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_pinned_is_told_by_an_event_and_at_the_next_pod() {
    let service = Service::new();
    run(&service);
    pin(&service, "team-a", &format!("{REGISTRY},docker.io"));
    sleep(SECOND).await;
    assert_eq!(service.registries("team-a"), [REGISTRY]);
    for namespace in ["team-a", "team-b"] {
        let answer = service.mutate(&create_with(namespace, IMAGE)).await;
        assert!(answer.is_allowed() && answer.patch().is_some());
        assert_eq!(answer.warnings().len(), usize::from(namespace == "team-a"));
    }
    let answer = service.mutate(&create_with("team-a", "nginx")).await;
    insta::assert_snapshot!(answer.said(), @r#"warning: namespace annotation ecr-admission.dev/registries: "docker.io" is no private ECR registry: write a host such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com, without scheme, port and repository"#);
    pin(&service, EXCLUDED, REGISTRY);
    sleep(SECOND).await;
    assert!(service.secret(EXCLUDED).is_none());
    sleep(30 * MINUTE).await;
    insta::assert_snapshot!(service.events.said(), @r#"
    Warning InvalidPinnedRegistry Namespace/team-a: namespace annotation ecr-admission.dev/registries: "docker.io" is no private ECR registry: write a host such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com, without scheme, port and repository
    Warning PinsNotServed Namespace/kube-system: annotation ecr-admission.dev/registries has no effect: ecr-admission leaves this namespace alone (excludedNamespaces); pin the registries in another one
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_pin_whose_token_cannot_be_had_is_told_tried_again_and_keeps_no_other_waiting() {
    let service = Service::new();
    run(&service);
    service.tokens.by_key(|key| match &*key.region {
        "us-east-2" => Behaviour::Fail(MintErrorKind::Denied),
        _ => Behaviour::Give(LIFE),
    });
    for number in 0..100 {
        pin(&service, &format!("team-{number}"), OTHER);
    }
    sleep(3 * SECOND).await;
    pin(&service, "team-a", REGISTRY);
    sleep(SECOND).await;
    assert_eq!(service.registries("team-a"), [REGISTRY]);
    sleep(3 * 60 * MINUTE).await;
    assert_eq!(service.admission.healing(), 100);
    let tried = service.tokens.count();
    assert!(tried < 200, "{tried} calls in three hours");
    let told = service.events.said();
    assert!(
        told.contains("NoPullCredential Namespace/team-7: "),
        "{told}"
    );
    service.tokens.always(Behaviour::Give(LIFE));
    sleep(20 * MINUTE).await;
    assert_eq!(service.admission.healing(), 0);
    assert_eq!(service.registries("team-99"), [OTHER]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_made_where_nothing_new_can_be() {
    let service = Service::new();
    run(&service);
    let terminating = Namespace {
        terminating: true,
        pins: Pins::of(REGISTRY),
        ..Namespace::default()
    };
    service.namespaces.apply("team-a", terminating);
    pin(&service, "team-b", &image_in(1, "us-east-2"));
    sleep(2 * 60 * MINUTE).await;
    assert!(service.store.calls().is_empty());
}

#[tokio::test]
async fn the_whole_process_serves_pins_of_namespaces_old_and_new() {
    let (api, ecr) = (ApiServer::start().await, EcrDouble::start().await);
    let key = "ecr-admission.dev/registries";
    for namespace in ["old", "late"] {
        api.add_namespace(namespace);
    }
    api.annotate_namespace("old", key, REGISTRY);
    let _serve = Process::start(&api, &ecr, &[]).await;
    let is_served = |namespace: &'static str| {
        let secret = api.get(Resource::Secrets, namespace, "ecr-pull-secret");
        async move { secret.is_some() }
    };
    eventually(|| is_served("old")).await;
    api.annotate_namespace("late", key, &format!("{REGISTRY},docker.io"));
    eventually(|| is_served("late")).await;
    // What somebody takes away comes back.
    api.remove(Resource::Secrets, "old", "ecr-pull-secret");
    eventually(|| is_served("old")).await;
    let told = |namespace: &'static str| {
        let events = api.events(namespace);
        async move { !events.is_empty() }
    };
    eventually(|| told("late")).await;
    assert_eq!(api.events("late")[0]["reason"], "InvalidPinnedRegistry");
    assert!(api.events("old").is_empty());
}
