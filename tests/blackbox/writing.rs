//! Writing a namespace's Secret: compare-and-swap against rivals, and respect for what is not ours.

use std::sync::Arc;
use std::time::Duration;

use ecr_admission::clock::{Clock, add};
use ecr_admission::policy::Policy;
use ecr_admission::secret::memory::{MemorySecretStore, NamespacePhase};
use ecr_admission::secret::{DataWriter, SecretMetadata, StoreErrorKind, StoredSecret};
use ecr_admission::token::MintErrorKind;
use secrecy::SecretSlice;
use serde_json::json;

use crate::support::mint::{Behaviour, LIFE};
use crate::support::review::{IMAGE, REGISTRY, create_with, image_in};
use crate::support::service::{START, Service, denying};
use crate::support::store::{Call, Trouble};

const OTHER: &str = "000000000002.dkr.ecr.us-east-2.amazonaws.com";

/// A Secret of our name that somebody else made.
pub(crate) fn add_foreign(service: &Service, namespace: &str) {
    service.store.cluster.change(namespace, |_| {
        Some(StoredSecret {
            metadata: SecretMetadata {
                uid: String::new(),
                resource_version: String::new(),
                owned: false,
                state: None,
                data_writer: DataWriter::SomebodyElse,
            },
            writable: true,
            docker_config: Some(SecretSlice::from(b"theirs".to_vec())),
        })
    });
}

fn edit(service: &Service, namespace: &str, change: impl FnOnce(&mut StoredSecret)) {
    service.store.cluster.change(namespace, |secret| {
        let mut secret = secret.unwrap();
        change(&mut secret);
        Some(secret)
    });
}

/// Somebody overwrites the data.
fn tamper(service: &Service, namespace: &str, writer: DataWriter) {
    edit(service, namespace, |secret| {
        let broken = br#"{"auths":{}}"#.to_vec();
        secret.docker_config = Some(SecretSlice::from(broken));
        secret.metadata.data_writer = writer;
    });
}

/// Puts an entry into the state (and data) as another replica may have written it.
fn add_entry(service: &Service, namespace: &str, key: &str, entry: serde_json::Value) {
    edit(service, namespace, |secret| {
        let state = secret.metadata.state.as_deref().unwrap();
        let mut state: serde_json::Value = serde_json::from_str(state).unwrap();
        state["entries"][key] = entry;
        secret.metadata.state = Some(state.to_string());
        let mut config = ecr_admission::pull_secret::docker_config::DockerConfig::parse(
            secrecy::ExposeSecret::expose_secret(secret.docker_config.as_ref().unwrap()),
        );
        config.insert(key, "theirs");
        let document = config.render();
        let document = secrecy::ExposeSecret::expose_secret(&document)
            .as_bytes()
            .to_vec();
        secret.docker_config = Some(SecretSlice::from(document));
    });
}

async fn admit(service: &Service, image: &str) -> bool {
    service
        .mutate(&create_with("team-a", image))
        .await
        .is_injected()
}

#[tokio::test(start_paused = true)]
async fn a_write_that_loses_against_a_rival_is_merged_and_tried_again() {
    let service = Service::new();
    assert!(admit(&service, IMAGE).await);
    let mut rivals = 0;
    service.store.before(move |call, cluster| {
        if call == Call::Update && rivals < 5 {
            rivals += 1;
            // Any write makes the version that we read an old one.
            cluster.change("team-a", |secret| secret);
        }
        Trouble::None
    });
    assert!(admit(&service, &image_in(2, "us-east-2")).await);
    assert_eq!(service.registries("team-a"), [OTHER, REGISTRY]);
    assert!(
        service.metrics().contains("secret_write_conflicts_total 5"),
        "{}",
        service.metrics()
    );
}

