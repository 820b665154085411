//! The accept loop: a bounded number of connections, each in its own task, and an orderly end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use futures_util::FutureExt;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};

use crate::clock::Clock;
use crate::server::activity::Patience;
use crate::server::connection::Connections;
use crate::server::metrics::ServerMetrics;
use crate::server::shutdown::{Shutdown, Stages};

/// What bounds a listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections; one more is closed at once. An API server opens one for each admission in flight.
    pub connections: usize,
    /// For the whole TLS handshake.
    pub handshake: Duration,
    /// How long a client may keep a connection waiting.
    pub patience: Patience,
    /// HTTP/2 connections among them. Each may make us hold more than one of HTTP/1 can (32 KiB a stream), and the API
    /// server speaks HTTP/2 to localhost only, over one connection.
    pub http2_connections: usize,
    /// Requests at a time in one HTTP/2 connection.
    pub http2_streams: u32,
    /// How long draining may take; connections that are then still open are cut.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            handshake: Duration::from_secs(5),
            patience: Patience::default(),
            http2_connections: 64,
            http2_streams: 64,
            // With the grace time it stays below Kubernetes' default termination grace period of 30 s.
            drain: Duration::from_secs(15),
        }
    }
}

/// How a listener speaks.
#[derive(Clone, Debug)]
pub enum Transport {
    /// HTTPS, HTTP/1.1 and HTTP/2 by ALPN. The configuration is looked up for each connection, so that a change of the
    /// clients' CA takes effect without a restart; the certificate itself changes in its resolver.
    Tls(Arc<ArcSwap<ServerConfig>>),
    /// HTTP/1.1 in the clear.
    Plain,
}

impl Transport {
    /// HTTPS with one configuration for good.
    pub fn tls(config: ServerConfig) -> Self {
        Self::Tls(Arc::new(ArcSwap::from_pointee(config)))
    }

    fn current(&self) -> Option<Arc<ServerConfig>> {
        match self {
            Self::Tls(config) => Some(config.load_full()),
            Self::Plain => None,
        }
    }
}

/// What a listener needs beside its socket and its router.
#[derive(Clone, Debug)]
pub struct Options {
    /// Labels metrics and logs, such as `webhook`.
    pub name: &'static str,
    /// Bounds.
    pub limits: Limits,
    /// When to end.
    pub stages: Stages,
    /// Time.
    pub clock: Clock,
    /// Where connections are counted.
    pub metrics: ServerMetrics,
}

impl Options {
    /// Default limits.
    pub fn new(
        name: &'static str,
        shutdown: &Shutdown,
        clock: Clock,
        metrics: ServerMetrics,
    ) -> Self {
        Self {
            name,
            limits: Limits::default(),
            stages: shutdown.stages(),
            clock,
            metrics,
        }
    }
}

/// Serves `router` on `tcp` until draining is over. Dropping the future cuts all connections.
pub async fn serve(tcp: TcpListener, transport: Transport, router: Router, options: Options) {
    let name = options.name;
    let mut listener = Listener::new(transport, router, options);
    let mut stages = listener.shared.stages.clone();
    let mut backoff = AcceptBackoff::default();
    loop {
        tokio::select! {
            biased;
            () = stages.draining() => break,
            Some(ended) = listener.tasks.join_next() => reap(&ended),
            accepted = tcp.accept() => match accepted {
                Ok((stream, _)) => {
                    backoff = AcceptBackoff::default();
                    listener.admit(stream);
                }
                Err(failure) => {
                    listener.shared.metrics.accept_errors.inc();
                    if let Some(pause) = backoff.after(&failure) {
                        warn!(listener = name, error = %failure, ?pause, "cannot accept connections");
                        sleep(pause).await;
                    }
                }
            }
        }
    }
    // Connections that the kernel has already accepted for us would be reset with the socket.
    while let Some(Ok((stream, _))) = tcp.accept().now_or_never() {
        listener.admit(stream);
    }
    drop(tcp);
    listener.drain().await;
}

struct Listener {
    name: &'static str,
    limits: Limits,
    transport: Transport,
    shared: Arc<Connections>,
    /// One task a connection; each is reaped when it ends.
    tasks: JoinSet<()>,
}

impl Listener {
    fn new(transport: Transport, router: Router, options: Options) -> Self {
        let limits = options.limits;
        let shared = Connections {
            router,
            handshake: limits.handshake,
            patience: limits.patience,
            http2_streams: limits.http2_streams,
            http2_places: Semaphore::new(limits.http2_connections),
            clock: options.clock,
            stages: options.stages,
            metrics: options.metrics.listener(options.name),
        };
        Self {
            name: options.name,
            limits,
            transport,
            shared: Arc::new(shared),
            tasks: JoinSet::new(),
        }
    }

    /// Serves a connection, or closes it at once when there are too many.
    fn admit(&mut self, stream: TcpStream) {
        while let Some(ended) = self.tasks.try_join_next() {
            reap(&ended);
        }
        if self.tasks.len() >= self.limits.connections {
            self.shared.metrics.refused.inc();
            debug!(
                listener = self.name,
                "connection refused: the limit is reached"
            );
            return;
        }
        let open = self.shared.metrics.open();
        let serving = Arc::clone(&self.shared).serve(stream, self.transport.current());
        self.tasks.spawn(async move {
            serving.await;
            drop(open);
        });
    }

    async fn drain(mut self) {
        let all = async {
            while let Some(ended) = self.tasks.join_next().await {
                reap(&ended);
            }
        };
        let in_time = timeout(self.limits.drain, all).await.is_ok();
        if in_time {
            info!(listener = self.name, "every connection has ended");
        } else {
            warn!(
                listener = self.name,
                connections = self.tasks.len(),
                "draining took too long, the remaining connections are cut"
            );
            self.tasks.shutdown().await;
        }
    }
}

fn reap(ended: &Result<(), JoinError>) {
    if let Err(failure) = ended
        && failure.is_panic()
    {
        error!("a connection was cut because its handler panicked");
    }
}

/// How long to wait after a failed `accept`.
#[derive(Debug, Default)]
struct AcceptBackoff {
    failures: u32,
}

impl AcceptBackoff {
    const FIRST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(1);

    /// `None` when the failure was that connection's own. Otherwise the process is out of descriptors or memory, and
    /// accepting again at once would spin on the same error.
    fn after(&mut self, failure: &io::Error) -> Option<Duration> {
        if matches!(
            failure.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionRefused
        ) {
            return None;
        }
        let pause = Self::FIRST.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        Some(pause.min(Self::LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_descriptors_waits_longer_each_time_and_never_spins() {
        let mut backoff = AcceptBackoff::default();
        // EMFILE
        let exhausted = io::Error::from_raw_os_error(24);
        let pauses: Vec<_> = (0..40)
            .map(|_| backoff.after(&exhausted).unwrap())
            .collect();
        assert_eq!(pauses[0], AcceptBackoff::FIRST);
        assert!(pauses.is_sorted());
        assert_eq!(pauses[39], AcceptBackoff::LONGEST);
    }

    #[test]
    fn a_connection_that_the_client_gave_up_delays_nobody() {
        let mut backoff = AcceptBackoff::default();
        let aborted = io::Error::from(io::ErrorKind::ConnectionAborted);
        assert_eq!(backoff.after(&aborted), None);
    }
}
