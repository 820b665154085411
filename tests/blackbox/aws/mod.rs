//! Tokens from ECR, over real HTTP, from a double of ECR's wire protocol.

mod bulkheads;
mod chain;
mod failures;
mod identities;
mod network;
mod roles;
mod tenants;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_credential_types::Credentials;
use ecr_admission::aws::{AwsSettings, EcrTokenSource};
use ecr_admission::clock::Clock;
use ecr_admission::image::ecr::Partition;
use ecr_admission::policy::Identity;
use ecr_admission::token::{MintError, Token, TokenKey, TokenSource};
use jiff::SignedDuration;

use crate::support::ecr::{Answer, EcrDouble, Reply};

fn key(region: &str) -> TokenKey {
    TokenKey {
        identity: Identity::Controller,
        partition: Partition::Aws,
        region: region.into(),
    }
}

fn to(endpoint: &str) -> AwsSettings {
    AwsSettings {
        endpoint: Some(endpoint.to_owned()),
        ..AwsSettings::default()
    }
}

async fn source(settings: &AwsSettings) -> EcrTokenSource {
    let keys = Credentials::new("AKIDTEST", "secret-access-key", None, None, "test");
    EcrTokenSource::with_credentials(settings, &Clock::system(), keys)
        .await
        .unwrap()
}

async fn mint(settings: &AwsSettings, region: &str) -> Result<Token, MintError> {
    source(settings).await.mint(&key(region)).await
}

#[tokio::test]
async fn a_token_is_asked_for_in_the_registrys_own_region() {
    let ecr = EcrDouble::start().await;
    let source = source(&to(&ecr.url)).await;
    for region in ["eu-west-1", "us-gov-west-1", "xx-new-1"] {
        let token = source.mint(&key(region)).await.unwrap();
        assert_eq!(token.password(), format!("password-of-{region}"));
        assert_eq!(ecr.calls_in(region), 1);
        let life = token.expires_at.duration_since(token.issued_at);
        assert_eq!(life, SignedDuration::from_hours(12));
    }
    assert!(ecr.calls().iter().all(|call| call.access_key == "AKIDTEST"));
}

#[tokio::test]
async fn a_tokens_times_are_awss_and_its_life_is_believed_only_within_reason() {
    let ecr = EcrDouble::start().await;
    let hours = SignedDuration::from_hours;
    for (ahead, answer, life) in [
        (hours(30), Answer::Token("p".into(), hours(12)), hours(12)),
        (hours(-30), Answer::Token("p".into(), hours(6)), hours(6)),
        (hours(0), Answer::Token("p".into(), hours(500)), hours(12)),
        (hours(0), Answer::Moto, hours(1)),
    ] {
        let mut reply = Reply::from(answer);
        reply.ahead = ahead;
        ecr.always(reply);
        let token = mint(&to(&ecr.url), "eu-west-1").await.unwrap();
        assert_eq!(token.expires_at.duration_since(token.issued_at), life);
        let ours = Clock::system().now() + ahead;
        let off = token.issued_at.duration_since(ours).abs();
        assert!(
            off < SignedDuration::from_secs(60),
            "issued {off:?} off AWS's clock"
        );
    }
}

#[tokio::test]
async fn what_is_over_at_once_is_retried_once_within_the_mint() {
    let ecr = EcrDouble::start().await;
    for passing in [
        Answer::Error(400, "ThrottlingException", "Rate exceeded"),
        Answer::Error(500, "ServerException", "try again"),
        Answer::Drop,
    ] {
        let before = ecr.calls().len();
        ecr.next([passing.into()]);
        mint(&to(&ecr.url), "eu-west-1").await.unwrap();
        assert_eq!(ecr.calls().len() - before, 2);
    }
}

#[tokio::test]
async fn a_machine_whose_clock_is_hours_off_still_gets_a_token() {
    let ecr = EcrDouble::start().await;
    let refused = Answer::Error(400, "InvalidSignatureException", "Signature expired");
    let mut reply = Reply::from(refused);
    reply.ahead = SignedDuration::from_hours(3);
    ecr.next([reply]);
    let token = mint(&to(&ecr.url), "eu-west-1").await.unwrap();
    assert_eq!(token.password(), "password-of-eu-west-1");
}

#[tokio::test]
async fn refused_credentials_are_loaded_anew_by_the_next_mint() {
    let ecr = EcrDouble::start().await;
    let loads = Arc::new(Mutex::new(0));
    let provider = aws_credential_types::credential_fn::provide_credentials_fn(move || {
        let loads = Arc::clone(&loads);
        async move {
            let mut loads = loads.lock().unwrap();
            *loads += 1;
            Ok(Credentials::new(
                format!("AKID{loads}"),
                "secret",
                None,
                None,
                "test",
            ))
        }
    });
    let settings = to(&ecr.url);
    let source = EcrTokenSource::with_credentials(&settings, &Clock::system(), provider)
        .await
        .unwrap();
    source.mint(&key("eu-west-1")).await.unwrap();
    source.mint(&key("eu-west-2")).await.unwrap();
    ecr.next([Answer::Error(400, "ExpiredTokenException", "expired").into()]);
    source.mint(&key("eu-west-1")).await.unwrap_err();
    source.mint(&key("eu-west-1")).await.unwrap();
    let keys: Vec<_> = ecr
        .calls()
        .into_iter()
        .map(|call| call.access_key)
        .collect();
    assert_eq!(keys, ["AKID1", "AKID1", "AKID1", "AKID2"]);
}

#[tokio::test]
async fn a_mint_ends_in_time_when_ecr_is_silent() {
    let ecr = EcrDouble::start().await;
    let mut silent = Reply::from(Answer::Moto);
    silent.delay = Duration::from_mins(1);
    ecr.always(silent);
    let settings = AwsSettings {
        mint_timeout: Duration::from_millis(300),
        ..to(&ecr.url)
    };
    let error = mint(&settings, "eu-west-1").await.unwrap_err();
    assert_eq!(error.kind.label(), "timed_out");
    assert!(error.message.contains("ECR in eu-west-1"), "{error}");
}

/// Everything that is logged while it is in force on this thread.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// In a process of its own: while one thread alone has a subscriber, others that come first to a place that logs switch
/// it off for all (tracing-core keeps one interest a place).
#[tokio::test]
async fn no_log_line_of_any_level_holds_a_token_or_a_key() {
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "aws::what_is_logged_by_a_mint", "--ignored"])
        .kill_on_drop(true)
        .output();
    let child = tokio::time::timeout(Duration::from_mins(1), child).await;
    let output = child.expect("the child hangs").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "runs only as a child of the test above"]
async fn what_is_logged_by_a_mint() {
    let ecr = EcrDouble::start().await;
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let token = mint(&to(&ecr.url), "eu-west-1").await.unwrap();
    drop(guard);
    let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("GetAuthorizationToken"),
        "nothing was captured"
    );
    let encoded = base64::Engine::encode(
        &base64::prelude::BASE64_STANDARD,
        format!("AWS:{}", token.password()),
    );
    for secret in ["password-of-", &encoded[..16], "secret-access-key"] {
        assert!(!log.contains(secret), "{secret} was logged");
    }
}
