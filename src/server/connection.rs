//! One connection, from the handshake to its end.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, Version};
use futures_util::future::poll_fn;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tower::Service as _;
use tracing::debug;

use crate::clock::Clock;
use crate::server::activity::{Activity, Observed, Patience, Waiting};
use crate::server::metrics::{HandshakeFailure, ListenerMetrics};
use crate::server::shutdown::{Stage, Stages};
use crate::server::tls;

/// The most that one HTTP/1 connection buffers, and so the longest head of a request. The API server's heads are about
/// 300 bytes; a body is read through this buffer in pieces.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;
/// The most that one HTTP/2 stream may send before its handler reads. The connection's own window is as many of these
/// as it has streams: were it less, streams whose handlers wait for room could keep out the bytes of the one that has it.
const HTTP2_STREAM_BYTES: u32 = 32 * 1024;
/// The longest decoded headers of an HTTP/2 request.
const HTTP2_HEADERS_BYTES: u32 = 16 * 1024;
/// The most that waits to be sent in each HTTP/2 stream; answers are a few hundred bytes.
const HTTP2_SEND_BYTES: usize = 64 * 1024;
/// How long a connection that is closed for idleness may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// What all connections of a listener share.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) router: Router,
    pub(crate) handshake: Duration,
    pub(crate) patience: Patience,
    pub(crate) http2_streams: u32,
    pub(crate) http2_places: Semaphore,
    pub(crate) clock: Clock,
    pub(crate) stages: Stages,
    pub(crate) metrics: ListenerMetrics,
}

