//! How much one namespace may ask for, and what it is told beyond that.

use std::time::Duration;

use ecr_admission::secret::StoreErrorKind;

use crate::support::review::{IMAGE, create_pod, create_with, image_in, pod};
use crate::support::service::{Service, denying};
use crate::support::store::Call;

async fn admit(service: &Service, image: &str) -> bool {
    let review = create_with("team-a", image);
    service.mutate(&review).await.is_injected()
}

#[tokio::test(start_paused = true)]
async fn a_full_secret_gives_up_what_no_pod_uses_and_only_then_refuses() {
    let service = Service::with(denying());
    for first in [0, 32] {
        let images: Vec<String> = (first..first + 32)
            .map(|n| image_in(n, "eu-west-1"))
            .collect();
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        assert!(
            service
                .mutate(&create_pod("team-a", &pod(&images)))
                .await
                .is_injected()
        );
        tokio::time::sleep(Duration::from_mins(11)).await;
    }
    assert_eq!(service.registries("team-a").len(), 64);
    let in_use = (1..64).map(|n| image_in(n, "eu-west-1"));
    service.pods.run(in_use.clone());
    assert!(admit(&service, &image_in(100, "eu-west-1")).await);
    let registries = service.registries("team-a");
    assert_eq!(registries.len(), 64);
    assert!(!registries[0].starts_with("000000000000"));

    service.pods.run(in_use.chain([image_in(100, "eu-west-1")]));
    let answer = service
        .mutate(&create_with("team-a", &image_in(101, "eu-west-1")))
        .await;
    insta::assert_snapshot!(answer.said(), @r#"refused: no pull credential: Secret "ecr-pull-secret" in namespace "team-a" is full (64 registries, all in use): spread the Pods over more namespaces"#);
    assert!(admit(&service, &image_in(1, "eu-west-1")).await);
}

#[tokio::test(start_paused = true)]
async fn a_pod_of_more_registries_than_a_secret_can_hold_is_told_so_at_once() {
    let images: Vec<String> = (0..5_000).map(|n| image_in(n, "eu-west-1")).collect();
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let service = Service::new();
    let answer = service.mutate(&create_pod("team-a", &pod(&images))).await;
    insta::assert_snapshot!(answer.said(), @"warning: no pull credential: this Pod names more than 64 ECR registries, which is more than a Secret holds");
    assert_eq!(
        (service.tokens.count(), service.admission.healing()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_namespace_may_ask_for_so_many_new_registries_and_again_for_the_same_without_end() {
    let service = Service::new();
    service.store.refuse_writes(StoreErrorKind::Unavailable);
    for _ in 0..100 {
        let answer = service.mutate(&create_with("team-a", IMAGE)).await;
        assert!(answer.said().contains("unavailable"), "{}", answer.said());
    }
    service.store.heal();
    for n in 0..31 {
        assert!(admit(&service, &image_in(n, "eu-west-1")).await, "{n}");
    }
    let answer = service
        .mutate(&create_with("team-a", &image_in(99, "eu-west-1")))
        .await;
    insta::assert_snapshot!(answer.said(), @"warning: no pull credential yet, still trying: namespace team-a asked for more than 32 new ECR registries within 10 minutes; try again later");
    let elsewhere = create_with("team-b", &image_in(99, "eu-west-1"));
    assert!(service.mutate(&elsewhere).await.is_injected());
    tokio::time::sleep(Duration::from_mins(11)).await;
    assert!(admit(&service, &image_in(99, "eu-west-1")).await);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_pods_of_a_namespace_whose_writes_are_refused_are_no_storm() {
    let service = Service::new();
    service.store.refuse_writes(StoreErrorKind::Refused);
    for _ in 0..1_000 {
        let answer = service.mutate(&create_with("team-a", IMAGE)).await;
        assert_eq!(answer.warnings().len(), 1);
    }
    assert_eq!(service.store.calls(), [Call::Create]);
    service.store.heal();
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(admit(&service, IMAGE).await);
}
