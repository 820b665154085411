//! What the index knows, and how fresh that is: zero calls while warm, on simulated time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ecr_admission::clock::{Clock, add};
use ecr_admission::policy::Policy;
use ecr_admission::secret::memory::{MemorySecretStore, NamespacePhase};
use ecr_admission::secret::{DataWriter, Lookup, SecretMetadata};
use ecr_admission::watch::Mirror;
use jiff::SignedDuration;
use serde_json::json;

use crate::support::mint::{Behaviour, LIFE};
use crate::support::review::{IMAGE, REGISTRY, create_with, image_in};
use crate::support::service::{Answered, START, Service, denying};
use crate::support::store::Call;

const HOUR: Duration = Duration::from_hours(1);

async fn admit(service: &Service) -> bool {
    service
        .mutate(&create_with("team-a", IMAGE))
        .await
        .is_injected()
}

/// Lets background work that waits for nothing run.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(200)).await;
}

#[tokio::test(start_paused = true)]
async fn a_warm_admission_makes_no_call() {
    let service = Service::new();
    assert!(admit(&service).await);
    // Its own write is seen at once: created, and never read.
    assert_eq!(service.store.calls(), [Call::Create]);
    for _ in 0..100 {
        assert!(admit(&service).await);
    }
    settle().await;
    assert!(service.store.calls().is_empty());
    assert_eq!(service.tokens.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_older_event_never_undoes_what_we_wrote() {
    let service = Service::new();
    assert!(admit(&service).await);
    assert!(
        service
            .mutate(&create_with("team-a", &image_in(2, "us-east-2")))
            .await
            .is_injected()
    );
    let late = SecretMetadata {
        uid: "uid-1".into(),
        resource_version: "1".into(),
        owned: true,
        state: None,
        data_writer: DataWriter::Us { at: None },
    };
    service.index.apply("team-a", late);
    service.index.delete("team-a", "1");
    service.index.listed(&HashSet::new(), "1");
    service.store.calls();
    assert!(admit(&service).await);
    assert!(service.store.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_was_deleted_is_made_again_at_the_next_admission() {
    let service = Service::new();
    assert!(admit(&service).await);
    service.store.cluster.change("team-a", |_| None);
    assert!(admit(&service).await);
    assert_eq!(service.store.calls(), [Call::Create, Call::Create]);

    // A relist that no longer names it says the same, when the event was missed.
    service.index.listed(&HashSet::new(), "999");
    assert!(matches!(service.index.look_up("team-a"), Lookup::Absent));
    assert!(service.index.is_empty());
}

#[tokio::test(start_paused = true)]
async fn with_a_silent_watch_a_namespace_is_read_once_and_then_cached() {
    let clock = Clock::simulated(START, 1);
    let cluster = Arc::new(MemorySecretStore::new(clock.clone()));
    let service = Service::over(Policy::default(), &clock, &cluster);
    assert!(admit(&service).await);
    assert!(
        service
            .mutate(&create_with("team-b", IMAGE))
            .await
            .is_injected()
    );
    service.store.calls();
    tokio::time::sleep(Duration::from_secs(299)).await;
    assert!(admit(&service).await);
    assert!(service.store.calls().is_empty());

    tokio::time::sleep(Duration::from_secs(2)).await;
    let reviews: Vec<_> = (0..100).map(|_| create_with("team-a", IMAGE)).collect();
    let answers = reviews.iter().map(|review| service.mutate(review));
    let answers = futures_util::future::join_all(answers).await;
    assert!(answers.iter().all(Answered::is_injected));
    assert_eq!(service.store.calls(), [Call::Get]);

    tokio::time::sleep(Duration::from_secs(299)).await;
    assert!(admit(&service).await);
    assert!(service.store.calls().is_empty());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(admit(&service).await);
    assert_eq!(service.store.calls(), [Call::Get]);
}

#[tokio::test(start_paused = true)]
async fn with_a_silent_watch_a_burst_into_a_new_namespace_reads_once_and_creates_once() {
    let clock = Clock::simulated(START, 1);
    let cluster = Arc::new(MemorySecretStore::new(clock.clone()));
    let service = Service::unwatched(Policy::default(), &clock, &cluster);
    let reviews: Vec<_> = (0..100).map(|_| create_with("team-a", IMAGE)).collect();
    let answers = reviews.iter().map(|review| service.mutate(review));
    let answers = futures_util::future::join_all(answers).await;
    assert!(answers.iter().all(Answered::is_injected));
    assert_eq!(service.store.calls(), [Call::Get, Call::Create]);
}

#[tokio::test(start_paused = true)]
async fn an_aging_token_is_renewed_once_in_the_background_and_delays_nobody() {
    let service = Service::new();
    assert!(admit(&service).await);
    let first = service.password("team-a", REGISTRY);
    tokio::time::sleep(6 * HOUR + Duration::from_secs(1)).await;
    service.store.calls();
    service
        .tokens
        .always(Behaviour::Slow(Duration::from_secs(3)));
    let before = service.clock.monotonic();
    for _ in 0..50 {
        assert!(admit(&service).await);
    }
    assert_eq!(service.clock.monotonic(), before, "an admission waited");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_ne!(service.password("team-a", REGISTRY), first);
    assert_eq!(service.tokens.count(), 2);
    assert_eq!(service.store.calls(), [Call::Get, Call::Update]);
    assert!(admit(&service).await);
    settle().await;
    assert!(service.store.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn below_the_floor_an_admission_waits_for_a_new_token() {
    let service = Service::with(denying());
    assert!(admit(&service).await);
    tokio::time::sleep(11 * HOUR).await;
    service
        .tokens
        .always(Behaviour::Slow(Duration::from_secs(3)));
    let before = service.clock.monotonic();
    assert!(admit(&service).await);
    assert_eq!(service.clock.monotonic() - before, Duration::from_secs(3));
    assert!(
        service
            .password("team-a", REGISTRY)
            .unwrap()
            .ends_with("-2")
    );
}

#[tokio::test(start_paused = true)]
async fn while_ecr_is_down_an_aging_secret_serves_without_a_call_of_the_store() {
    let service = Service::with(denying());
    assert!(admit(&service).await);
    service.store.calls();
    tokio::time::sleep(7 * HOUR).await;
    service.tokens.always(Behaviour::Fail(
        ecr_admission::token::MintErrorKind::Unreachable,
    ));
    for _ in 0..180 {
        assert!(admit(&service).await);
        tokio::time::sleep(Duration::from_mins(1)).await;
    }
    assert!(service.store.calls().is_empty());
    // Tried again about once a minute at most, not at each admission.
    assert!(service.tokens.count() < 200, "{}", service.tokens.count());
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_jumps_costs_a_mint_and_no_storm_and_never_revives_a_token() {
    for jump in [7, 13, 24 * 365, -7, -13, -24 * 365] {
        let service = Service::new();
        assert!(admit(&service).await);
        service.store.calls();
        service.clock.jump(SignedDuration::from_hours(jump));
        for _ in 0..200 {
            assert!(admit(&service).await, "jumped by {jump} h");
            settle().await;
        }
        assert!(service.tokens.count() <= 2, "jumped by {jump} h");
        assert!(service.store.calls().len() <= 4, "jumped by {jump} h");
    }
    // Back by eleven hours, and twelve hours pass: by the wall clock the first token is an hour old.
    let service = Service::new();
    assert!(admit(&service).await);
    service.clock.jump(SignedDuration::from_hours(-11));
    tokio::time::sleep(LIFE).await;
    assert!(admit(&service).await);
    assert!(
        service
            .password("team-a", REGISTRY)
            .unwrap()
            .ends_with("-2")
    );
}

#[tokio::test(start_paused = true)]
async fn a_state_is_not_believed_beyond_twelve_hours_after_our_write() {
    for at in [Some(START), None] {
        let service = Service::new();
        let state = json!({"entries": {REGISTRY: {"v": 1, "issuedAt": START.to_string(),
            "expiresAt": add(START, 1_000 * HOUR).to_string(), "identity": "controller"}}});
        let metadata = SecretMetadata {
            uid: "uid-1".into(),
            resource_version: "1".into(),
            owned: true,
            state: Some(state.to_string()),
            data_writer: DataWriter::Us { at },
        };
        service.index.apply("team-a", metadata);
        let fresh = |service: &Service| {
            let Lookup::Known(known) = service.index.look_up("team-a") else {
                panic!("not known");
            };
            let wanted = ecr_admission::secret::Wanted {
                key: REGISTRY,
                identity: "controller",
                generation: 0,
            };
            known.freshness(wanted, service.clock.moment()).is_usable()
        };
        assert!(fresh(&service));
        tokio::time::sleep(12 * HOUR).await;
        assert!(!fresh(&service), "{at:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_recreated_namespace_starts_from_nothing() {
    let service = Service::new();
    assert!(admit(&service).await);
    let first = service.secret("team-a").unwrap().metadata.uid;
    service
        .store
        .cluster
        .set_namespace("team-a", NamespacePhase::Missing);
    service
        .store
        .cluster
        .set_namespace("team-a", NamespacePhase::Active);
    assert!(admit(&service).await);
    assert_ne!(service.secret("team-a").unwrap().metadata.uid, first);
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_hours_wrong_makes_no_token_of_another_replica_younger_or_older() {
    let truth = Clock::simulated(START, 1);
    let cluster = Arc::new(MemorySecretStore::new(truth.clone()));
    let watched = Arc::clone(&cluster);
    tokio::spawn(async move { watched.bookmarks().await });
    assert!(admit(&Service::over(Policy::default(), &truth, &cluster)).await);
    tokio::time::sleep(5 * HOUR).await;

    let others = [-10, 10].map(|hours| {
        let clock = Clock::simulated(truth.now() + SignedDuration::from_hours(hours), 2);
        clock.heard(truth.now());
        Service::over(Policy::default(), &clock, &cluster)
    });
    for other in &others {
        assert!(admit(other).await);
        assert!(other.store.calls().is_empty(), "seven hours are left of it");
    }
    tokio::time::sleep(6 * HOUR + Duration::from_secs(1)).await;
    let [back, _] = &others;
    assert!(admit(back).await);
    assert!(
        back.store.calls().contains(&Call::Update),
        "less than one is left"
    );
}
