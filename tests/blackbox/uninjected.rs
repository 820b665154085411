//! Pods that were created past us, and that no Secret will ever help: named and counted.

use std::time::Duration;

use ecr_admission::secret::PodSight;
use tokio::time::sleep;

use crate::reconciling::{pod, run};
use crate::support::review::{IMAGE, REGISTRY};
use crate::support::service::Service;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// A Pod that was created past us and waits for its image.
fn uninjected(namespace: &str, image: &str) -> PodSight {
    PodSight {
        failing: vec![image.to_owned()],
        pull_secrets: Vec::new(),
        ..pod(namespace, image)
    }
}

fn unhealable(service: &Service) -> String {
    let metrics = service.metrics();
    let start = "ecr_admission_pods_to_recreate ";
    let value = metrics.lines().find_map(|line| line.strip_prefix(start));
    value.unwrap().to_owned()
}

/// How often all Pods were looked through.
fn surveys(service: &Service) -> u64 {
    let metrics = service.metrics();
    let start = "ecr_admission_reconciliations_total{result=\"ok\"} ";
    let value = metrics.lines().find_map(|line| line.strip_prefix(start));
    value.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_cannot_heal_is_named_and_counted_until_it_is_gone() {
    let service = Service::new();
    let native = PodSight {
        failing: Vec::new(),
        ..uninjected("native", IMAGE)
    };
    let elsewhere = PodSight {
        failing: vec!["nginx".to_owned()],
        images: vec![IMAGE.to_owned(), "nginx".to_owned()],
        ..uninjected("elsewhere", IMAGE)
    };
    let on_purpose = PodSight {
        opts_out: true,
        ..uninjected("on-purpose", IMAGE)
    };
    let waiting = PodSight {
        failing: vec![IMAGE.to_owned()],
        ..pod("waiting", IMAGE)
    };
    let lost = uninjected("team-a", IMAGE);
    service
        .pods
        .show([native.clone(), elsewhere, on_purpose, waiting, lost]);
    run(&service);
    sleep(MINUTE).await;
    assert_eq!(unhealable(&service), "1");
    let told = service.events.take();
    let [event] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(event.subject.uid.as_deref(), Some("uid-of-team-a"));
    insta::assert_snapshot!(event.note, @r#"this Pod cannot pull from 123456789012.dkr.ecr.eu-west-1.amazonaws.com and will not: Secret "ecr-pull-secret" is not in its imagePullSecrets, which cannot be changed; delete the Pod, so that it is created anew"#);
    // What is created anew finds its Secret.
    assert_eq!(service.registries("team-a"), [REGISTRY]);
    service.pods.show([native]);
    sleep(HOUR).await;
    assert_eq!(unhealable(&service), "0");
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_has_not_started_when_all_are_looked_at_is_named_minutes_after_it_fails() {
    let service = Service::new();
    let lost = PodSight {
        pending: true,
        ..uninjected("team-a", IMAGE)
    };
    let scheduled = PodSight {
        failing: Vec::new(),
        ..lost.clone()
    };
    service.pods.show([scheduled]);
    run(&service);
    sleep(MINUTE / 2).await;
    assert_eq!(unhealable(&service), "0");
    assert!(service.events.take().is_empty());
    service.pods.show([lost]);
    sleep(MINUTE).await;
    assert_eq!(unhealable(&service), "1");
    assert_eq!(service.events.take().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pods_that_never_start_are_looked_at_less_and_less_often() {
    let service = Service::new();
    service.pods.show([PodSight {
        pending: true,
        failing: Vec::new(),
        ..uninjected("team-a", IMAGE)
    }]);
    run(&service);
    sleep(HOUR).await;
    assert_eq!(surveys(&service), 6, "after 0, 1, 3, 7, 15 and 31 minutes");
    sleep(10 * HOUR).await;
    let later = surveys(&service) - 6;
    assert!((8..=12).contains(&later), "{later} in ten hours");
}

#[tokio::test(start_paused = true)]
async fn pods_that_will_not_be_told_of_are_not_waited_for() {
    let service = Service::new();
    let waits = |sight: PodSight| PodSight {
        pending: true,
        failing: Vec::new(),
        ..sight
    };
    let opted_out = PodSight {
        opts_out: true,
        ..uninjected("team-a", IMAGE)
    };
    let started = PodSight {
        pending: false,
        ..waits(uninjected("team-b", IMAGE))
    };
    service.pods.show([
        waits(opted_out),
        started,
        waits(pod("names-it", IMAGE)),
        waits(uninjected("elsewhere", "nginx")),
        // Told of at once.
        uninjected("team-c", IMAGE),
    ]);
    run(&service);
    sleep(30 * MINUTE).await;
    assert_eq!(surveys(&service), 1);
}