impl Connections {
    /// Serves a connection until it ends; `tls` is `None` for plain HTTP.
    pub(crate) async fn serve(self: Arc<Self>, stream: TcpStream, tls: Option<Arc<ServerConfig>>) {
        // An answer is written at once: waiting for more of it (Nagle) would only delay admissions.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot set TCP_NODELAY");
        }
        let Some(config) = tls else {
            return self.serve_http1(stream).await;
        };
        let handshake = TlsAcceptor::from(config).accept(stream);
        match timeout(self.handshake, handshake).await {
            Ok(Ok(stream)) => {
                // It is moved on, and each move would take its place in this future.
                let stream = Box::new(stream);
                // By ALPN, instead of hyper-util's `auto`: that one waits for the first bytes without any timer.
                if stream.get_ref().1.alpn_protocol() == Some(tls::ALPN_H2) {
                    self.serve_http2(stream).await;
                } else {
                    self.serve_http1(stream).await;
                }
            }
            Ok(Err(error)) => {
                let failure = tls::handshake_failure(&error);
                debug!(%error, ?failure, "TLS handshake failed");
                self.metrics.handshake_failed(failure);
            }
            Err(_) => self.metrics.handshake_failed(HandshakeFailure::Timeout),
        }
    }

    async fn serve_http1(&self, io: impl AsyncRead + AsyncWrite + Unpin) {
        let activity = self.activity(true);
        let io = TokioIo::new(Observed::new(io, activity.clone()));
        let connection = http1::Builder::new()
            // `Activity` does it: see there.
            .header_read_timeout(None)
            .max_buf_size(HTTP1_BUFFER_BYTES)
            .serve_connection(io, self.service(&activity));
        self.drive(pin!(connection), &activity).await;
    }

    async fn serve_http2(&self, io: impl AsyncRead + AsyncWrite + Unpin) {
        let Ok(_place) = self.http2_places.try_acquire() else {
            self.metrics.refused.inc();
            debug!("connection refused: the limit of HTTP/2 connections is reached");
            return;
        };
        let activity = self.activity(false);
        let io = TokioIo::new(Observed::new(io, activity.clone()));
        // HTTP/2 has no larger window.
        let window = HTTP2_STREAM_BYTES
            .saturating_mul(self.http2_streams)
            .min(i32::MAX.unsigned_abs());
        let connection = http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(self.http2_streams)
            .initial_connection_window_size(window)
            .initial_stream_window_size(HTTP2_STREAM_BYTES)
            .max_header_list_size(HTTP2_HEADERS_BYTES)
            .max_send_buf_size(HTTP2_SEND_BYTES)
            .serve_connection(io, self.service(&activity));
        self.drive(pin!(connection), &activity).await;
    }

    fn activity(&self, bytes_are_requests: bool) -> Activity {
        Activity::new(self.clock.clone(), self.patience, bytes_are_requests)
    }

    /// The router, observed by `activity`; while the process is on its way out each answer says so.
    fn service(
        &self,
        activity: &Activity,
    ) -> impl Service<
        Request<Incoming>,
        Response = Response<Body>,
        Error = Infallible,
        Future = impl Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    > + 'static {
        let (router, activity) = (self.router.clone(), activity.clone());
        // The connection's own count, so that requests of different connections share no more than the stage itself.
        let stages = Arc::new(self.stages.clone());
        service_fn(move |request: Request<Incoming>| {
            let answering = activity.request();
            let http1 = request.version() < Version::HTTP_2;
            // A router is always ready, and its clone is a pointer.
            let answer = router.clone().call(request);
            let stages = Arc::clone(&stages);
            async move {
                let mut response = answer.await?;
                if http1 && stages.current() >= Stage::Leaving {
                    let headers = response.headers_mut();
                    headers.insert(CONNECTION, HeaderValue::from_static("close"));
                }
                drop(answering);
                Ok(response)
            }
        })
    }

    // Pinned by the caller: a connection that is moved into a future takes its place in it twice.
    async fn drive(&self, mut connection: Pin<&mut impl Connection>, activity: &Activity) {
        let mut alarm = pin!(sleep_until(activity.deadline()));
        let mut stages = self.stages.clone();
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                event = next_event(connection.as_mut(), alarm.as_mut(), activity) => match event {
                    Event::Ended => return,
                    Event::Overdue => break,
                },
                () = stages.draining(), if !draining => {
                    draining = true;
                    activity.drain();
                    // An idle connection ends now. One that is new, or carries a request, ends by the header that its
                    // answer gets: hyper would close a new one under the client's first request.
                    if connection.is_http2() || activity.waiting() == Waiting::NextRequest {
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
        let waiting = activity.waiting();
        self.metrics.timed_out(waiting);
        debug!(
            waiting_for = waiting.label(),
            "closing a connection whose client keeps us waiting"
        );
        if matches!(waiting, Waiting::FirstRequest | Waiting::NextRequest) {
            connection.as_mut().graceful_shutdown();
            let _late = timeout(GOODBYE, connection).await;
        }
    }
}

enum Event {
    Ended,
    Overdue,
}

/// Drives the connection until it ends or its deadline passes. The timer is not touched at each request: it is pulled
/// forward when the deadline is earlier, and otherwise asks for the deadline again when it rings.
async fn next_event<C: Connection>(
    mut connection: Pin<&mut C>,
    mut alarm: Pin<&mut Sleep>,
    activity: &Activity,
) -> Event {
    poll_fn(|cx| {
        // First the connection: what has already arrived counts.
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            if let Err(error) = ended {
                debug!(%error, "connection ended with an error");
            }
            return Poll::Ready(Event::Ended);
        }
        let deadline = activity.deadline();
        if deadline < alarm.deadline() {
            alarm.as_mut().reset(deadline);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            let deadline = activity.deadline();
            if deadline <= activity.now() {
                return Poll::Ready(Event::Overdue);
            }
            alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    })
    .await
}

/// What HTTP/1 and HTTP/2 connections have in common.
trait Connection: Future<Output = hyper::Result<()>> {
    fn graceful_shutdown(self: Pin<&mut Self>);
    fn is_http2(&self) -> bool;
}

impl<I, S> Connection for http1::Connection<I, S>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        Self::graceful_shutdown(self);
    }

    fn is_http2(&self) -> bool {
        false
    }
}

impl<I, S> Connection for http2::Connection<I, S, TokioExecutor>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        Self::graceful_shutdown(self);
    }

    fn is_http2(&self) -> bool {
        true
    }
}
