//! Refresh without a leader, on simulated time: what Pods use stays fresh without any admission, what nobody uses goes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ecr_admission::clock::Clock;
use ecr_admission::policy::Policy;
use ecr_admission::pull_secret::State;
use ecr_admission::pull_secret::state::between;
use ecr_admission::secret::DataWriter;
use ecr_admission::secret::memory::MemorySecretStore;
use ecr_admission::token::MintErrorKind;
use jiff::Timestamp;
use tokio::time::sleep;

use crate::support::mint::{Behaviour, LIFE};
use crate::support::review::{IMAGE, REGISTRY, create_with, image_in};
use crate::support::service::{START, Service};
use crate::support::store::Call;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// Half of twelve hours less the tenth that renewals are spread over, and less six minutes to look and write.
const LEAST_LEFT: Duration = Duration::from_mins(282);

/// Lets a replica refresh.
fn run(service: &Service) {
    let admission = Arc::clone(&service.admission);
    tokio::spawn(async move { admission.keep_fresh().await });
}

/// What is left of the life of each entry.
fn left(service: &Service, namespace: &str) -> Vec<Duration> {
    let Some(secret) = service.secret(namespace) else {
        return Vec::new();
    };
    let state = State::parse(secret.metadata.state.as_deref());
    let now = service.clock.now();
    let left = state
        .known()
        .map(|(_, entry)| between(now, entry.expires_at));
    left.collect()
}

async fn admit(service: &Service, namespace: &str, image: &str) {
    let answer = service.mutate(&create_with(namespace, image)).await;
    assert!(answer.is_injected(), "{answer:?}");
}

/// Replicas over one cluster whose watches are alive.
fn replicas<const N: usize>() -> [Service; N] {
    let cluster = Arc::new(MemorySecretStore::new(Clock::simulated(START, 2)));
    let watched = Arc::clone(&cluster);
    tokio::spawn(async move { watched.bookmarks().await });
    std::array::from_fn(|seed| {
        let clock = Clock::simulated(START, 10 + seed as u64);
        let service = Service::over(Policy::default(), &clock, &cluster);
        run(&service);
        service
    })
}

#[tokio::test(start_paused = true)]
async fn what_pods_use_stays_fresh_without_any_admission() {
    let service = Service::new();
    run(&service);
    let other = image_in(2, "us-east-2");
    admit(&service, "team-a", IMAGE).await;
    admit(&service, "team-a", &other).await;
    service.pods.run([IMAGE, &other, "nginx"]);
    service.store.calls();
    for _ in 0..10 * 24 {
        sleep(HOUR).await;
        let left = left(&service, "team-a");
        assert!(
            left.len() == 2 && left.iter().all(|left| *left > LEAST_LEFT),
            "{left:?}"
        );
    }
    // Every six hours or a little more: a token for each of two regions, in one write or two.
    let writes = service.store.calls();
    let writes = writes.iter().filter(|call| **call == Call::Update).count();
    assert!((30..=80).contains(&writes), "{writes}");
    assert!(
        service.tokens.count() <= 2 + 2 * 40,
        "{}",
        service.tokens.count()
    );
    assert!(
        service
            .metrics()
            .contains("refreshes_total{result=\"renewed\"}")
    );
}

