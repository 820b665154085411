//! Certificates: rotation as the kubelet does it, garbage, and clients that do not trust us.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ecr_admission::certificate::development::DevelopmentCa;
use ecr_admission::certificate::metrics::CertificateMetrics;
use ecr_admission::certificate::{Reloader, ReloaderOptions};
use ecr_admission::clock::Clock;
use ecr_admission::files::CertificateFiles;
use ecr_admission::health::{Health, State};
use ecr_admission::server::body::BodyLimits;
use ecr_admission::server::listener::Limits;
use secrecy::ExposeSecret;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::https::{Client, LONG, Server, development_ca, routes};
use crate::support::volume::Volume;

fn holding(ca: &DevelopmentCa) -> Volume {
    Volume::new(&ca.cert_pem, ca.key_pem.expose_secret())
}

async fn reloader(volume: &Volume, health: &Health) -> Arc<Reloader<CertificateFiles>> {
    let files = CertificateFiles::new(volume.path("tls.crt"), volume.path("tls.key"));
    let options = ReloaderOptions {
        interval: Duration::from_millis(20),
        ..ReloaderOptions::default()
    };
    let metrics = CertificateMetrics::default();
    let reloader = Reloader::start(files, options, Clock::system(), health, metrics).await;
    let reloader = Arc::new(reloader.unwrap());
    let running = Arc::clone(&reloader);
    tokio::spawn(async move { running.run().await });
    reloader
}

/// The leaf that the server shows to a new connection.
async fn shown(client: &Client) -> Vec<u8> {
    let stream = client.connect(&["http/1.1"]).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Waits until new connections see another leaf than `before`; every one of them must succeed.
async fn changed(client: &Client, before: &[u8]) -> Vec<u8> {
    let change = async {
        loop {
            let now = shown(client).await;
            if now != before {
                return now;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, change)
        .await
        .expect("the new certificate is not served")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_rotations_by_symlink_swap_lose_no_request_on_kept_or_on_new_connections() {
    let issues = [development_ca(), development_ca(), development_ca()];
    let mut volume = holding(&issues[0]);
    let reloader = reloader(&volume, &Health::default()).await;
    let router = routes(BodyLimits::default());
    let server = Server::with_certificate(reloader.served(), router, Limits::default()).await;
    let authorities: Vec<_> = issues.iter().map(|issue| issue.ca_pem.as_str()).collect();
    let client = Client::trusting(&authorities, server.address);

    let done = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicUsize::new(0));
    let load: Vec<_> = [true, true, false, false]
        .into_iter()
        .map(|keep| {
            tokio::spawn(load(
                client.clone(),
                keep,
                Arc::clone(&done),
                Arc::clone(&answered),
            ))
        })
        .collect();

    let mut leaf = shown(&client).await;
    for issue in &issues[1..] {
        let so_far = answered.load(Ordering::Relaxed);
        volume.update(&issue.cert_pem, issue.key_pem.expose_secret());
        leaf = changed(&client, &leaf).await;
        while answered.load(Ordering::Relaxed) < so_far + 50 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    done.store(true, Ordering::Relaxed);
    for task in load {
        // A lost request has panicked in it.
        task.await.unwrap();
    }
}

/// Asks until `done`, on one connection or on a new one each time; panics at the first failure.
async fn load(client: Client, keep: bool, done: Arc<AtomicBool>, answered: Arc<AtomicUsize>) {
    let mut connection = client.http1().await;
    while !done.load(Ordering::Relaxed) {
        if !keep {
            connection = client.http1().await;
        }
        assert_eq!(connection.echo("admit").await.unwrap(), "admit");
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn garbage_keeps_the_last_good_pair_and_degrades_until_it_is_cured() {
    let (first, second) = (development_ca(), development_ca());
    let mut volume = holding(&first);
    let health = Health::default();
    let reloader = reloader(&volume, &health).await;
    let router = routes(BodyLimits::default());
    let server = Server::with_certificate(reloader.served(), router, Limits::default()).await;
    let client = Client::trusting(&[&first.ca_pem, &second.ca_pem], server.address);
    let good = shown(&client).await;

    let half = &second.cert_pem[..second.cert_pem.len() / 2];
    let new_key = second.key_pem.expose_secret();
    for (chain, key, named) in [
        ("garbage", "garbage", "tls.crt"),
        (half, new_key, "tls.crt"),
        (first.cert_pem.as_str(), "garbage", "tls.key"),
        // The certificate of one issue with the key of another: caught between two writes.
        (
            second.cert_pem.as_str(),
            first.key_pem.expose_secret(),
            "tls.key",
        ),
        ("", "", "tls.crt"),
    ] {
        volume.update(chain, key);
        let reason = degraded(&health, |reason| {
            reason.is_some_and(|reason| reason.contains(named))
        });
        let reason = reason.await.unwrap();
        assert!(reason.contains("stays in use"), "{reason}");
        assert!(health.report().ready);
        assert_eq!(shown(&client).await, good);
    }
    volume.update(&second.cert_pem, new_key);
    changed(&client, &good).await;
    degraded(&health, |reason| reason.is_none()).await;
}

/// Waits until the reload condition is as wanted.
async fn degraded(health: &Health, wanted: impl Fn(Option<&str>) -> bool) -> Option<String> {
    let look = async {
        loop {
            let report = health.report();
            let line = report
                .lines
                .iter()
                .find(|line| line.name == "certificate-reload")
                .unwrap();
            let reason = match &line.state {
                State::Degraded(reason) => Some(reason.clone()),
                _ => None,
            };
            if wanted(reason.as_deref()) {
                return reason;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, look)
        .await
        .expect("the condition does not change")
}

#[tokio::test]
async fn without_a_good_pair_the_start_fails_with_a_sentence_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let start = async || {
        let files = CertificateFiles::new(&chain, &key);
        let health = Health::default();
        let (options, metrics) = (ReloaderOptions::default(), CertificateMetrics::default());
        let started = Reloader::start(files, options, Clock::system(), &health, metrics).await;
        started.err().unwrap().to_string()
    };
    let missing = start().await;
    assert!(missing.contains(chain.to_str().unwrap()), "{missing}");
    let ca = development_ca();
    fs::write(&chain, &ca.cert_pem).unwrap();
    fs::write(&key, vec![b'x'; 2 * 1024 * 1024]).unwrap();
    let huge = start().await;
    assert!(huge.contains("tls.key") && huge.contains("1 MiB"), "{huge}");
}

#[tokio::test]
async fn failed_handshakes_are_counted_by_who_can_cure_them() {
    let (server, _) = Server::start(routes(BodyLimits::default()), Limits::default()).await;
    let stranger = Client::trusting(&[&development_ca().ca_pem], server.address);
    assert!(stranger.connect(&["http/1.1"]).await.is_err());
    server
        .measures("tls_handshake_errors_total{reason=\"certificate_rejected\"} 1")
        .await;

    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    server
        .measures("tls_handshake_errors_total{reason=\"not_tls\"} 1")
        .await;

    drop(TcpStream::connect(server.address).await.unwrap());
    server
        .measures("tls_handshake_errors_total{reason=\"closed\"} 1")
        .await;
}