#[tokio::test(start_paused = true)]
async fn a_rival_that_calls_or_deletes_first_is_reread() {
    let clock = Clock::simulated(START, 1);
    let cluster = Arc::new(MemorySecretStore::new(clock.clone()));
    let rival = Service::over(Policy::default(), &clock, &cluster);
    // Its watch is alive but late: it never tells of the rival's Secret.
    let service = Service::unwatched(Policy::default(), &clock, &cluster);
    ecr_admission::watch::Mirror::heard(&*service.index);
    assert!(admit(&rival, &image_in(2, "us-east-2")).await);
    assert!(admit(&service, IMAGE).await);
    assert_eq!(
        service.store.calls(),
        [Call::Create, Call::Get, Call::Update]
    );
    assert_eq!(service.registries("team-a"), [OTHER, REGISTRY]);

    let mut once = true;
    service.store.before(move |call, cluster| {
        if call == Call::Update && std::mem::take(&mut once) {
            cluster.change("team-a", |_| None);
        }
        Trouble::None
    });
    assert!(admit(&service, &image_in(3, "us-west-1")).await);
    assert_eq!(
        service.store.calls(),
        [Call::Get, Call::Update, Call::Get, Call::Create]
    );
    assert_eq!(service.registries("team-a").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_writes_without_end_is_named_and_not_fought_for_ever() {
    let service = Service::new();
    assert!(admit(&service, IMAGE).await);
    service.store.refuse_writes(StoreErrorKind::Conflict);
    let answer = service
        .mutate(&create_with("team-a", &image_in(2, "us-east-2")))
        .await;
    insta::assert_snapshot!(answer.said(), @r#"warning: no pull credential yet, still trying: cannot write Secret "ecr-pull-secret" in namespace "team-a": somebody else wrote it at each of 10 attempts; find out who keeps writing it"#);
    assert!(service.store.calls().len() < 25);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_secret_is_never_touched_and_the_message_says_what_to_do() {
    for policy in [Policy::default(), denying()] {
        let service = Service::with(policy.clone());
        add_foreign(&service, "team-a");
        let answer = service.mutate(&create_with("team-a", IMAGE)).await;
        if policy == denying() {
            insta::assert_snapshot!(answer.said(), @r#"refused: no pull credential: Secret "ecr-pull-secret" in namespace "team-a" is not ours, it lacks the label app.kubernetes.io/managed-by=ecr-admission: delete it, or put the label on it to have its content replaced"#);
        } else {
            insta::assert_snapshot!(answer.said(), @r#"warning: no pull credential yet, still trying: Secret "ecr-pull-secret" in namespace "team-a" is not ours, it lacks the label app.kubernetes.io/managed-by=ecr-admission: delete it, or put the label on it to have its content replaced"#);
        }
        // The index knows it: neither a call of the store nor a token is spent on it.
        assert!(service.store.calls().is_empty());
        assert_eq!(service.tokens.count(), 0);
        let secret = service.secret("team-a").unwrap();
        let data =
            secrecy::ExposeSecret::expose_secret(secret.docker_config.as_ref().unwrap()).to_vec();
        assert_eq!(data, b"theirs");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_ours_that_cannot_be_updated_is_made_anew() {
    let service = Service::new();
    assert!(admit(&service, IMAGE).await);
    let before = service.secret("team-a").unwrap().metadata.uid;
    edit(&service, "team-a", |secret| secret.writable = false);
    assert!(admit(&service, &image_in(2, "us-east-2")).await);
    assert_ne!(service.secret("team-a").unwrap().metadata.uid, before);
    assert_eq!(service.registries("team-a"), [OTHER]);
}

#[tokio::test(start_paused = true)]
async fn an_edit_by_somebody_else_is_repaired_once_in_ten_minutes_with_every_entry() {
    for writer in [DataWriter::SomebodyElse, DataWriter::Untracked] {
        let service = Service::new();
        assert!(admit(&service, IMAGE).await);
        assert!(admit(&service, &image_in(2, "us-east-2")).await);
        service.store.calls();

        tamper(&service, "team-a", writer);
        assert!(admit(&service, IMAGE).await);
        assert_eq!(service.store.calls(), [Call::Get, Call::Update]);
        assert_eq!(service.registries("team-a"), [OTHER, REGISTRY]);

        tokio::time::sleep(Duration::from_mins(1)).await;
        tamper(&service, "team-a", writer);
        for _ in 0..20 {
            assert!(admit(&service, IMAGE).await);
        }
        assert!(
            service.store.calls().is_empty(),
            "a second repair within ten minutes"
        );

        tokio::time::sleep(Duration::from_mins(10)).await;
        assert!(admit(&service, IMAGE).await);
        assert_eq!(service.store.calls(), [Call::Get, Call::Update]);
        assert_eq!(service.registries("team-a"), [OTHER, REGISTRY]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_repair_neither_waits_for_nor_fails_with_a_registry_that_this_pod_does_not_use() {
    for trouble in [
        Behaviour::Fail(MintErrorKind::Denied),
        Behaviour::Slow(Duration::from_secs(12)),
    ] {
        let service = Service::with(denying());
        assert!(admit(&service, IMAGE).await);
        assert!(admit(&service, &image_in(2, "us-east-2")).await);
        // All tokens have become unusable, and one region is in trouble.
        tokio::time::sleep(LIFE).await;
        service.tokens.by_key(move |key| match &*key.region {
            "us-east-2" => trouble,
            _ => Behaviour::Give(LIFE),
        });
        tamper(&service, "team-a", DataWriter::SomebodyElse);
        assert!(admit(&service, IMAGE).await, "{trouble:?}");
        assert_eq!(service.registries("team-a"), [REGISTRY]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_newer_version_or_policy_generation_wrote_is_left_alone_while_it_lives() {
    let lives = |version: u32, generation: u64| {
        json!({"v": version, "issuedAt": START.to_string(), "expiresAt": add(START, LIFE).to_string(),
               "identity": "somebody-newer", "generation": generation})
    };
    for newer in [lives(2, 0), lives(1, 7)] {
        let service = Service::new();
        assert!(admit(&service, &image_in(2, "us-east-2")).await);
        add_entry(&service, "team-a", REGISTRY, newer);
        service.store.calls();
        for _ in 0..3 {
            assert!(admit(&service, IMAGE).await);
        }
        // Below the floor, too: another version may know better what its entry is good for.
        tokio::time::sleep(Duration::from_mins(11 * 60 + 30)).await;
        assert!(admit(&service, IMAGE).await);
        assert!(!service.store.calls().contains(&Call::Update));
        assert_eq!(service.password("team-a", REGISTRY).unwrap(), "theirs");

        tokio::time::sleep(Duration::from_mins(31)).await;
        assert!(admit(&service, IMAGE).await);
        assert_ne!(service.password("team-a", REGISTRY).unwrap(), "theirs");
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_only_a_newer_version_understands_survives_our_writes() {
    let service = Service::new();
    assert!(admit(&service, IMAGE).await);
    add_entry(
        &service,
        "team-a",
        "somewhere/",
        json!({"v": 7, "lease": []}),
    );
    assert!(admit(&service, &image_in(2, "us-east-2")).await);
    assert_eq!(
        service.registries("team-a"),
        [OTHER, REGISTRY, "somewhere/"]
    );
    assert_eq!(service.password("team-a", "somewhere/").unwrap(), "theirs");
}

#[tokio::test(start_paused = true)]
async fn replicas_that_disagree_about_an_identity_do_not_fight() {
    let service = Service::new();
    let rival = || {
        let entry = json!({"v": 1, "issuedAt": START.to_string(), "expiresAt": add(START, LIFE).to_string(),
                           "identity": "another-role"});
        add_entry(&service, "team-a", REGISTRY, entry);
    };
    assert!(admit(&service, IMAGE).await);
    rival();
    assert!(admit(&service, IMAGE).await);
    assert_ne!(service.password("team-a", REGISTRY).unwrap(), "theirs");
    service.store.calls();
    for _ in 0..9 {
        tokio::time::sleep(Duration::from_mins(1)).await;
        rival();
        assert!(admit(&service, IMAGE).await);
        assert_eq!(service.password("team-a", REGISTRY).unwrap(), "theirs");
    }
    assert!(service.store.calls().is_empty());
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert!(admit(&service, IMAGE).await);
    assert_ne!(service.password("team-a", REGISTRY).unwrap(), "theirs");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_names_its_cause_and_on_failure_decides() {
    let mut said = Vec::new();
    for kind in [
        StoreErrorKind::Refused,
        StoreErrorKind::NamespaceTerminating,
        StoreErrorKind::NamespaceMissing,
        StoreErrorKind::Unreachable,
        StoreErrorKind::TimedOut,
    ] {
        for policy in [Policy::default(), denying()] {
            let service = Service::with(policy);
            service.store.refuse_writes(kind);
            let answer = service.mutate(&create_with("team-a", IMAGE)).await;
            assert_eq!(answer.patch().is_some(), answer.is_allowed());
            said.push(answer.said());
        }
    }
    insta::assert_snapshot!(said.join("\n"), @r#"
    warning: no pull credential yet, still trying: cannot Create Secret "ecr-pull-secret": the API server said refused
    refused: no pull credential: cannot Create Secret "ecr-pull-secret": the API server said refused
    warning: no pull credential: cannot Create Secret "ecr-pull-secret": the API server said namespace_terminating
    refused: no pull credential: cannot Create Secret "ecr-pull-secret": the API server said namespace_terminating
    warning: no pull credential: cannot Create Secret "ecr-pull-secret": the API server said namespace_missing
    refused: no pull credential: cannot Create Secret "ecr-pull-secret": the API server said namespace_missing
    warning: no pull credential yet, still trying: cannot Create Secret "ecr-pull-secret": the API server said unreachable
    refused: no pull credential: cannot Create Secret "ecr-pull-secret": the API server said unreachable
    warning: no pull credential yet, still trying: cannot Create Secret "ecr-pull-secret": the API server said timed_out
    refused: no pull credential: cannot Create Secret "ecr-pull-secret": the API server said timed_out
    "#);
}

#[tokio::test(start_paused = true)]
async fn two_replicas_over_one_cluster_make_one_secret_with_the_entries_of_both() {
    let clock = Clock::simulated(START, 1);
    let cluster = Arc::new(MemorySecretStore::new(clock.clone()));
    let [a, b] = [0, 1].map(|_| Service::over(Policy::default(), &clock, &cluster));
    for service in [&a, &b] {
        // Both are under way before either has written.
        service
            .tokens
            .always(Behaviour::Slow(Duration::from_millis(10)));
    }
    let review = create_with("team-a", &image_in(2, "us-east-2"));
    let (one, two) = tokio::join!(admit(&a, IMAGE), b.mutate(&review));
    assert!(one && two.is_injected());
    assert_eq!(a.registries("team-a"), [OTHER, REGISTRY]);
    let calls = [a.store.calls(), b.store.calls()].concat();
    let created = calls.iter().filter(|call| **call == Call::Create).count();
    assert!(created >= 1 && calls.contains(&Call::Update), "{calls:?}");
    cluster.set_namespace("team-a", NamespacePhase::Missing);
}
