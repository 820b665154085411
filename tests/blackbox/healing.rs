//! What happens when ECR, the store or time fails: an answer before the deadline, and a Secret that appears later.

use std::time::Duration;

use ecr_admission::secret::StoreErrorKind;
use ecr_admission::secret::memory::NamespacePhase;
use ecr_admission::token::MintErrorKind;
use tokio::time::sleep;

use crate::support::mint::{Behaviour, LIFE};
use crate::support::review::{IMAGE, REGISTRY, create_with, image_in};
use crate::support::service::{Service, denying};
use crate::support::store::{Call, Trouble};

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn without_a_token_the_pod_is_injected_with_a_warning_or_refused_by_policy() {
    let service = Service::new();
    service
        .tokens
        .always(Behaviour::Fail(MintErrorKind::Denied));
    let answer = service.mutate(&create_with("team-a", IMAGE)).await;
    assert!(answer.patch().is_some());
    insta::assert_snapshot!(answer.said(), @"warning: no pull credential yet, still trying: 123456789012.dkr.ecr.eu-west-1.amazonaws.com: ECR in eu-west-1 is down (denied)");
    let service = Service::with(denying());
    service
        .tokens
        .always(Behaviour::Fail(MintErrorKind::Denied));
    let answer = service.mutate(&create_with("team-a", IMAGE)).await;
    insta::assert_snapshot!(answer.said(), @"refused: no pull credential: 123456789012.dkr.ecr.eu-west-1.amazonaws.com: ECR in eu-west-1 is down (denied)");
    assert_eq!(service.admission.healing(), 0);
}

#[tokio::test(start_paused = true)]
async fn after_twenty_minutes_without_ecr_the_secret_appears_without_another_admission() {
    let service = Service::new();
    service
        .tokens
        .always(Behaviour::Fail(MintErrorKind::Unreachable));
    let answer = service.mutate(&create_with("team-a", IMAGE)).await;
    assert_eq!(answer.warnings().len(), 1);
    assert_eq!(service.admission.healing(), 1);
    sleep(20 * MINUTE).await;
    assert!(service.admission.token_trouble().is_some());
    let attempts = service.tokens.count();
    assert!((5..20).contains(&attempts), "{attempts} attempts");
    service.tokens.always(Behaviour::Give(LIFE));
    sleep(10 * MINUTE).await;
    assert_eq!(service.registries("team-a"), [REGISTRY]);
    assert_eq!(service.admission.healing(), 0);
    assert!(service.admission.token_trouble().is_none());
    let (calls, mints) = (service.store.calls().len(), service.tokens.count());
    sleep(60 * MINUTE).await;
    assert_eq!(
        (service.store.calls().len(), service.tokens.count()),
        (0, mints)
    );
    assert_eq!(calls, 1);
}

#[tokio::test(start_paused = true)]
async fn one_registry_that_can_never_heal_does_not_keep_the_others_from_it() {
    let service = Service::new();
    service
        .tokens
        .always(Behaviour::Fail(MintErrorKind::Unreachable));
    let images = [IMAGE, &image_in(2, "us-east-2")];
    for image in images {
        service.mutate(&create_with("team-a", image)).await;
    }
    service.tokens.by_key(|key| match &*key.region {
        "eu-west-1" => Behaviour::Give(LIFE),
        _ => Behaviour::Fail(MintErrorKind::Denied),
    });
    sleep(2 * MINUTE).await;
    assert_eq!(service.registries("team-a"), [REGISTRY]);
    assert_eq!(service.admission.healing(), 1);
    service.tokens.always(Behaviour::Give(LIFE));
    sleep(20 * MINUTE).await;
    assert_eq!(service.registries("team-a").len(), 2);
    assert_eq!(service.admission.healing(), 0);
}

#[tokio::test(start_paused = true)]
async fn healing_ends_with_the_namespace() {
    for phase in [NamespacePhase::Missing, NamespacePhase::Terminating] {
        let service = Service::new();
        service
            .tokens
            .always(Behaviour::Fail(MintErrorKind::Unreachable));
        service.mutate(&create_with("team-a", IMAGE)).await;
        service.store.cluster.set_namespace("team-a", phase);
        service.tokens.always(Behaviour::Give(LIFE));
        sleep(20 * MINUTE).await;
        assert_eq!(service.admission.healing(), 0);
        assert_eq!(service.store.calls(), [Call::Create]);
    }
}

#[tokio::test(start_paused = true)]
async fn healing_gives_up_after_twelve_hours() {
    let service = Service::new();
    service
        .tokens
        .always(Behaviour::Fail(MintErrorKind::Denied));
    service.mutate(&create_with("team-a", IMAGE)).await;
    sleep(13 * 60 * MINUTE).await;
    assert_eq!(service.admission.healing(), 0);
    let attempts = service.tokens.count();
    assert!(attempts < 12 * 60 / 5 + 10, "{attempts} attempts");
}