#[tokio::test(start_paused = true)]
async fn what_no_pod_uses_is_kept_for_a_week_and_then_goes() {
    let service = Service::new();
    run(&service);
    let other = image_in(2, "us-east-2");
    admit(&service, "team-a", IMAGE).await;
    admit(&service, "team-a", &other).await;
    admit(&service, "team-b", IMAGE).await;
    service.pods.run([&other]);
    sleep(6 * DAY).await;
    assert!(
        left(&service, "team-a")
            .iter()
            .all(|left| *left > LEAST_LEFT)
    );
    sleep(3 * DAY).await;
    assert_eq!(
        service.registries("team-a"),
        [other.split('/').next().unwrap()]
    );
    assert!(service.secret("team-b").is_none(), "nothing in it lives");
    let asked = service.pods.asked();
    assert!(asked < 150, "Pods were listed {asked} times");
    // It comes back by an admission, as if it had never been there.
    service.pods.run([""; 0]);
    admit(&service, "team-b", IMAGE).await;
    sleep(6 * DAY).await;
    assert!(
        left(&service, "team-b")
            .iter()
            .all(|left| *left > LEAST_LEFT)
    );
    sleep(4 * DAY).await;
    assert!(service.secret("team-a").is_none() && service.secret("team-b").is_none());
    let idle = service.tokens.count();
    sleep(DAY).await;
    assert_eq!(
        service.tokens.count(),
        idle,
        "nobody wants a token any more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_ecr_shorter_than_what_is_left_lets_nothing_expire() {
    let service = Service::new();
    run(&service);
    admit(&service, "team-a", IMAGE).await;
    service.pods.run([IMAGE]);
    for day in 0..5 {
        sleep(5 * HOUR).await;
        service
            .tokens
            .always(Behaviour::Fail(MintErrorKind::Throttled));
        let before = service.tokens.count();
        for _ in 0..20 {
            sleep(HOUR / 4).await;
            assert!(
                left(&service, "team-a").iter().all(|left| !left.is_zero()),
                "day {day}"
            );
        }
        assert!(
            service
                .metrics()
                .contains("refreshes_total{result=\"unchanged\"}")
        );
        let tries = service.tokens.count() - before;
        assert!(tries < 60, "{tries} calls in five hours");
        service.tokens.always(Behaviour::Give(LIFE));
        sleep(HOUR / 2).await;
        assert!(
            left(&service, "team-a")
                .iter()
                .all(|left| *left > LEAST_LEFT),
            "day {day}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_that_lasted_too_long_it_is_renewed_without_a_pod() {
    let service = Service::new();
    run(&service);
    admit(&service, "team-a", IMAGE).await;
    service.pods.run([IMAGE]);
    service
        .tokens
        .always(Behaviour::Fail(MintErrorKind::Unreachable));
    sleep(2 * DAY).await;
    assert!(left(&service, "team-a").iter().all(Duration::is_zero));
    service.tokens.always(Behaviour::Give(LIFE));
    sleep(HOUR / 2).await;
    assert!(
        left(&service, "team-a")
            .iter()
            .all(|left| *left > LEAST_LEFT)
    );
}

#[tokio::test(start_paused = true)]
async fn replicas_share_the_work_and_one_goes_on_where_another_ends() {
    let [one, two, three] = replicas::<3>();
    let namespaces: Vec<String> = (0..200).map(|number| format!("team-{number}")).collect();
    for service in [&one, &two, &three] {
        service.pods.run([IMAGE]);
    }
    for namespace in &namespaces {
        admit(&one, namespace, IMAGE).await;
    }
    for service in [&one, &two, &three] {
        service.store.calls();
    }
    sleep(5 * DAY).await;
    let mut writes = 0;
    for service in [&one, &two, &three] {
        let calls = service.store.calls();
        let updates = calls.iter().filter(|call| **call == Call::Update).count();
        assert!(updates > 0, "every replica takes part");
        writes += updates;
        assert!(
            service.tokens.count() <= 1 + 2 * 10 + 2,
            "{}",
            service.tokens.count()
        );
    }
    // Twenty half lives, and what two replicas did at one moment.
    assert!(writes <= 200 * 22, "{writes}");
    for namespace in &namespaces {
        assert!(
            left(&two, namespace).iter().all(|left| *left > LEAST_LEFT),
            "{namespace}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn namespaces_that_share_a_token_are_not_renewed_at_one_moment() {
    let service = Service::new();
    run(&service);
    for number in 0..300 {
        admit(&service, &format!("team-{number}"), IMAGE).await;
    }
    service.pods.run([IMAGE]);
    sleep(Duration::from_mins(359)).await;
    service.store.calls();
    let mut quarters = Vec::new();
    for _ in 0..6 {
        sleep(HOUR / 4).await;
        let calls = service.store.calls();
        quarters.push(calls.iter().filter(|call| **call == Call::Update).count());
    }
    assert_eq!(quarters.iter().sum::<usize>(), 300, "{quarters:?}");
    assert!(
        quarters.iter().all(|renewed| *renewed < 120),
        "{quarters:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_somebody_emptied_is_put_back_for_the_pods_that_use_it() {
    let service = Service::new();
    run(&service);
    admit(&service, "team-a", IMAGE).await;
    service.pods.run([IMAGE, "registry.example.com/app:1"]);
    service.store.cluster.change("team-a", |secret| {
        let mut secret = secret.unwrap();
        secret.docker_config = Some(br#"{"auths":{}}"#.to_vec().into());
        secret.metadata.state = None;
        secret.metadata.data_writer = DataWriter::SomebodyElse;
        Some(secret)
    });
    sleep(HOUR / 4).await;
    assert_eq!(service.registries("team-a"), [REGISTRY]);
    assert!(
        left(&service, "team-a")
            .iter()
            .all(|left| *left > LEAST_LEFT)
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_of_minutes_is_renewed_as_early_as_one_of_hours() {
    let service = Service::new();
    run(&service);
    service
        .tokens
        .always(Behaviour::Give(Duration::from_mins(30)));
    admit(&service, "team-a", IMAGE).await;
    service.pods.run([IMAGE]);
    for _ in 0..100 {
        sleep(Duration::from_mins(1)).await;
        let left = left(&service, "team-a");
        assert!(
            left.iter().all(|left| *left > Duration::from_mins(10)),
            "{left:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_list_that_fails_postpones_a_renewal_and_takes_nothing_away() {
    let service = Service::new();
    run(&service);
    admit(&service, "team-a", IMAGE).await;
    service.pods.fail(true);
    sleep(8 * HOUR).await;
    let asked = service.pods.asked();
    assert!((2..40).contains(&asked), "{asked}");
    service.pods.run([IMAGE]);
    service.pods.fail(false);
    sleep(HOUR / 2).await;
    assert!(
        left(&service, "team-a")
            .iter()
            .all(|left| *left > LEAST_LEFT)
    );
}

#[tokio::test(start_paused = true)]
async fn the_last_use_is_recorded_for_whoever_reads_the_state() {
    let service = Service::new();
    run(&service);
    admit(&service, "team-a", IMAGE).await;
    let used = |service: &Service| -> HashSet<Timestamp> {
        let secret = service.secret("team-a").unwrap();
        let state = State::parse(secret.metadata.state.as_deref());
        state
            .known()
            .filter_map(|(_, entry)| entry.used_at)
            .collect()
    };
    assert_eq!(used(&service), [START].into());
    sleep(DAY).await;
    assert_eq!(used(&service), [START].into(), "no Pod has used it since");
    service.pods.run([IMAGE]);
    sleep(DAY).await;
    assert!(used(&service).iter().all(|at| between(START, *at) > DAY));
}
