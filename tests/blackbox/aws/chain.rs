//! Credentials and endpoints as the environment of a process gives them. The environment is process-wide, so each
//! case runs in a child: this test binary again, with one ignored test.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use ecr_admission::aws::{AwsSettings, EcrTokenSource};
use ecr_admission::clock::Clock;
use ecr_admission::policy::spec::Role;
use ecr_admission::policy::{Identity, RoleIdentity};
use ecr_admission::token::TokenSource;
use tokio::net::TcpListener;
use tokio::process::Command;

use super::key;
use crate::support::ecr::EcrDouble;
use crate::support::pki::TestCa;
use crate::support::proxy::ConnectProxy;

/// Tells the child that it is one, and the region to mint in.
const REGION: &str = "ECR_ADMISSION_TEST_REGION";
/// The role that it assumes, as a policy names it, in JSON; it then tells for how long the token lives, too.
pub(super) const ROLE: &str = "ECR_ADMISSION_TEST_ROLE";

/// How often the child is to mint; once, unless it is told.
pub(super) const MINTS: &str = "ECR_ADMISSION_TEST_MINTS";
/// A file that is replaced between two mints, and by what.
pub(super) const REPLACE: &str = "ECR_ADMISSION_TEST_REPLACE";
pub(super) const REPLACEMENT: &str = "ECR_ADMISSION_TEST_REPLACEMENT";

/// The child: mints with nothing but its environment, and says on one line what came of it.
#[tokio::test]
#[ignore = "runs only as a child of the tests below"]
async fn child() {
    let Ok(region) = std::env::var(REGION) else {
        return;
    };
    let settings = AwsSettings {
        // Programs and several calls may lie before it, on a busy machine.
        mint_timeout: Duration::from_secs(30),
        ..AwsSettings::from_environment(|name| std::env::var(name).ok())
    };
    let source = EcrTokenSource::load(&settings, &Clock::system())
        .await
        .unwrap();
    let warm = source.warm_up().await.is_ok();
    let variable = |name: &str| std::env::var(name).ok();
    let role = variable(ROLE).map(|role| serde_json::from_str::<Role>(&role).unwrap());
    let mut key = key(&region);
    if let Some(role) = &role {
        key.identity = Identity::Role(RoleIdentity::new(role, "team", None));
    }
    let mints: usize = variable(MINTS).map_or(1, |mints| mints.parse().unwrap());
    for _ in 1..mints {
        // What comes of the last one counts.
        let _ = source.mint(&key).await;
        if let (Some(file), Some(text)) = (variable(REPLACE), variable(REPLACEMENT)) {
            std::fs::write(file, text).unwrap();
        }
    }
    match source.mint(&key).await {
        Ok(token) if role.is_some() => {
            let life = token.expires_at.duration_since(token.issued_at);
            let hours = (life.as_mins() + 1) / 60;
            println!("\nRESULT warm={warm} {} for {hours} h", token.password());
        }
        Ok(token) => println!("\nRESULT warm={warm} {}", token.password()),
        Err(error) => println!("\nRESULT warm={warm} {} {error}", error.kind.label()),
    }
}

/// Runs the child with these variables (and no other, but for those of the first lines) and gives its line.
pub(super) async fn in_child(variables: &[(&str, &str)]) -> String {
    let home = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "aws::chain::child", "--ignored", "--nocapture"])
        .env_clear()
        .env("HOME", home.path())
        .env(REGION, "eu-west-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_mins(1), child).await;
    let output = output.expect("the child hangs").unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find_map(|line| line.strip_prefix("RESULT "));
    line.unwrap_or_else(|| panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)))
        .to_owned()
}

pub(super) const MINTED: &str = "warm=true password-of-eu-west-1";

#[tokio::test]
async fn keys_in_the_environment_need_no_region_and_no_trusted_certificates() {
    let ecr = EcrDouble::start().await;
    let result = in_child(&[
        ("AWS_ACCESS_KEY_ID", "AKIDENV"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL_ECR", &ecr.url),
        ("SSL_CERT_FILE", "/nonexistent"),
    ])
    .await;
    assert_eq!(result, MINTED);
    assert_eq!(ecr.calls()[0].access_key, "AKIDENV");
    assert_eq!(ecr.calls_in("eu-west-1"), 1);
}

#[tokio::test]
async fn a_container_endpoint_gives_credentials_past_the_proxy() {
    let ecr = EcrDouble::start().await;
    let result = in_child(&[
        (
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            &format!("{}/v1/credentials", ecr.url),
        ),
        ("AWS_ENDPOINT_URL", &ecr.url),
        ("HTTP_PROXY", "http://127.0.0.1:9"),
        ("HTTPS_PROXY", "http://127.0.0.1:9"),
    ])
    .await;
    assert_eq!(result, MINTED);
    assert_eq!(ecr.calls()[0].access_key, "AKIDCONTAINER");
}

#[tokio::test]
async fn a_web_identity_needs_no_region() {
    let ecr = EcrDouble::start().await;
    let mut jwt = tempfile::NamedTempFile::new().unwrap();
    jwt.write_all(b"header.claims.signature").unwrap();
    let result = in_child(&[
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/puller"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", jwt.path().to_str().unwrap()),
        ("AWS_ENDPOINT_URL_STS", &ecr.url),
        ("AWS_ENDPOINT_URL_ECR", &ecr.url),
    ])
    .await;
    assert_eq!(result, MINTED);
    assert_eq!(ecr.calls()[0].access_key, "AKIDROLE");
}

