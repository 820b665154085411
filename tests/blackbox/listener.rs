//! Connections: what a client may do, and how long it may take.

use std::time::Duration;

use bytes::Bytes;
use ecr_admission::server::activity::Patience;
use ecr_admission::server::body::BodyLimits;
use ecr_admission::server::listener::{Limits, Transport};
use hyper::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::https::{LONG, SHORT, Server, request, routes, text};

/// Everything that a client can stall in is short, and idleness between requests is not.
fn impatient() -> Limits {
    Limits {
        handshake: SHORT,
        patience: Patience {
            first_request: SHORT,
            headers: SHORT,
            ..Patience::default()
        },
        ..Limits::default()
    }
}

/// The server's last bytes before it closes; panics when it does not.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let closed = timeout(LONG, stream.read_to_end(&mut bytes)).await;
    // A reset, or the end of TCP without that of TLS, is a close as well.
    let _how = closed.expect("the server keeps the connection open");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_client_that_stalls_in_the_handshake_is_closed() {
    let (server, _) = Server::start(routes(BodyLimits::default()), impatient()).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    rest(&mut silent).await;
    let mut halfway = TcpStream::connect(server.address).await.unwrap();
    // The first bytes of a ClientHello of 512 bytes.
    halfway.write_all(&[22, 3, 1, 2, 0, 1, 0]).await.unwrap();
    rest(&mut halfway).await;
    server
        .measures("tls_handshake_errors_total{reason=\"timeout\"} 2")
        .await;
    server
        .measures("connections_in_flight{listener=\"test\"} 0")
        .await;
}

#[tokio::test]
async fn a_client_that_is_silent_after_the_handshake_is_closed_whatever_it_negotiated() {
    let (server, client) = Server::start(routes(BodyLimits::default()), impatient()).await;
    for alpn in [&["h2"][..], &["http/1.1"], &["h2", "http/1.1"], &[]] {
        let mut stream = client.connect(alpn).await.unwrap();
        rest(&mut stream).await;
    }
    let timed_out =
        "connections_timed_out_total{listener=\"test\",waiting_for=\"first_request\"} 4";
    server.measures(timed_out).await;
}

#[tokio::test]
async fn a_client_that_stalls_in_the_headers_is_closed_in_its_first_request_and_in_later_ones() {
    let (server, client) = Server::start(routes(BodyLimits::default()), impatient()).await;
    let mut first = client.connect(&["http/1.1"]).await.unwrap();
    first
        .write_all(b"POST /echo HTTP/1.1\r\nhost: a")
        .await
        .unwrap();
    rest(&mut first).await;

    let mut later = client.connect(&["http/1.1"]).await.unwrap();
    later
        .write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nok")
        .await
        .unwrap();
    // Long enough for the answer; were idleness bounded as headers are, it would be closed by now.
    sleep(SHORT * 3).await;
    later
        .write_all(b"POST /echo HTTP/1.1\r\nhost: a")
        .await
        .unwrap();
    let answers = rest(&mut later).await;
    assert!(answers.starts_with("HTTP/1.1 200 OK"), "{answers}");
    let timed_out = "connections_timed_out_total{listener=\"test\",waiting_for=\"headers\"} 2";
    server.measures(timed_out).await;
}

#[tokio::test]
async fn a_client_that_trickles_its_headers_is_closed() {
    let (_server, client) = Server::start(routes(BodyLimits::default()), impatient()).await;
    let (mut read, mut write) = tokio::io::split(client.connect(&["http/1.1"]).await.unwrap());
    let trickle = async {
        write.write_all(b"POST /echo HTTP/1.1\r\n").await?;
        loop {
            write.write_all(b"a: b\r\n").await?;
            write.flush().await?;
            sleep(SHORT / 10).await;
        }
    };
    let trickle: std::io::Result<()> = tokio::select! {
        ended = trickle => ended,
        _ = rest(&mut read) => return,
    };
    assert!(trickle.is_err());
}

#[tokio::test]
async fn a_client_that_stalls_in_the_body_gets_an_answer_and_is_closed() {
    let bodies = BodyLimits {
        time: SHORT,
        ..BodyLimits::default()
    };
    let (_server, client) = Server::start(routes(bodies), Limits::default()).await;
    let mut stream = client.connect(&["http/1.1"]).await.unwrap();
    stream
        .write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n{\"half\":")
        .await
        .unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_outlives_the_header_timeout_and_serves_its_next_request() {
    let (_server, client) = Server::start(routes(BodyLimits::default()), impatient()).await;
    let mut connection = client.http1().await;
    assert_eq!(connection.echo("one").await.unwrap(), "one");
    sleep(SHORT * 4).await;
    assert_eq!(connection.echo("two").await.unwrap(), "two");
}

#[tokio::test]
async fn an_idle_connection_is_closed_at_last() {
    let mut limits = Limits::default();
    limits.patience.idle = SHORT;
    let (server, client) = Server::start(routes(BodyLimits::default()), limits).await;
    let mut http1 = client.http1().await;
    http1.echo("one").await.unwrap();
    let mut http2 = client.http2().await;
    let asked = http2
        .sender
        .send_request(request("POST", "/echo", "two"))
        .await;
    assert_eq!(text(asked.unwrap()).await, "two");
    for connection in [http1.connection, http2.connection] {
        timeout(LONG, connection).await.unwrap().unwrap().unwrap();
    }
    server
        .measures("connections_in_flight{listener=\"test\"} 0")
        .await;
}

#[tokio::test]
async fn connections_over_the_limit_are_refused_at_once_and_counted() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let (server, client) = Server::start(routes(BodyLimits::default()), limits).await;
    let (mut first, second) = (client.http1().await, client.http1().await);
    assert!(client.connect(&["http/1.1"]).await.is_err());
    server
        .measures("connections_refused_total{listener=\"test\"} 1")
        .await;
    assert_eq!(first.echo("still").await.unwrap(), "still");

    drop(second);
    server
        .measures("connections_in_flight{listener=\"test\"} 1")
        .await;
    let mut third = client.http1().await;
    assert_eq!(third.echo("again").await.unwrap(), "again");
}

