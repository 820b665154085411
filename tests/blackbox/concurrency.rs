//! Many at once: one mint for all, one Secret for each namespace, and nobody waits for a stranger's failure.

use std::time::Duration;

use ecr_admission::token::MintErrorKind;
use futures_util::future::join_all;

use crate::support::mint::{Behaviour, LIFE};
use crate::support::review::{IMAGE, REGISTRY, create_pod, create_with, image_in, pod};
use crate::support::service::{Answered, Service, denying};
use crate::support::store::{Call, Trouble};

#[tokio::test(start_paused = true)]
async fn a_thousand_admissions_in_two_hundred_new_namespaces_cost_one_mint_and_one_create_each() {
    let service = Service::with(denying());
    service
        .tokens
        .always(Behaviour::Slow(Duration::from_millis(300)));
    service
        .store
        .before(|_, _| Trouble::Slow(Duration::from_millis(50)));
    let namespaces: Vec<String> = (0..1_000).map(|n| format!("team-{}", n % 200)).collect();
    let reviews: Vec<_> = namespaces
        .iter()
        .map(|name| create_with(name, IMAGE))
        .collect();
    let answers = join_all(reviews.iter().map(|review| service.mutate(review))).await;
    assert!(answers.iter().all(Answered::is_injected));
    assert_eq!(service.tokens.count(), 1);
    assert_eq!(service.store.calls(), [Call::Create; 200]);
    assert_eq!(service.index.len(), 200);
    assert!((0..200).all(|n| service.registries(&format!("team-{n}")) == [REGISTRY]));
}

#[tokio::test(start_paused = true)]
async fn the_same_holds_on_many_threads() {
    // Real threads need real time.
    let outcome = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let service = std::sync::Arc::new(Service::with(denying()));
            service
                .tokens
                .always(Behaviour::Slow(Duration::from_millis(20)));
            let tasks = (0..500).map(|n| {
                let service = std::sync::Arc::clone(&service);
                tokio::spawn(async move {
                    let review = create_with(&format!("team-{}", n % 50), IMAGE);
                    service.mutate(&review).await.is_injected()
                })
            });
            let injected = join_all(tasks)
                .await
                .into_iter()
                .all(|injected| injected.unwrap());
            (
                injected,
                service.tokens.count(),
                service.store.calls().len(),
            )
        })
    });
    assert_eq!(outcome.join().unwrap(), (true, 1, 50));
}

#[tokio::test(start_paused = true)]
async fn pods_that_ask_a_new_namespace_for_different_registries_at_once_all_get_theirs() {
    let service = Service::with(denying());
    let images: Vec<String> = (0..20).map(|n| image_in(n, "eu-west-1")).collect();
    let reviews: Vec<_> = images
        .iter()
        .map(|image| create_with("team-a", image))
        .collect();
    let answers = join_all(reviews.iter().map(|review| service.mutate(review))).await;
    assert!(answers.iter().all(Answered::is_injected));
    assert_eq!(service.registries("team-a").len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_region_that_is_slow_delays_neither_other_pods_nor_the_pod_s_other_registries() {
    let service = Service::new();
    service.tokens.by_key(|key| match &*key.region {
        "eu-west-1" => Behaviour::Give(LIFE),
        _ => Behaviour::SlowFail(Duration::from_secs(14)),
    });
    let both = create_pod("team-a", &pod(&[IMAGE, &image_in(2, "us-east-2")]));
    let before = service.clock.monotonic();
    let (both, one) = tokio::join!(service.mutate(&both), async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert_eq!(service.registries("team-a"), [REGISTRY]);
        let answer = service.mutate(&create_with("team-a", IMAGE)).await;
        assert!(service.clock.monotonic() - before < Duration::from_secs(2));
        answer
    });
    assert!(one.is_injected());
    assert_eq!(both.warnings().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn invented_regions_that_answer_slowly_do_not_hold_up_a_renewal() {
    let service = Service::with(denying());
    assert!(
        service
            .mutate(&create_with("team-a", IMAGE))
            .await
            .is_injected()
    );
    tokio::time::sleep(LIFE).await;
    service.tokens.by_key(|key| match &*key.region {
        "eu-west-1" => Behaviour::Give(LIFE),
        _ => Behaviour::SlowFail(Duration::from_secs(14)),
    });
    let invented: Vec<_> = (1..=30)
        .map(|n| {
            create_with(
                &format!("evil-{n}"),
                &image_in(1, &format!("eu-west-{}", n + 10)),
            )
        })
        .collect();
    let attack = join_all(invented.iter().map(|review| service.mutate(review)));
    let victim = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = service.clock.monotonic();
        let answer = service.mutate(&create_with("team-a", IMAGE)).await;
        (answer.is_injected(), service.clock.monotonic() - before)
    };
    let (_, (injected, took)) = tokio::join!(attack, victim);
    assert!(injected && took < Duration::from_secs(1), "{took:?}");
    assert!(service.tokens.most_under_way() <= 8);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_remembered_for_a_minute_so_that_nobody_waits_for_it_again() {
    let service = Service::new();
    service
        .tokens
        .always(Behaviour::SlowFail(Duration::from_secs(4)));
    let review = create_with("team-a", &image_in(1, "eu-west-77"));
    assert_eq!(
        service.mutate(&review).await.warnings().len(),
        2,
        "unknown region, and no token"
    );
    let before = service.clock.monotonic();
    for n in 0..100 {
        let elsewhere = create_with(&format!("team-{n}"), &image_in(1, "eu-west-77"));
        assert!(!service.mutate(&elsewhere).await.warnings().is_empty());
    }
    assert_eq!(service.clock.monotonic(), before);
    service
        .tokens
        .always(Behaviour::Fail(MintErrorKind::Denied));
}
