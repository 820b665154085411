//! List, then watch, forever. An own loop, because the index wants to know that a watch is alive from its bookmarks,
//! which kube's `watcher` keeps to itself, and because a list must not be held whole.
//!
//! It follows client-go's reflector: the first list may come from the API server's watch cache (`resourceVersion=0`;
//! anything else makes the server read every Secret of the cluster from etcd to find those of our name), a later one may
//! not be older than what was seen, and after a 410 Gone it is a consistent read.

use std::borrow::Cow;
use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::errors::describe;
use super::list::page;
use super::wire::{ObjectMeta, PartialObject};
use crate::clock::Clock;
use crate::watch::Mirror;

/// Objects a page of a consistent list.
const PAGE: u32 = 500;
/// What we ask the API server to end a watch after, in seconds; it holds less than five minutes in any case.
const WATCH_SECONDS: u32 = 290;
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

/// Which data the next list may answer with.
enum Freshness {
    /// Whatever the API server has at hand.
    Any,
    /// Nothing older than this version, which has been seen.
    NotOlderThan(String),
    /// A consistent read.
    Latest,
}

/// Why following a watch has ended.
enum End {
    /// The server or the network closed it after it had worked.
    Closed,
    /// Our version is too old: events have been missed.
    Gone,
    /// It does not work; the cause for people.
    Failed(String),
}

/// What a list collects while its items go to the mirror one by one.
struct Listing<T> {
    kind: Arc<Kind<T>>,
    mirror: Arc<dyn Mirror<T>>,
    keys: HashSet<String>,
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

    /// Delivers a whole list to the mirror and returns its version.
    async fn list(&self, freshness: &Freshness) -> kube::Result<String> {
        let mut params = ListParams {
            field_selector: self.kind.field_selector.clone(),
            ..ListParams::default()
        };
        match freshness {
            Freshness::Any => params = params.match_any(),
            Freshness::NotOlderThan(version) => {
                params = params.at(version);
                params.version_match = Some(kube::api::VersionMatch::NotOlderThan);
            }
            // With a limit the API server reads etcd even where its cache would do, so only where it must anyway.
            Freshness::Latest => params = params.limit(PAGE),
        }
        let mut listing = Listing {
            kind: Arc::clone(&self.kind),
            mirror: Arc::clone(&self.mirror),
            keys: HashSet::new(),
        };
        loop {
            let request = Request::new(&*self.kind.path);
            let request = if self.kind.whole {
                request.list(&params)
            } else {
                request.list_metadata(&params)
            };
            let request = request.map_err(kube::Error::BuildRequest)?;
            let fold = |listing: &mut Listing<T>, object: PartialObject| {
                let key = (listing.kind.key)(&object.metadata).into_owned();
                listing.mirror.apply(&key, (listing.kind.project)(object));
                listing.keys.insert(key);
            };
            let (all, meta) = page(&self.client, request, self.pace.silence, listing, fold).await?;
            listing = all;
            let Some(token) = meta.next_page() else {
                self.mirror.listed(&listing.keys, &meta.resource_version);
                self.heard();
                return Ok(meta.resource_version);
            };
            params.continue_token = Some(token.to_owned());
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

    /// One watch, from `version`, which moves with each event.
    async fn watch(&self, version: &mut String, heard: &mut bool) -> End {
        let params = WatchParams {
            field_selector: self.kind.field_selector.clone(),
            timeout: Some(WATCH_SECONDS),
            ..WatchParams::default()
        };
        let request = Request::new(&*self.kind.path);
        let request = if self.kind.whole {
            request.watch(&params, version)
        } else {
            request.watch_metadata(&params, version)
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => return End::Failed(error.to_string()),
        };
        let silence = self.pace.silence;
        let opened = timeout(
            silence,
            self.client.request_events::<PartialObject>(request),
        )
        .await;
        let mut events = match opened {
            Ok(Ok(events)) => events.boxed(),
            Ok(Err(error)) => return self.ended(&error),
            Err(_) => return End::Failed(format!("no answer to a watch within {silence:?}")),
        };
        self.works();
        loop {
            match timeout(silence, events.next()).await {
                Err(_) => return End::Failed(format!("the watch was silent for {silence:?}")),
                Ok(None) => return End::Closed,
                Ok(Some(Err(error))) => return self.ended(&error),
                Ok(Some(Ok(WatchEvent::Error(status)))) => {
                    return self.ended(&kube::Error::Api(status));
                }
                Ok(Some(Ok(event))) => {
                    *version = self.deliver(event, std::mem::take(version));
                    *heard = true;
                    self.heard();
                }
            }
        }
    }

    /// Gives an event to the mirror; returns the version that a next watch can start from.
    fn deliver(&self, event: WatchEvent<PartialObject>, before: String) -> String {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let key = (self.kind.key)(&object.metadata).into_owned();
                let version = object.metadata.resource_version.clone();
                self.mirror.apply(&key, (self.kind.project)(object));
                version
            }
            WatchEvent::Deleted(object) => {
                let version = object.metadata.resource_version.clone();
                self.mirror
                    .delete(&(self.kind.key)(&object.metadata), &version);
                version
            }
            WatchEvent::Bookmark(bookmark) => bookmark.metadata.resource_version,
            WatchEvent::Error(_) => before,
        }
    }

    fn ended(&self, error: &kube::Error) -> End {
        if is_gone(error) {
            End::Gone
        } else {
            End::Failed(self.explain(error))
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

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}

/// A version that is gone (a page token too, after five minutes), or that this API server has not reached yet ("Too
/// large resource version", 504), is not asked for again.
fn after_failed_list(before: Freshness, error: &kube::Error) -> Freshness {
    match error {
        kube::Error::Api(status) if matches!(status.code, 410 | 504) => Freshness::Latest,
        _ => before,
    }
}
