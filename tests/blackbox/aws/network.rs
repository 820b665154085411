//! The way to AWS: proxies, private certificate authorities, and what is said when there is no way.

use std::io::Write;

use ecr_admission::aws::AwsSettings;
use ecr_admission::token::MintErrorKind::{TimedOut, UnknownRegion, Unreachable};
use tempfile::NamedTempFile;
use tokio::net::TcpListener;

use super::{mint, to};
use crate::support::ecr::{Answer, EcrDouble};
use crate::support::pki::TestCa;
use crate::support::proxy::ConnectProxy;

/// A name that no resolver knows: only the proxy can reach it.
const HOST: &str = "ecr.test.invalid";

fn file(pem: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(pem.as_bytes()).unwrap();
    file
}

fn through(proxy: &str, endpoint: &str, bundle: Option<&NamedTempFile>) -> AwsSettings {
    AwsSettings {
        proxy: Some(proxy.to_owned().into()),
        ca_bundle: bundle.map(|file| file.path().to_owned()),
        ..to(endpoint)
    }
}

#[tokio::test]
async fn ecr_is_reached_through_a_proxy_and_under_a_private_certificate_authority() {
    let ca = TestCa::new();
    let ecr = EcrDouble::start_tls(ca.server(HOST)).await;
    let proxy = ConnectProxy::start(&[(HOST, ecr.address)], None).await;
    let endpoint = format!("https://{HOST}:{}", ecr.address.port());
    // A bundle as companies have them: text around, and one certificate that nobody can read.
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let bundle = file(&format!("# our firewall\n{broken}{}", ca.pem()));
    let url = format!("http://{}", proxy.address);

    let token = mint(&through(&url, &endpoint, Some(&bundle)), "eu-west-1")
        .await
        .unwrap();
    assert_eq!(token.password(), "password-of-eu-west-1");
    assert_eq!(proxy.seen(), [format!("{HOST}:{}", ecr.address.port())]);

    let error = mint(&through(&url, &endpoint, None), "eu-west-1")
        .await
        .unwrap_err();
    assert_eq!(error.kind, Unreachable, "{error}");
    assert!(error.message.contains("set AWS_CA_BUNDLE"), "{error}");
}

