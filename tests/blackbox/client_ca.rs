//! Clients that have to show a certificate.

use std::fs;
use std::sync::Arc;

use ecr_admission::certificate::{CertificatePair, ClientReloader, ServedCertificate};
use ecr_admission::clock::Clock;
use ecr_admission::files::AuthorityFile;
use ecr_admission::health::{Health, State};
use ecr_admission::server::body::BodyLimits;
use ecr_admission::server::listener::{Limits, Transport};
use ecr_admission::server::tls::server_config_for;
use tempfile::NamedTempFile;

use crate::support::https::{Client, SHORT, Server, development_ca, routes};
use crate::support::pki::TestCa;
use crate::support::process::eventually;

struct Bench {
    file: NamedTempFile,
    health: Health,
    server: Server,
    /// Shows no certificate.
    client: Client,
}

impl Bench {
    /// A server that accepts clients of `authority`.
    async fn new(authority: &TestCa) -> Self {
        let file = NamedTempFile::new().unwrap();
        fs::write(&file, authority.pem()).unwrap();
        let health = Health::default();
        let reloader = ClientReloader::start(AuthorityFile::new(file.path()), SHORT / 10, &health);
        let reloader = Arc::new(reloader.await.unwrap());
        let ours = development_ca();
        let pair = CertificatePair::check(&ours.pem_pair(), &[], Clock::system().now()).unwrap();
        let config = server_config_for(ServedCertificate::new(pair), reloader.accepted()).unwrap();
        let router = routes(BodyLimits::default());
        let server = Server::listen(Transport::tls(config), router, Limits::default()).await;
        tokio::spawn(async move { reloader.run().await });
        Self {
            file,
            health,
            client: Client::trusting(&[&ours.ca_pem], server.address),
            server,
        }
    }
}

/// Whether the server answers. In TLS 1.3 a client learns only then that it was refused.
async fn is_served(client: &Client) -> bool {
    let Ok(stream) = client.connect(&["http/1.1"]).await else {
        return false;
    };
    let io = hyper_util::rt::TokioIo::new(stream);
    let Ok((mut sender, connection)) = hyper::client::conn::http1::handshake(io).await else {
        return false;
    };
    tokio::spawn(connection);
    let request = crate::support::https::request("POST", "/echo", "hello");
    sender.send_request(request).await.is_ok()
}

#[tokio::test]
async fn a_client_is_served_by_its_certificate_and_refused_and_counted_without_or_with_another() {
    let authority = TestCa::new();
    let bench = Bench::new(&authority).await;
    let known = bench.client.clone().showing(authority.client("api-server"));
    assert!(is_served(&known).await);

    assert!(!is_served(&bench.client).await);
    let counted = "tls_handshake_errors_total{reason=\"client_certificate_missing\"} 1";
    bench.server.measures(counted).await;

    let stranger = TestCa::new().client("api-server");
    assert!(!is_served(&bench.client.clone().showing(stranger)).await);
    let counted = "tls_handshake_errors_total{reason=\"client_certificate_refused\"} 1";
    bench.server.measures(counted).await;
}

#[tokio::test]
async fn new_authorities_count_from_the_next_connection_and_garbage_changes_nothing() {
    let (first, second) = (TestCa::new(), TestCa::new());
    let bench = Bench::new(&first).await;
    let of = |authority: &TestCa| bench.client.clone().showing(authority.client("api-server"));
    let (old, new) = (of(&first), of(&second));
    let mut kept = old.http1().await;
    assert_eq!(kept.echo("before").await.unwrap(), "before");

    for garbage in [
        "garbage",
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        fs::write(&bench.file, garbage).unwrap();
        eventually(async || {
            let report = bench.health.report();
            matches!(report.lines[0].state, State::Degraded(_))
        })
        .await;
        assert!(is_served(&old).await && !is_served(&new).await);
        fs::write(&bench.file, first.pem()).unwrap();
        eventually(async || bench.health.report().lines[0].state == State::Ok).await;
    }

    fs::write(&bench.file, format!("{}{}", first.pem(), second.pem())).unwrap();
    eventually(async || is_served(&new).await).await;
    assert!(is_served(&old).await);
    fs::write(&bench.file, second.pem()).unwrap();
    eventually(async || !is_served(&old).await).await;
    assert!(is_served(&new).await);
    assert_eq!(
        kept.echo("after").await.unwrap(),
        "after",
        "an open connection goes on"
    );
}
