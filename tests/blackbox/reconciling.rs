//! Reconciliation: what a replica left behind is made by whoever looks next, and what somebody took away comes back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ecr_admission::clock::Clock;
use ecr_admission::namespace::{Namespace, Pins};
use ecr_admission::policy::Policy;
use ecr_admission::secret::memory::MemorySecretStore;
use ecr_admission::secret::{DataWriter, PodSight};
use ecr_admission::token::MintErrorKind;
use ecr_admission::watch::Mirror;
use tokio::time::sleep;

use crate::support::mint::Behaviour;
use crate::support::review::{IMAGE, REGISTRY, create_with, image_in};
use crate::support::service::{EXCLUDED, SECRET, START, Service};
use crate::support::store::Call;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

fn cluster() -> Arc<MemorySecretStore> {
    let cluster = Arc::new(MemorySecretStore::new(Clock::simulated(START, 2)));
    let watched = Arc::clone(&cluster);
    tokio::spawn(async move { watched.bookmarks().await });
    cluster
}

fn replica(cluster: &Arc<MemorySecretStore>, seed: u64) -> Service {
    Service::over(Policy::default(), &Clock::simulated(START, seed), cluster)
}

/// Lets a replica look after things, its mirrors filled.
pub(crate) fn run(service: &Service) {
    service.namespaces.listed(&HashSet::new(), "1");
    service.look_after();
}

/// A Pod that names our Secret.
pub(crate) fn pod(namespace: &str, image: &str) -> PodSight {
    PodSight {
        namespace: namespace.to_owned(),
        name: "app".to_owned(),
        uid: format!("uid-of-{namespace}"),
        images: vec![image.to_owned()],
        pull_secrets: vec!["theirs".to_owned(), SECRET.to_owned()],
        ..PodSight::default()
    }
}

fn writes(service: &Service) -> usize {
    let calls = service.store.calls();
    calls.iter().filter(|call| **call != Call::Get).count()
}

#[tokio::test(start_paused = true)]
async fn what_waited_when_all_replicas_died_is_made_within_a_minute_of_the_next_start() {
    let cluster = cluster();
    let dead = replica(&cluster, 1);
    let unreachable = Behaviour::Fail(MintErrorKind::Unreachable);
    dead.tokens.always(unreachable);
    let namespaces: Vec<String> = (0..500).map(|number| format!("team-{number}")).collect();
    for namespace in &namespaces {
        let answer = dead.mutate(&create_with(namespace, IMAGE)).await;
        assert!(answer.patch().is_some() && answer.warnings().len() == 1);
    }
    // It dies: what it would have healed, nobody does. (Its own tokens never come.)
    sleep(MINUTE).await;
    assert!(dead.index.is_empty());

    let next = replica(&cluster, 2);
    next.pods
        .show(namespaces.iter().map(|name| pod(name, IMAGE)));
    run(&next);
    sleep(MINUTE).await;
    for namespace in &namespaces {
        assert_eq!(next.registries(namespace), [REGISTRY], "{namespace}");
    }
    assert_eq!(next.tokens.count(), 1);
    assert_eq!(writes(&next), 500);
    // From now on it costs a list of the Pods an hour.
    let asked = next.pods.asked();
    sleep(10 * HOUR / 2).await;
    let asked = next.pods.asked() - asked;
    assert!((5 * 4..=5 * 7).contains(&asked), "{asked} pages");
    assert_eq!(writes(&next), 0);
}