#[tokio::test]
async fn a_proxy_gets_the_password_of_its_url_and_says_so_when_it_is_missing() {
    let ca = TestCa::new();
    let ecr = EcrDouble::start_tls(ca.server(HOST)).await;
    // base64 of "user:p@ss"
    let proxy = ConnectProxy::start(&[(HOST, ecr.address)], Some("dXNlcjpwQHNz")).await;
    let endpoint = format!("https://{HOST}:{}", ecr.address.port());
    let bundle = file(&ca.pem());

    let url = format!("user:p%40ss@{}", proxy.address);
    mint(&through(&url, &endpoint, Some(&bundle)), "eu-west-1")
        .await
        .unwrap();

    let url = proxy.address.to_string();
    let error = mint(&through(&url, &endpoint, Some(&bundle)), "eu-west-1")
        .await
        .unwrap_err();
    assert_eq!(error.kind, Unreachable, "{error}");
    assert!(
        error.message.contains("wants a user and password"),
        "{error}"
    );
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_not_there_is_blamed() {
    let proxy = ConnectProxy::start(&[], None).await;
    let endpoint = format!("https://{HOST}");
    let error = mint(
        &through(&proxy.address.to_string(), &endpoint, None),
        "eu-west-1",
    )
    .await;
    let error = error.unwrap_err();
    assert_eq!(error.kind, Unreachable, "{error}");
    assert!(
        error.message.contains("the proxy refuses to connect"),
        "{error}"
    );

    let closed = closed_port().await;
    let error = mint(&through(&closed, &endpoint, None), "eu-west-1")
        .await
        .unwrap_err();
    assert_eq!(error.kind, Unreachable, "{error}");
    assert!(
        error.message.contains("the proxy cannot be reached"),
        "{error}"
    );

    let nowhere = unresolvable("example");
    let proxy = format!("{nowhere}:1");
    let error = mint(&through(&proxy, &endpoint, None), "eu-west-1").await;
    let error = error.unwrap_err();
    assert_eq!(error.kind, Unreachable, "{error}");
    let named = format!("the name of the proxy, {nowhere}");
    assert!(error.message.contains(&named), "{error}");
}

#[tokio::test]
async fn a_region_whose_endpoint_has_no_address_is_unknown_unless_dns_fails() {
    let endpoint = format!("http://{}", unresolvable("xx-new-1"));
    let error = mint(&to(&endpoint), "xx-new-1").await.unwrap_err();
    assert_eq!(error.kind, UnknownRegion, "{error}");
    let both = "there is no AWS region xx-new-1, or DNS fails";
    assert!(error.message.contains(both), "{error}");

    let error = mint(&to(&endpoint), "eu-west-1").await.unwrap_err();
    assert_eq!(error.kind, Unreachable, "{error}");
    assert!(error.message.contains("check DNS"), "{error}");
}

#[tokio::test]
async fn neither_plain_http_nor_a_host_in_no_proxy_goes_through_the_proxy() {
    let proxy = ConnectProxy::start(&[], None).await;
    let url = proxy.address.to_string();
    let plain = EcrDouble::start().await;
    mint(&through(&url, &plain.url, None), "eu-west-1")
        .await
        .unwrap();

    let ca = TestCa::new();
    let ecr = EcrDouble::start_tls(ca.server("localhost")).await;
    let bundle = file(&ca.pem());
    let endpoint = format!("https://localhost:{}", ecr.address.port());
    for rules in [
        "localhost",
        "example.com, localhost",
        "*.localhost,localhost",
        "*",
    ] {
        let settings = AwsSettings {
            no_proxy: rules.to_owned(),
            ..through(&url, &endpoint, Some(&bundle))
        };
        mint(&settings, "eu-west-1").await.unwrap();
    }
    assert!(proxy.seen().is_empty(), "{:?}", proxy.seen());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told_from_one_that_is_not_trusted() {
    let ca = TestCa::new();
    let ecr = EcrDouble::start_tls(ca.server("elsewhere.example")).await;
    let bundle = file(&ca.pem());
    let endpoint = format!("https://localhost:{}", ecr.address.port());
    let settings = AwsSettings {
        ca_bundle: Some(bundle.path().to_owned()),
        ..to(&endpoint)
    };
    let error = mint(&settings, "eu-west-1").await.unwrap_err();
    assert_eq!(error.kind, Unreachable, "{error}");
    assert!(error.message.contains("is refused"), "{error}");

    // Plain HTTP where TLS is expected.
    let plain = EcrDouble::start().await;
    let endpoint = plain.url.replace("http:", "https:");
    let error = mint(&to(&endpoint), "eu-west-1").await.unwrap_err();
    assert_eq!(error.kind, Unreachable, "{error}");
    assert!(
        error
            .message
            .starts_with("TLS with ECR in eu-west-1 failed"),
        "{error}"
    );
}

#[tokio::test]
async fn a_closed_port_a_dropped_connection_and_a_silent_one_are_told_apart() {
    let closed = format!("http://{}", closed_port().await);
    let error = mint(&to(&closed), "eu-west-1").await.unwrap_err();
    assert_eq!(error.kind, Unreachable, "{error}");
    assert!(error.message.contains("refused"), "{error}");

    let ecr = EcrDouble::start().await;
    ecr.always(Answer::Drop);
    let error = mint(&to(&ecr.url), "eu-west-1").await.unwrap_err();
    assert_eq!(error.kind, Unreachable, "{error}");

    // Accepts into the backlog, and never speaks TLS.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}", silent.local_addr().unwrap());
    let error = mint(&to(&endpoint), "eu-west-1").await.unwrap_err();
    assert_eq!(error.kind, TimedOut, "{error}");
}

/// A name with a label that is too long for DNS: the resolver refuses it without asking anybody.
fn unresolvable(region: &str) -> String {
    format!("{}.{region}.invalid", "x".repeat(64))
}

async fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}
