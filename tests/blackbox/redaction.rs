//! What leaves the process: answers, logs, metrics. Never a token, never a body.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Once;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ecr_admission::admit::Webhook;
use ecr_admission::secret::{DataWriter, StoreErrorKind};
use ecr_admission::token::MintErrorKind;
use secrecy::SecretSlice;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::support::mint::{Behaviour, LIFE, PASSWORD};
use crate::support::review::{IMAGE, create_pod, create_with, image_in, pod};
use crate::support::service::{START, Service, denying};
use crate::support::store::Trouble;

thread_local! {
    /// What this thread logs, while it is captured. A test's tasks run on its own thread.
    static LINES: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Writes into [`LINES`]. One subscriber for the process: those of single threads switch each other's levels off.
struct ToThread;

impl Write for ToThread {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.as_mut().map(|lines| lines.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Captures what this thread logs from now on, at level debug.
fn capture() {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("ecr_admission=debug"))
            .with_writer(|| ToThread)
            .with_ansi(false)
            .without_time()
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
    LINES.set(Some(Vec::new()));
}

/// The lines since the last time this was asked, of at least level info on demand.
fn take(with_debug: bool) -> Vec<String> {
    let bytes = LINES.replace(Some(Vec::new())).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let lines = text
        .lines()
        .filter(|line| with_debug || !line.starts_with("DEBUG"));
    lines.map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn no_token_is_in_any_answer_log_line_metric_or_debug_text_whatever_happens() {
    capture();
    let mut seen = Vec::new();
    for policy in [ecr_admission::policy::Policy::default(), denying()] {
        let service = Service::with(policy);
        let mut see = async |image: &str| {
            let answer = service.mutate(&create_with("team-a", image)).await;
            let known = service.index.look_up("team-a");
            let secret = service.secret("team-a");
            seen.push(format!("{answer:?}{known:?}{secret:?}"));
        };
        see(IMAGE).await;
        see(IMAGE).await;
        // Renewed, edited, refused, in conflict, down, hanging.
        tokio::time::sleep(7 * LIFE / 12).await;
        see(IMAGE).await;
        service.store.cluster.change("team-a", |secret| {
            let mut secret = secret.unwrap();
            secret.metadata.data_writer = DataWriter::SomebodyElse;
            secret.docker_config = Some(SecretSlice::from(PASSWORD.as_bytes().to_vec()));
            Some(secret)
        });
        see(IMAGE).await;
        for (n, kind) in [StoreErrorKind::Refused, StoreErrorKind::Conflict]
            .into_iter()
            .enumerate()
        {
            service.store.refuse_writes(kind);
            see(&image_in(n, "us-east-2")).await;
        }
        service.store.before(|_, _| Trouble::Panic);
        see(&image_in(5, "us-east-2")).await;
        service.store.heal();
        for (n, trouble) in [
            Behaviour::Fail(MintErrorKind::Denied),
            Behaviour::Slow(Duration::from_secs(10)),
            Behaviour::Panic,
        ]
        .into_iter()
        .enumerate()
        {
            service.tokens.always(trouble);
            see(&image_in(1, &format!("ap-south-{n}"))).await;
        }
        tokio::time::sleep(LIFE).await;
        seen.push(service.metrics());
        let told = service.events.said();
        assert!(told.contains("PullSecretRefused") && told.contains("NoPullCredential"));
        seen.push(told);
        assert!(
            service
                .password("team-a", crate::support::review::REGISTRY)
                .unwrap()
                .starts_with(PASSWORD)
        );
    }
    let lines = take(true);
    assert!(lines.len() > 30, "nothing was captured");
    seen.extend(lines);
    let seen = seen.concat();
    // In base64 a text has three shapes, by where it begins.
    let mut shapes = vec![PASSWORD.to_owned()];
    for lead in ["", "A", "AA"] {
        let encoded = BASE64_STANDARD.encode(format!("{lead}{PASSWORD}"));
        shapes.push(encoded[4..encoded.len() - 4].to_owned());
    }
    for shape in shapes {
        assert!(!seen.contains(&shape), "{shape}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_names_uid_namespace_verdict_and_reason_and_a_warm_injection_has_none_at_info() {
    capture();
    let service = Service::new();
    service.mutate(&create_with("team-a", IMAGE)).await;
    assert_eq!(take(false).len(), 3, "a token, a Secret, a Pod");
    service.mutate(&create_with("team-a", IMAGE)).await;
    service.mutate(&create_with("team-a", "nginx")).await;
    assert!(take(false).is_empty());
    service
        .mutate(&create_with(
            "team-a",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app",
        ))
        .await;
    insta::assert_snapshot!(take(false).join("\n"), @r#" INFO ecr_admission::admit::record: container "app": image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:tag" with the tag you mean [full-reference] uid="705ab4f5-6393-11e8-b7cc-42010a800002" namespace="team-a" name="" operation=Create verdict="refused" reason="full-reference" dry_run=false took=0ns"#);
}

#[tokio::test(start_paused = true)]
async fn a_forged_review_cannot_write_lines_or_flood_the_log() {
    capture();
    let service = Service::new();
    let endless = "x".repeat(1_000_000);
    let mut review = create_pod("a\nERROR forged", &pod(&[IMAGE]));
    review["request"]["uid"] = json!(format!("u\n\u{1b}[31mERROR forged{endless}"));
    review["request"]["name"] = json!(format!("n\r\nERROR forged{endless}"));
    service.mutate(&review).await;
    let mut named = pod(&[&format!("{IMAGE}\nERROR forged")]);
    named["spec"]["containers"][0]["name"] = json!("c\nERROR forged");
    service.mutate(&create_pod("team-a", &named)).await;
    service
        .answer(Webhook::Mutating, b"\nERROR forged")
        .await
        .unwrap_err();
    let lines = take(true);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(
        lines
            .iter()
            .all(|line| line.len() < 4_000 && !line.contains('\u{1b}'))
    );
}

#[tokio::test(start_paused = true)]
async fn metrics_grow_neither_with_namespaces_nor_with_images() {
    let service = Service::new();
    let mut counts = Vec::new();
    for round in 0..3 {
        for n in 0..20 {
            let namespace = format!("team-{round}-{n}");
            service.mutate(&create_with(&namespace, IMAGE)).await;
            service
                .mutate(&create_with(&namespace, &format!("{IMAGE}-{n}@")))
                .await;
        }
        counts.push(service.metrics().lines().count());
    }
    assert_eq!(counts[0], counts[2], "{}", service.metrics());
    let metrics = service.metrics();
    for expected in [
        "ecr_admission_admissions_total{operation=\"create\",verdict=\"injected\",reason=\"ensured\"} 60",
        "ecr_admission_secret_writes_total{result=\"created\"} 60",
        "ecr_admission_secret_index_size 60",
        "ecr_admission_token_mints_total{region=\"eu-west-1\",result=\"ok\"} 1",
        "ecr_admission_oldest_token_age_seconds 0.0",
        "ecr_admission_ensures_total{result=\"ok\"} 60",
    ] {
        assert!(
            metrics.contains(expected),
            "{expected} is not in\n{metrics}"
        );
    }
    assert_eq!(service.clock.now(), START);
}