#[tokio::test]
async fn a_closed_connection_leaves_no_task_behind() {
    let (server, client) = Server::start(routes(BodyLimits::default()), Limits::default()).await;
    let alive = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let before = alive();
    for _ in 0..100 {
        let mut connection = client.http1().await;
        connection.echo("x").await.unwrap();
    }
    server
        .measures("connections_in_flight{listener=\"test\"} 0")
        .await;
    let gone = async {
        while alive() > before {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, gone).await.expect("tasks are left");
}

#[tokio::test]
async fn a_handler_that_panics_costs_its_own_connection_only() {
    let (server, client) = Server::start(routes(BodyLimits::default()), Limits::default()).await;
    let (mut other, mut victim) = (client.http1().await, client.http1().await);
    other.echo("before").await.unwrap();
    let asked = victim
        .sender
        .send_request(request("GET", "/panic", ""))
        .await;
    assert!(asked.is_err());
    assert_eq!(other.echo("after").await.unwrap(), "after");
    server
        .measures("connections_in_flight{listener=\"test\"} 1")
        .await;
}

#[tokio::test]
async fn http2_serves_many_requests_on_one_connection() {
    let (_server, client) = Server::start(routes(BodyLimits::default()), Limits::default()).await;
    let connection = client.http2().await;
    let body = Bytes::from(vec![b'x'; 300 * 1024]);
    let asks = (0..20).map(|_| {
        let mut sender = connection.sender.clone();
        let asked = request("POST", "/echo", body.clone());
        async move { text(sender.send_request(asked).await.unwrap()).await }
    });
    for answer in futures_util::future::join_all(asks).await {
        assert_eq!(answer.len(), body.len());
    }
}

#[tokio::test]
async fn http2_streams_that_wait_for_room_do_not_keep_the_others_from_being_read() {
    let bodies = BodyLimits {
        large_room_bytes: 400 * 1024,
        ..BodyLimits::default()
    };
    let (_server, client) = Server::start(routes(bodies), Limits::default()).await;
    let connection = client.http2().await;
    let asks = (0..30).map(|_| {
        let mut sender = connection.sender.clone();
        let asked = request("POST", "/echo", vec![b'x'; 300 * 1024]);
        async move { sender.send_request(asked).await.unwrap().status() }
    });
    let statuses = futures_util::future::join_all(asks).await;
    assert_eq!(statuses, [StatusCode::OK; 30]);
}

#[tokio::test]
async fn http2_connections_have_a_limit_of_their_own() {
    let limits = Limits {
        http2_connections: 1,
        ..Limits::default()
    };
    let (server, client) = Server::start(routes(BodyLimits::default()), limits).await;
    let _first = client.http2().await;
    let mut second = client.connect(&["h2"]).await.unwrap();
    rest(&mut second).await;
    assert_eq!(client.http1().await.echo("still").await.unwrap(), "still");
    server
        .measures("connections_refused_total{listener=\"test\"} 1")
        .await;
}

#[tokio::test]
async fn a_client_that_sends_a_body_that_is_too_large_to_its_end_gets_the_answer_and_goes_on() {
    let (_server, client) = Server::start(routes(BodyLimits::default()), Limits::default()).await;
    let mut connection = client.http1().await;
    let body = vec![b'x'; 9 * 1024 * 1024];
    let asked = request("POST", "/echo", body.clone());
    let answer = connection.sender.send_request(asked).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(text(answer).await.len(), BodyLimits::default().prefix_bytes);
    assert_eq!(connection.echo("next").await.unwrap(), "next");

    let mut connection = client.http2().await;
    let asked = connection
        .sender
        .send_request(request("POST", "/echo", body))
        .await;
    assert_eq!(asked.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn plain_http_has_the_same_bounds() {
    let router = routes(BodyLimits::default());
    let server = Server::listen(Transport::Plain, router, impatient()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let asked =
        "POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    stream.write_all(asked.as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.ends_with("\r\n\r\nok"));
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    rest(&mut silent).await;
}