#[tokio::test(start_paused = true)]
async fn only_pods_that_are_to_have_it_get_it() {
    let service = Service::new();
    let opted_out = Namespace {
        inject: false,
        ..Namespace::default()
    };
    let terminating = Namespace {
        terminating: true,
        ..Namespace::default()
    };
    service.namespaces.apply("off", opted_out.clone());
    service.namespaces.apply("off-but-named", opted_out);
    service.namespaces.apply("going", terminating);
    let bare = |namespace: &str| PodSight {
        pull_secrets: Vec::new(),
        ..pod(namespace, IMAGE)
    };
    service.pods.show([
        bare("bare"),
        bare("off"),
        pod("off-but-named", IMAGE),
        pod("going", IMAGE),
        pod(EXCLUDED, IMAGE),
        pod("elsewhere", "nginx"),
        pod(
            "untagged",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app",
        ),
        pod(
            "lookalike",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.example/app:1",
        ),
        PodSight {
            beyond_help: true,
            ..pod("ended", IMAGE)
        },
        PodSight {
            opts_out: true,
            ..bare("pod-off")
        },
    ]);
    let known = ["bare", "off", "off-but-named", "going"].map(str::to_owned);
    service.namespaces.listed(&HashSet::from(known), "1");
    service.look_after();
    sleep(MINUTE).await;
    let mut served = service.index.select(|_, _| true);
    served.sort_by(|one, other| one.0.cmp(&other.0));
    let served: Vec<&str> = served.iter().map(|(namespace, _)| &**namespace).collect();
    assert_eq!(served, ["bare", "off-but-named", "untagged"]);
    assert!(service.events.said().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_list_after_missed_events_is_followed_by_a_survey_but_not_by_one_a_second() {
    let service = Service::new();
    run(&service);
    sleep(20 * MINUTE).await;
    service.pods.show([pod("team-a", IMAGE)]);
    let asked = service.pods.asked();
    for _ in 0..60 {
        service.namespaces.listed(&HashSet::new(), "2");
        sleep(SECOND).await;
    }
    assert_eq!(service.registries("team-a"), [REGISTRY]);
    // One of all Pods, one of the namespace.
    assert_eq!(service.pods.asked() - asked, 2);
    service.pods.show([pod("team-b", IMAGE)]);
    sleep(5 * MINUTE).await;
    assert_eq!(service.registries("team-b"), [REGISTRY]);
    assert!(
        service
            .metrics()
            .contains("ecr_admission_reconciliations_total{result=\"ok\"} 3")
    );
}

#[tokio::test(start_paused = true)]
async fn pods_that_cannot_be_listed_are_asked_for_again() {
    let service = Service::new();
    service.pods.show([pod("team-a", IMAGE)]);
    service.pods.fail(true);
    run(&service);
    sleep(10 * MINUTE).await;
    let asked = service.pods.asked();
    assert!((15..=32).contains(&asked), "{asked}");
    service.pods.fail(false);
    sleep(MINUTE).await;
    assert_eq!(service.registries("team-a"), [REGISTRY]);
    assert!(
        service
            .metrics()
            .contains("ecr_admission_reconciliations_total{result=\"unavailable\"}")
    );
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_somebody_deletes_is_back_in_seconds_if_a_pod_or_a_pin_needs_it() {
    let service = Service::new();
    let other = image_in(2, "us-east-2");
    let other_registry = other.split('/').next().unwrap();
    let pinning = Namespace {
        pins: Pins::of(REGISTRY),
        ..Namespace::default()
    };
    service.namespaces.apply("pinned", pinning);
    service
        .namespaces
        .listed(&HashSet::from(["pinned".to_owned()]), "1");
    service.look_after();
    for (namespace, image) in [("team-a", IMAGE), ("team-a", &other), ("unused", IMAGE)] {
        service.mutate(&create_with(namespace, image)).await;
    }
    // One of the two has ended.
    service.pods.show([pod("team-a", &other)]);
    sleep(MINUTE).await;
    for namespace in ["team-a", "pinned", "unused"] {
        service.store.cluster.change(namespace, |_| None);
    }
    sleep(SECOND).await;
    assert_eq!(service.registries("team-a"), [other_registry]);
    assert_eq!(service.registries("pinned"), [REGISTRY]);
    assert!(service.secret("unused").is_none());
}

#[tokio::test(start_paused = true)]
async fn who_deletes_or_edits_it_in_a_loop_does_not_make_us_write_in_a_loop() {
    let service = Service::new();
    run(&service);
    for namespace in ["deleted", "edited"] {
        service.mutate(&create_with(namespace, IMAGE)).await;
    }
    service
        .pods
        .show(["deleted", "edited"].map(|name| pod(name, IMAGE)));
    sleep(MINUTE).await;
    assert_eq!(writes(&service), 2);
    let edit = || {
        service.store.cluster.change("edited", |secret| {
            let mut secret = secret.unwrap();
            secret.docker_config = Some(br#"{"auths":{}}"#.to_vec().into());
            secret.metadata.data_writer = DataWriter::SomebodyElse;
            Some(secret)
        });
    };
    service.store.cluster.change("deleted", |_| None);
    edit();
    sleep(SECOND).await;
    assert_eq!(writes(&service), 2, "each comes back at once");
    assert_eq!(service.registries("deleted"), [REGISTRY]);
    assert_eq!(service.registries("edited"), [REGISTRY]);
    for _ in 0..720 {
        service.store.cluster.change("deleted", |_| None);
        edit();
        sleep(5 * SECOND).await;
    }
    let written = writes(&service);
    assert!(
        (8..=2 * 7).contains(&written),
        "{written} writes in an hour"
    );
    sleep(12 * MINUTE).await;
    assert_eq!(service.registries("deleted"), [REGISTRY]);
    assert_eq!(service.registries("edited"), [REGISTRY]);
}

#[tokio::test(start_paused = true)]
async fn replicas_that_see_it_all_at_once_write_it_once() {
    let cluster = cluster();
    let replicas = [1, 2, 3].map(|seed| replica(&cluster, seed));
    for service in &replicas {
        run(service);
    }
    replicas[0].mutate(&create_with("team-a", IMAGE)).await;
    for service in &replicas {
        service.pods.show([pod("team-a", IMAGE)]);
    }
    sleep(MINUTE).await;
    let before: usize = replicas.iter().map(writes).sum();
    assert_eq!(before, 1);
    cluster.change("team-a", |_| None);
    sleep(MINUTE).await;
    let calls = replicas.iter().flat_map(|service| service.store.calls());
    let updates = calls.filter(|call| *call == Call::Update).count();
    assert_eq!(updates, 0, "whoever comes second finds it there");
    assert_eq!(replicas[1].registries("team-a"), [REGISTRY]);
}
