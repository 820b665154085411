//! List, then watch, forever. An own loop, because the index wants to know that a watch is alive from its bookmarks,
//! which kube's `watcher` keeps to itself, and because a list must not be held whole.
//!
//! It follows client-go's reflector: the first list may come from the API server's watch cache (`resourceVersion=0`;
//! anything else makes the server read every Secret of the cluster from etcd to find those of our name), a later one may
//! not be older than what was seen, and after a 410 Gone it is a consistent read.

mod follow;
mod list;

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::Instant;

use super::errors::describe;
use super::wire::{ObjectMeta, PartialObject};
use crate::clock::Clock;
use crate::watch::Mirror;
use follow::End;
use list::{Freshness, after_failed_list};

/// A watch that ends within this time without an event counts as a failure, or a broken proxy would make us spin.
const SHORT_WATCH: Duration = Duration::from_secs(1);

/// How patient a watch is.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The first wait after a failure; it doubles with each further one.
    pub retry_first: Duration,
    /// The longest wait after a failure.
    pub retry_most: Duration,
    /// A connection that says nothing for so long is given up. Longer than the API server's pause between bookmarks
    /// (a minute), shorter than the five minutes that an index may go unheard.
    pub silence: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            retry_first: Duration::from_secs(1),
            retry_most: Duration::from_secs(30),
            silence: Duration::from_secs(150),
        }
    }
}

/// How a watch is doing, for readiness and for people.
#[derive(Clone, Debug, Default)]
pub struct WatchState {
    /// Whether a whole list has been delivered since the start.
    pub synced: bool,
    /// Since when it does not work, and why; `None` while it does.
    pub broken: Option<(Instant, String)>,
}

/// What differs between the kinds of object that are watched.
pub(super) struct Kind<T> {
    /// The collection's path, over all namespaces or in one.
    pub(super) path: Cow<'static, str>,
    pub(super) field_selector: Option<String>,
    /// Whether whole objects are asked for; otherwise their metadata alone.
    pub(super) whole: bool,
    /// What to do where the API server does not know such objects.
    pub(super) where_unknown: Option<&'static str>,
    /// The mirror's key of an object.
    pub(super) key: fn(&ObjectMeta) -> Cow<'_, str>,
    /// The few fields that are kept of it.
    pub(super) project: fn(PartialObject) -> T,
}

/// A watch of one kind of object over the whole cluster, which feeds a mirror with a projection of it.
pub struct Watch<T> {
    client: Client,
    kind: Arc<Kind<T>>,
    mirror: Arc<dyn Mirror<T>>,
    clock: Clock,
    pace: Pace,
    state: watch::Sender<WatchState>,
}

impl<T: Send + 'static> Watch<T> {
    pub(super) fn new(
        client: Client,
        kind: Kind<T>,
        mirror: Arc<dyn Mirror<T>>,
        clock: Clock,
        pace: Pace,
    ) -> Self {
        Self {
            client,
            kind: Arc::new(kind),
            mirror,
            clock,
            pace,
            state: watch::Sender::default(),
        }
    }

    /// How it is doing, from now on.
    pub fn state(&self) -> watch::Receiver<WatchState> {
        self.state.subscribe()
    }

    /// Lists and watches until it is dropped. Cancel-safe: a new run starts with a list.
    pub async fn run(&self) -> Infallible {
        let mut freshness = Freshness::Any;
        let mut failures = 0;
        loop {
            match self.list(&freshness).await {
                Ok(version) => freshness = self.follow(version, &mut failures).await,
                Err(error) => {
                    self.broken(self.explain(&error));
                    freshness = after_failed_list(freshness, &error);
                    self.pause(&mut failures).await;
                }
            }
        }
    }

    /// Watches from a version on, again and again, until only a new list can help.
    async fn follow(&self, mut version: String, failures: &mut u32) -> Freshness {
        loop {
            let started = self.clock.monotonic();
            let mut heard = false;
            match self.watch(&mut version, &mut heard).await {
                End::Gone => return Freshness::Latest,
                End::Closed if heard || started.elapsed() >= SHORT_WATCH => *failures = 0,
                End::Closed => {
                    self.broken("the API server closes each watch at once".to_owned());
                    self.pause(failures).await;
                }
                End::Failed(cause) => {
                    if heard {
                        *failures = 0;
                    }
                    self.broken(cause);
                    self.pause(failures).await;
                    // As client-go does: a list shows whether what failed was this watch or everything.
                    if *failures > 2 {
                        return Freshness::NotOlderThan(version);
                    }
                }
            }
        }
    }

    fn explain(&self, error: &kube::Error) -> String {
        match (error, self.kind.where_unknown) {
            (kube::Error::Api(status), Some(advice)) if status.code == 404 => advice.to_owned(),
            _ => describe(error),
        }
    }

    fn heard(&self) {
        self.mirror.heard();
        self.state.send_if_modified(|state| {
            let changed = !state.synced || state.broken.is_some();
            *state = WatchState {
                synced: true,
                broken: None,
            };
            changed
        });
    }

    fn works(&self) {
        self.state
            .send_if_modified(|state| state.broken.take().is_some());
    }

    fn broken(&self, cause: String) {
        tracing::warn!(path = &*self.kind.path, cause, "watch interrupted");
        let now = self.clock.monotonic();
        self.state.send_modify(|state| {
            let since = state.broken.as_ref().map_or(now, |(since, _)| *since);
            state.broken = Some((since, cause));
        });
    }

    /// Waits longer after each failure in a row, at least half of it, the rest by chance.
    async fn pause(&self, failures: &mut u32) {
        let doubled = self.pace.retry_first * 2u32.saturating_pow((*failures).min(16));
        *failures = failures.saturating_add(1);
        let half = doubled.min(self.pace.retry_most) / 2;
        tokio::time::sleep(half + self.clock.jitter(half)).await;
    }
}