#[tokio::test(start_paused = true)]
async fn a_slow_mint_is_answered_before_the_deadline_and_ends_later() {
    for policy in [ecr_admission::policy::Policy::default(), denying()] {
        let denies = policy == denying();
        let service = Service::with(policy);
        service
            .tokens
            .always(Behaviour::Slow(Duration::from_secs(10)));
        let before = service.clock.monotonic();
        let answer = service.mutate(&create_with("team-a", IMAGE)).await;
        assert!(service.clock.monotonic() - before <= Duration::from_millis(4_501));
        assert_eq!(answer.is_allowed(), !denies);
        if denies {
            insta::assert_snapshot!(answer.said(), @"refused: no pull credential: it was not ready in time");
        } else {
            insta::assert_snapshot!(answer.said(), @"warning: no pull credential yet, still trying: it was not ready in time");
        }
        sleep(Duration::from_secs(6)).await;
        assert_eq!(service.registries("team-a"), [REGISTRY]);
        assert_eq!(service.tokens.count(), 1);
        sleep(MINUTE).await;
        assert_eq!(service.admission.healing(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_is_answered_before_the_deadline_and_written_later() {
    let service = Service::new();
    service
        .store
        .before(|_, _| Trouble::Slow(Duration::from_secs(8)));
    let before = service.clock.monotonic();
    let answer = service.mutate(&create_with("team-a", IMAGE)).await;
    assert!(answer.patch().is_some() && answer.warnings().len() == 1);
    assert!(service.clock.monotonic() - before <= Duration::from_millis(4_501));
    sleep(Duration::from_secs(4)).await;
    assert_eq!(service.registries("team-a"), [REGISTRY]);
    sleep(MINUTE).await;
    assert_eq!(service.store.calls(), [Call::Create]);
}

#[tokio::test(start_paused = true)]
async fn an_admission_that_is_cancelled_does_not_take_the_work_along() {
    let service = Service::new();
    service
        .tokens
        .always(Behaviour::Slow(Duration::from_secs(3)));
    let review = create_with("team-a", IMAGE);
    let cancelled = tokio::time::timeout(Duration::from_secs(1), service.mutate(&review)).await;
    assert!(cancelled.is_err());
    sleep(Duration::from_secs(3)).await;
    assert_eq!(service.registries("team-a"), [REGISTRY]);
    assert_eq!(service.tokens.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_an_outside_system_is_a_missing_credential_and_poisons_nothing() {
    let service = Service::new();
    service.store.before(|_, _| Trouble::Panic);
    let answer = service.mutate(&create_with("team-a", IMAGE)).await;
    insta::assert_snapshot!(answer.said(), @"warning: no pull credential yet, still trying: making it ended unexpectedly; see the log of ecr-admission");
    service.store.heal();
    assert!(
        service
            .mutate(&create_with("team-a", IMAGE))
            .await
            .is_injected()
    );

    service.tokens.always(Behaviour::Panic);
    let answer = service
        .mutate(&create_with("team-b", &image_in(2, "us-east-2")))
        .await;
    insta::assert_snapshot!(answer.said(), @"warning: no pull credential yet, still trying: 000000000002.dkr.ecr.us-east-2.amazonaws.com: making the ECR token ended unexpectedly; see the log of ecr-admission");
    service.tokens.always(Behaviour::Give(LIFE));
    sleep(2 * MINUTE).await;
    assert_eq!(service.registries("team-b").len(), 1);

    // A renewal in the background is not lost for ever either.
    service.store.before(|_, _| Trouble::Panic);
    sleep(7 * 60 * MINUTE).await;
    assert!(
        service
            .mutate(&create_with("team-a", IMAGE))
            .await
            .is_injected()
    );
    sleep(MINUTE).await;
    service.store.heal();
    let before = service.password("team-a", REGISTRY);
    assert!(
        service
            .mutate(&create_with("team-a", IMAGE))
            .await
            .is_injected()
    );
    sleep(MINUTE).await;
    assert_ne!(service.password("team-a", REGISTRY), before);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_fills_the_queue_and_the_rest_is_told_at_once() {
    let service = Service::with(denying());
    service.store.before(|_, _| Trouble::Hang);
    let reviews: Vec<_> = (0..5_000)
        .map(|n| create_with(&format!("team-{n}"), IMAGE))
        .collect();
    let answers = reviews.iter().map(|review| service.mutate(review));
    let answers = futures_util::future::join_all(answers).await;
    let busy = answers
        .iter()
        .filter(|answer| answer.message().contains("busy"));
    assert_eq!(busy.count(), 5_000 - 4_096);
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_store_is_named() {
    let clock = ecr_admission::clock::Clock::simulated(crate::support::service::START, 1);
    let cluster = ecr_admission::secret::memory::MemorySecretStore::new(clock.clone());
    let service = Service::unwatched(denying(), &clock, &cluster.into());
    service
        .store
        .before(|_, _| Trouble::Fail(StoreErrorKind::Unreachable));
    let answer = service.mutate(&create_with("team-a", IMAGE)).await;
    insta::assert_snapshot!(answer.said(), @r#"refused: no pull credential: cannot Get Secret "ecr-pull-secret": the API server said unreachable"#);
}
