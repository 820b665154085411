//! What a connection is waiting for, and until when.
//!
//! hyper's own header timeout cannot be used: it also runs while a kept-alive connection waits for its *next* request
//! (`poll_read_head` of hyper 1.12), so a few seconds for the headers would also be a few seconds of idleness, and the
//! API server keeps connections idle for 90. It has none at all for HTTP/2. So each connection has one deadline, moved
//! by what is seen: bytes that arrive, requests that start and end.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{cmp, io};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::clock::Clock;

/// How long each kind of waiting may last.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From the end of the handshake to the first byte of the first request. Go's client (net/http's Transport) can open
    /// a connection and, when another becomes free first, put it aside unused with those that it keeps; a request that
    /// it then sends into our closing is lost (seen: a refused Pod). So this is as long as [`Patience::idle`].
    pub first_request: Duration,
    /// From the first byte of a request to the end of its headers.
    pub headers: Duration,
    /// From the headers to the answer, reading the body included: above any deadline of an admission (30 s at most), to
    /// end what nothing else ends.
    pub answer: Duration,
    /// Between requests of a kept-alive connection. Well above the 90 s that Go's client (hence the API server) keeps
    /// an idle connection: who closes first must be the client, since a request that meets our close is lost.
    pub idle: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            first_request: Duration::from_mins(3),
            headers: Duration::from_secs(5),
            answer: Duration::from_mins(1),
            idle: Duration::from_mins(3),
        }
    }
}

/// How long a connection without any request yet may still send one when draining begins.
const FIRST_REQUEST_WHILE_DRAINING: Duration = Duration::from_secs(1);

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    FirstRequest,
    Headers,
    Answer,
    NextRequest,
}

impl Waiting {
    pub(crate) const ALL: [Self; 4] = [
        Self::FirstRequest,
        Self::Headers,
        Self::Answer,
        Self::NextRequest,
    ];

    /// The value of the label in metrics.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::FirstRequest => "first_request",
            Self::Headers => "headers",
            Self::Answer => "answer",
            Self::NextRequest => "next_request",
        }
    }
}

/// The activity of one connection, shared by its three observers: the stream, the service and the task that drives it.
#[derive(Clone, Debug)]
pub(crate) struct Activity(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    patience: Patience,
    /// Whether bytes between requests announce a request (HTTP/1), or may be anything (HTTP/2: pings, settings).
    bytes_are_requests: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    waiting: Waiting,
    deadline: Instant,
    /// Requests being answered; above one in HTTP/2 only.
    running: usize,
}

impl Activity {
    pub(crate) fn new(clock: Clock, patience: Patience, bytes_are_requests: bool) -> Self {
        let state = State {
            waiting: Waiting::FirstRequest,
            deadline: clock.monotonic() + patience.first_request,
            running: 0,
        };
        Self(Arc::new(Inner {
            clock,
            patience,
            bytes_are_requests,
            state: Mutex::new(state),
        }))
    }

    pub(crate) fn waiting(&self) -> Waiting {
        self.state().waiting
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.state().deadline
    }

    pub(crate) fn now(&self) -> Instant {
        self.0.clock.monotonic()
    }

    /// Bytes have arrived.
    fn bytes(&self) {
        let mut state = self.state();
        let between = matches!(state.waiting, Waiting::FirstRequest | Waiting::NextRequest);
        if self.0.bytes_are_requests && between {
            state.waiting = Waiting::Headers;
            state.deadline = self.now() + self.0.patience.headers;
        }
    }

    /// The headers of a request are complete; the answer is ready when the guard is dropped.
    pub(crate) fn request(&self) -> Answering {
        let mut state = self.state();
        state.running += 1;
        state.waiting = Waiting::Answer;
        state.deadline = self.now() + self.0.patience.answer;
        Answering(self.clone())
    }

    /// Draining begins: a connection that is new gets a short while for its request.
    pub(crate) fn drain(&self) {
        let mut state = self.state();
        if state.waiting == Waiting::FirstRequest {
            let soon = self.now() + FIRST_REQUEST_WHILE_DRAINING;
            state.deadline = cmp::min(state.deadline, soon);
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Answering(Activity);

impl Drop for Answering {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.running = state.running.saturating_sub(1);
        if state.running == 0 {
            state.waiting = Waiting::NextRequest;
            state.deadline = self.0.now() + self.0.0.patience.idle;
        }
    }
}

/// A stream that tells an [`Activity`] when bytes arrive.
#[derive(Debug)]
pub(crate) struct Observed<I> {
    io: I,
    activity: Activity,
}

impl<I> Observed<I> {
    pub(crate) fn new(io: I, activity: Activity) -> Self {
        Self { io, activity }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Observed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.activity.bytes();
        }
        polled
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Observed<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity(bytes_are_requests: bool) -> Activity {
        let clock = Clock::simulated(jiff::Timestamp::UNIX_EPOCH, 1);
        Activity::new(clock, Patience::default(), bytes_are_requests)
    }

    fn left(activity: &Activity) -> Duration {
        activity.deadline() - activity.now()
    }

    #[tokio::test(start_paused = true)]
    async fn each_kind_of_waiting_has_its_own_deadline() {
        let patience = Patience::default();
        let activity = activity(true);
        assert_eq!(left(&activity), patience.first_request);
        assert!(
            patience.first_request > Duration::from_secs(90),
            "Go keeps a connection for so long"
        );
        activity.bytes();
        assert_eq!(left(&activity), patience.headers);
        let answering = activity.request();
        assert_eq!(left(&activity), patience.answer);
        drop(answering);
        assert_eq!(left(&activity), patience.idle);
        activity.bytes();
        assert_eq!(left(&activity), patience.headers);
    }

    #[tokio::test(start_paused = true)]
    async fn trickling_headers_do_not_move_the_deadline() {
        let activity = activity(true);
        activity.bytes();
        let deadline = activity.deadline();
        tokio::time::advance(Duration::from_secs(4)).await;
        activity.bytes();
        assert_eq!(activity.deadline(), deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn in_http2_bytes_are_no_request_and_the_last_answer_starts_idleness() {
        let patience = Patience::default();
        let activity = activity(false);
        activity.bytes();
        assert_eq!(activity.waiting(), Waiting::FirstRequest);
        let (first, second) = (activity.request(), activity.request());
        drop(first);
        assert_eq!(left(&activity), patience.answer);
        drop(second);
        assert_eq!(left(&activity), patience.idle);
    }

    #[tokio::test(start_paused = true)]
    async fn draining_shortens_only_the_wait_for_a_first_request() {
        let activity = activity(true);
        activity.drain();
        assert_eq!(left(&activity), FIRST_REQUEST_WHILE_DRAINING);
        drop(activity.request());
        let idle = left(&activity);
        activity.drain();
        assert_eq!(left(&activity), idle);
    }
}
