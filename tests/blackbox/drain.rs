//! The end of a listener: leaving, draining, and what clients see of it.

use std::time::Duration;

use ecr_admission::server::body::BodyLimits;
use ecr_admission::server::listener::Limits;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::https::{Client, LONG, SHORT, Server, request, routes, text};

#[tokio::test]
async fn while_leaving_answers_say_close_and_new_connections_are_still_served() {
    let (server, client) = Server::start(routes(BodyLimits::default()), Limits::default()).await;
    let mut kept = client.http1().await;
    kept.echo("before").await.unwrap();
    server.shutdown.leave();
    for mut connection in [kept, client.http1().await] {
        let asked = request("POST", "/echo", "leaving");
        let answer = connection.sender.send_request(asked).await.unwrap();
        assert_eq!(answer.headers()["connection"], "close");
        assert_eq!(text(answer).await, "leaving");
        timeout(LONG, connection.connection)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
    assert!(!server.task.is_finished());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaving_under_load_loses_no_request_of_a_client_that_heeds_close() {
    let (server, client) = Server::start(routes(BodyLimits::default()), Limits::default()).await;
    let load: Vec<_> = (0..4)
        .map(|_| tokio::spawn(heedful(client.clone(), Duration::from_millis(600))))
        .collect();
    sleep(Duration::from_millis(200)).await;
    server.shutdown.leave();
    for task in load {
        // A lost request has panicked in it.
        let (kept, closed) = task.await.unwrap();
        assert!(kept > 0 && closed > 0, "{kept} {closed}");
    }
    server.shutdown.drain();
    timeout(LONG, server.task).await.unwrap().unwrap();
}

/// Asks for some time on one connection, and on a new one after each answer that says `close`.
async fn heedful(client: Client, time: Duration) -> (usize, usize) {
    let (mut kept, mut closed) = (0, 0);
    let mut connection = client.http1().await;
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        connection.sender.ready().await.unwrap();
        let asked = request("POST", "/echo", "admit");
        let answer = connection.sender.send_request(asked).await.unwrap();
        let close = answer.headers().contains_key("connection");
        assert_eq!(text(answer).await, "admit");
        if close {
            closed += 1;
            connection = client.http1().await;
        } else {
            kept += 1;
        }
    }
    (kept, closed)
}

#[tokio::test]
async fn draining_completes_what_is_in_flight_and_closes_what_is_idle() {
    let (server, client) = Server::start(routes(BodyLimits::default()), Limits::default()).await;
    let mut idle = client.http1().await;
    idle.echo("idle").await.unwrap();
    let (slow1, slow2) = (slow_http1(&client).await, slow_http2(&client).await);
    let mut fresh = client.http1().await;
    // Both slow requests have reached their handlers.
    sleep(Duration::from_millis(100)).await;
    server.shutdown.leave();
    server.shutdown.drain();

    timeout(LONG, idle.connection)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(
        fresh.echo("fresh").await.unwrap(),
        "fresh",
        "connected before, so it is served"
    );
    let (answer, headers) = slow1.await.unwrap();
    assert_eq!(answer, "slow");
    assert_eq!(headers["connection"], "close");
    assert_eq!(slow2.await.unwrap(), "slow");
    timeout(LONG, server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

async fn slow_http1(client: &Client) -> tokio::task::JoinHandle<(String, hyper::HeaderMap)> {
    let mut connection = client.http1().await;
    tokio::spawn(async move {
        let answer = connection.sender.send_request(request("GET", "/slow", ""));
        let answer = answer.await.unwrap();
        let headers = answer.headers().clone();
        (text(answer).await, headers)
    })
}

async fn slow_http2(client: &Client) -> tokio::task::JoinHandle<String> {
    let mut connection = client.http2().await;
    tokio::spawn(async move {
        let answer = connection.sender.send_request(request("GET", "/slow", ""));
        let answer = text(answer.await.unwrap()).await;
        // The server has said GOAWAY and closes when the last stream is done.
        timeout(LONG, connection.connection)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        answer
    })
}

#[tokio::test]
async fn draining_ends_at_its_deadline_whatever_is_still_open() {
    let limits = Limits {
        drain: SHORT,
        ..Limits::default()
    };
    let (server, client) = Server::start(routes(BodyLimits::default()), limits).await;
    let mut connection = client.http1().await;
    let asked = connection.sender.send_request(request("GET", "/never", ""));
    let asked = tokio::spawn(asked);
    sleep(Duration::from_millis(100)).await;
    server.shutdown.drain();
    timeout(LONG, server.task).await.unwrap().unwrap();
    assert!(asked.await.unwrap().is_err());
}
