//! Events: what people in a namespace are told, how often, and that it costs nobody anything.

use std::sync::Arc;
use std::time::Duration;

use ecr_admission::clock::Clock;
use ecr_admission::event::{Event, EventSink, Events, Kind, Metrics, Severity, Subject, Written};
use ecr_admission::kubernetes::{self, KubeEvents};
use ecr_admission::secret::StoreErrorKind;
use ecr_admission::token::MintErrorKind;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::time::sleep;

use crate::support::api_server::{ApiServer, Resource, Verb};
use crate::support::events::Noticeboard;
use crate::support::mint::{Behaviour, PASSWORD};
use crate::support::review::{IMAGE, create_with, dry_run, image_in};
use crate::support::service::{START, Service};
use crate::writing::add_foreign;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

fn event(name: &str) -> Event {
    Event {
        subject: Subject::new(Kind::Pod, "team-a", name),
        severity: Severity::Warning,
        reason: "Tried",
        note: "something is to be done".to_owned(),
    }
}

/// A recorder that is run, where it writes, and its counts.
fn recorder() -> (Arc<Events>, Arc<Noticeboard>, Registry) {
    let mut registry = Registry::default();
    let board = Arc::new(Noticeboard::default());
    let sink = Arc::clone(&board) as Arc<dyn EventSink>;
    let metrics = Metrics::register(&mut registry);
    let events = Arc::new(Events::new(sink, Clock::simulated(START, 1), metrics));
    let running = Arc::clone(&events);
    tokio::spawn(async move { running.run().await });
    (events, board, registry)
}