#[tokio::test]
async fn without_credentials_the_mint_says_so_in_time_even_where_instance_metadata_is_silent() {
    // Accepts connections into its backlog and never answers, like a firewall that drops.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let metadata = format!("http://{}", silent.local_addr().unwrap());
    let disabled: &[(&str, &str)] = &[];
    let silent: &[(&str, &str)] = &[
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata),
    ];
    for variables in [disabled, silent] {
        let result = in_child(variables).await;
        assert!(
            result.starts_with("warm=false no_credentials no AWS credentials were found"),
            "{result}"
        );
    }
}

#[tokio::test]
async fn a_role_that_cannot_be_assumed_is_told_from_missing_credentials() {
    let ecr = EcrDouble::start().await;
    let mut jwt = tempfile::NamedTempFile::new().unwrap();
    jwt.write_all(b"header.claims.signature").unwrap();
    let jwt = jwt.path().to_str().unwrap();
    let refused = "Not authorized to perform sts:AssumeRoleWithWebIdentity";
    for (sts, jwt, refusal, expected) in [
        ("http://127.0.0.1:9", jwt, None, "unreachable cannot reach"),
        (
            &ecr.url,
            jwt,
            Some(("AccessDenied", refused)),
            "denied AWS credentials could not be loaded: check the trust policy of arn:aws:iam::123456789012:role/puller, which",
        ),
        (
            &ecr.url,
            jwt,
            Some(("ExpiredTokenException", "expired")),
            "expired_credentials AWS credentials",
        ),
        (
            &ecr.url,
            jwt,
            Some(("Throttling", "Rate exceeded")),
            "throttled AWS credentials",
        ),
        (
            &ecr.url,
            "/nonexistent/token",
            None,
            "no_credentials AWS credentials could not be loaded: correct",
        ),
    ] {
        if let Some((code, message)) = refusal {
            ecr.refuse_roles(code, message);
        }
        let result = in_child(&[
            ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/puller"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", jwt),
            ("AWS_ENDPOINT_URL_STS", sts),
        ])
        .await;
        let expected = format!("warm=false {expected}");
        assert!(result.starts_with(&expected), "{result}, not {expected}");
    }
}

/// A variable that the SDK does not read.
const NOTHING: &str = "ECR_ADMISSION_TEST_NOTHING";

#[tokio::test]
async fn the_endpoint_is_the_partitions_and_follows_the_sdks_settings() {
    for (region, settings, host) in [
        ("eu-west-1", NOTHING, "api.ecr.eu-west-1.amazonaws.com"),
        (
            "us-gov-west-1",
            NOTHING,
            "api.ecr.us-gov-west-1.amazonaws.com",
        ),
        ("cn-north-1", NOTHING, "api.ecr.cn-north-1.amazonaws.com.cn"),
        (
            "eusc-de-east-1",
            NOTHING,
            "api.ecr.eusc-de-east-1.amazonaws.eu",
        ),
        ("us-iso-east-1", NOTHING, "api.ecr.us-iso-east-1.c2s.ic.gov"),
        ("xx-new-1", NOTHING, "api.ecr.xx-new-1.amazonaws.com"),
        (
            "us-east-1",
            "AWS_USE_FIPS_ENDPOINT",
            "api.ecr-fips.us-east-1.amazonaws.com",
        ),
        (
            "eu-west-1",
            "AWS_USE_DUALSTACK_ENDPOINT",
            "ecr.eu-west-1.api.aws",
        ),
    ] {
        let proxy = ConnectProxy::start(&[], None).await;
        let result = in_child(&[
            (REGION, region),
            (settings, "true"),
            ("AWS_ACCESS_KEY_ID", "AKIDENV"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("https_proxy", &proxy.address.to_string()),
        ])
        .await;
        assert!(
            result.starts_with("warm=true unreachable the proxy refuses"),
            "{result}"
        );
        assert_eq!(proxy.seen()[0], format!("{host}:443"));
    }
}

#[tokio::test]
async fn the_environment_names_the_proxy_and_the_certificate_authority() {
    let ca = TestCa::new();
    let ecr = EcrDouble::start_tls(ca.server("ecr.test.invalid")).await;
    let proxy = ConnectProxy::start(&[("ecr.test.invalid", ecr.address)], None).await;
    let mut bundle = tempfile::NamedTempFile::new().unwrap();
    bundle.write_all(ca.pem().as_bytes()).unwrap();
    let result = in_child(&[
        ("AWS_ACCESS_KEY_ID", "AKIDENV"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL_ECR", "https://ecr.test.invalid"),
        ("AWS_CA_BUNDLE", bundle.path().to_str().unwrap()),
        ("HTTPS_PROXY", &format!("http://{}", proxy.address)),
    ])
    .await;
    assert_eq!(result, MINTED);
}