fn counted(registry: &Registry, result: &str) -> u64 {
    let mut page = String::new();
    encode(&mut page, registry).unwrap();
    let start = format!("events_total{{result=\"{result}\"}} ");
    let value = page.lines().find_map(|line| line.strip_prefix(&start));
    value.map_or(0, |value| value.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_same_is_told_once_an_hour() {
    let (events, board, registry) = recorder();
    for _ in 0..59 {
        events.tell(event("app"));
        sleep(MINUTE).await;
    }
    assert_eq!(board.take().len(), 1);
    events.tell(Event {
        reason: "Another",
        ..event("app")
    });
    sleep(MINUTE).await;
    assert_eq!(board.take().len(), 1, "another reason is news");
    events.tell(event("app"));
    sleep(SECOND).await;
    assert_eq!(board.take().len(), 1, "it is an hour old");
    assert_eq!(counted(&registry, "written"), 3);
}

#[tokio::test(start_paused = true)]
async fn sixty_a_minute_are_written_a_few_hundred_wait_and_the_rest_is_counted() {
    let (events, board, registry) = recorder();
    for number in 0..1_000 {
        events.tell(event(&format!("app-{number}")));
    }
    sleep(SECOND).await;
    assert_eq!(board.take().len(), 60);
    assert_eq!(counted(&registry, "dropped"), 1_000 - 256);
    for _ in 0..3 {
        sleep(MINUTE).await;
        assert_eq!(board.take().len(), 60);
    }
    sleep(2 * MINUTE).await;
    assert_eq!(board.take().len(), 256 - 4 * 60);
    // What was dropped has not been told.
    events.tell(event("app-999"));
    sleep(SECOND).await;
    assert_eq!(board.take().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_bounded_and_room_comes_back() {
    let (events, board, registry) = recorder();
    for number in 0..12_000 {
        events.tell(event(&format!("app-{number}")));
        if number % 200 == 199 {
            sleep(4 * MINUTE / 3).await;
        }
    }
    sleep(10 * MINUTE).await;
    let told = board.take().len();
    assert!(told >= 3_000, "{told}");
    assert!(counted(&registry, "dropped") < 9_000);
    sleep(60 * MINUTE).await;
    events.tell(event("app-0"));
    sleep(SECOND).await;
    assert_eq!(board.take().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_is_told_again_but_not_where_that_is_forbidden() {
    for (kind, again) in [
        (StoreErrorKind::Unavailable, true),
        (StoreErrorKind::Refused, false),
    ] {
        let (events, board, registry) = recorder();
        board.fail(Some(kind));
        events.tell(event("app"));
        sleep(SECOND).await;
        board.fail(None);
        events.tell(event("app"));
        sleep(SECOND).await;
        assert_eq!(!board.take().is_empty(), again, "{kind:?}");
        assert_eq!(board.tried(), if again { 2 } else { 1 });
        assert_eq!(counted(&registry, kind.label()), 1);
    }
}

#[tokio::test]
async fn the_api_server_takes_an_event_once_whoever_tells_it() {
    let api = ApiServer::start().await;
    api.add_namespace("team-a");
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = api.write_kubeconfig(folder.path());
    let cluster = kubernetes::connect(Some(&kubeconfig), None).await.unwrap();
    let replica = |name: &str| KubeEvents::new(cluster.requests.clone(), name, Clock::system());
    let token = PASSWORD.repeat(10);
    let told = Event {
        note: format!("the token {token} leaked, {}", "and so on ".repeat(500)),
        ..event(&"a".repeat(253))
    };
    let long = "r".repeat(1_000);
    assert_eq!(replica(&long).write(&told).await.unwrap(), Written::New);
    assert_eq!(replica("").write(&told).await.unwrap(), Written::Known);
    let [kept] = &api.events("team-a")[..] else {
        panic!("not one Event");
    };
    assert_eq!(
        kept["regarding"],
        json!({"apiVersion": "v1", "kind": "Pod", "namespace": "team-a", "name": "a".repeat(253), "uid": null})
    );
    assert_eq!(
        (&kept["reason"], &kept["type"]),
        (&json!("Tried"), &json!("Warning"))
    );
    assert!(!kept.to_string().contains(PASSWORD), "{kept}");

    let elsewhere = Event {
        subject: Subject::namespace("team-b"),
        ..event("app")
    };
    let error = replica("one").write(&elsewhere).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NamespaceMissing);
    let refusal = (403, "Forbidden", "events.events.k8s.io is forbidden");
    api.refuse((Verb::Create, Resource::Events), 1, refusal);
    let error = replica("one").write(&event("app")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot create an Event in namespace \"team-a\": events.events.k8s.io is forbidden"
    );
}

#[tokio::test(start_paused = true)]
async fn a_foreign_secret_is_told_once_however_many_pods_come() {
    let service = Service::new();
    add_foreign(&service, "team-a");
    for _ in 0..50 {
        service.mutate(&create_with("team-a", IMAGE)).await;
    }
    sleep(10 * MINUTE).await;
    insta::assert_snapshot!(service.events.said(), @r#"Warning ForeignPullSecret Secret/ecr-pull-secret: Secret "ecr-pull-secret" in namespace "team-a" is not ours, it lacks the label app.kubernetes.io/managed-by=ecr-admission: delete it, or put the label on it to have its content replaced"#);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_refused_is_told_and_one_that_may_work_in_a_moment_is_not() {
    let service = Service::new();
    for (kind, namespace) in [
        (StoreErrorKind::Refused, "team-a"),
        (StoreErrorKind::Unavailable, "team-b"),
        (StoreErrorKind::NamespaceTerminating, "team-c"),
    ] {
        service.store.refuse_writes(kind);
        service
            .mutate(&dry_run(create_with(namespace, IMAGE)))
            .await;
        service.mutate(&create_with(namespace, IMAGE)).await;
    }
    sleep(SECOND).await;
    insta::assert_snapshot!(service.events.said(), @r#"Warning PullSecretRefused Secret/ecr-pull-secret: cannot Create Secret "ecr-pull-secret": the API server said refused"#);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_takes_somebody_to_act_is_told_for_each_namespace() {
    let service = Service::new();
    for (kind, region) in [
        (MintErrorKind::Denied, "us-east-1"),
        (MintErrorKind::Throttled, "us-east-2"),
        (MintErrorKind::TimedOut, "us-west-1"),
    ] {
        service.tokens.always(Behaviour::Fail(kind));
        for team in ["a", "b"] {
            let namespace = format!("{team}-{region}");
            let review = create_with(&namespace, &image_in(1, region));
            service.mutate(&review).await;
        }
    }
    sleep(SECOND).await;
    insta::assert_snapshot!(service.events.said(), @"
    Warning NoPullCredential Namespace/a-us-east-1: 000000000001.dkr.ecr.us-east-1.amazonaws.com: ECR in us-east-1 is down (denied)
    Warning NoPullCredential Namespace/b-us-east-1: 000000000001.dkr.ecr.us-east-1.amazonaws.com: ECR in us-east-1 is down (denied)
    ");
}
