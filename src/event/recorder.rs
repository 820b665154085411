//! From whoever has something to tell to the sink, in good order.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, sleep_until};

use super::metrics::Metrics;
use super::{Event, EventSink, Written};
use crate::clock::Clock;
use crate::secret::StoreErrorKind;

/// How long the same is not told again: as long as an API server keeps an Event unless told otherwise.
const NOT_AGAIN: Duration = Duration::from_hours(1);
/// The most objects and reasons that are remembered as told.
const MOST_TOLD: usize = 10_000;
/// The most Events that wait to be written.
const MOST_WAITING: usize = 256;
/// The most Events that are written within a minute.
const MOST_A_MINUTE: usize = 60;
const MINUTE: Duration = Duration::from_mins(1);

/// Tells Events: each object and reason once an hour, sixty a minute. Telling never waits.
pub struct Events {
    sink: Arc<dyn EventSink>,
    clock: Clock,
    metrics: Metrics,
    queue: Sender<Event>,
    waiting: tokio::sync::Mutex<Receiver<Event>>,
    told: Mutex<Told>,
}

/// What was told.
#[derive(Default)]
struct Told {
    /// When, by the hash of object and reason.
    at: HashMap<u64, Instant>,
    /// When old ones were last looked for: that looks at all, and in a large outage everybody has something to tell.
    swept: Option<Instant>,
}

impl Events {
    /// Tells `sink`, once somebody runs [`Events::run`].
    pub fn new(sink: Arc<dyn EventSink>, clock: Clock, metrics: Metrics) -> Self {
        let (queue, waiting) = mpsc::channel(MOST_WAITING);
        Self {
            sink,
            clock,
            metrics,
            queue,
            waiting: tokio::sync::Mutex::new(waiting),
            told: Mutex::default(),
        }
    }

    /// Has an Event written, unless the same was told within the last hour or too many wait.
    pub fn tell(&self, event: Event) {
        let key = key(&event);
        if !self.is_news(key) {
            return;
        }
        if self.queue.try_send(event).is_err() {
            self.told().at.remove(&key);
            self.metrics.count("dropped");
        }
    }

    /// Whether this is to be told; it counts as told from now on.
    fn is_news(&self, key: u64) -> bool {
        let now = self.clock.monotonic();
        let is_recent = |at: Instant| now.duration_since(at) < NOT_AGAIN;
        let mut told = self.told();
        if told.at.get(&key).is_some_and(|at| is_recent(*at)) {
            return false;
        }
        let is_swept = |told: &Told| told.swept.is_some_and(|at| now.duration_since(at) < MINUTE);
        if told.at.len() >= MOST_TOLD && !is_swept(&told) {
            told.at.retain(|_, at| is_recent(*at));
            told.swept = Some(now);
        }
        if told.at.len() >= MOST_TOLD && !told.at.contains_key(&key) {
            drop(told);
            self.metrics.count("dropped");
            return false;
        }
        told.at.insert(key, now);
        true
    }

    /// Writes what was told, for ever. Run it once; a second run waits for the end of the first.
    pub async fn run(&self) {
        let mut waiting = self.waiting.lock().await;
        let mut last: VecDeque<Instant> = VecDeque::with_capacity(MOST_A_MINUTE);
        while let Some(event) = waiting.recv().await {
            if last.len() == MOST_A_MINUTE
                && let Some(first) = last.pop_front()
            {
                sleep_until(first + MINUTE).await;
            }
            last.push_back(self.clock.monotonic());
            self.write(&event).await;
        }
    }

    async fn write(&self, event: &Event) {
        use StoreErrorKind::{NamespaceMissing, NamespaceTerminating, Refused};
        match self.sink.write(event).await {
            Ok(Written::New) => self.metrics.count("written"),
            Ok(Written::Known) => self.metrics.count("known"),
            Err(error) => {
                self.metrics.count(error.kind.label());
                if matches!(error.kind, NamespaceMissing | NamespaceTerminating) {
                    tracing::debug!(%error, reason = event.reason, "nobody is left to tell");
                    return;
                }
                tracing::warn!(%error, reason = event.reason, "an Event was not written");
                // Whoever may not write it now may not in a minute either.
                if error.kind != Refused {
                    self.told().at.remove(&key(event));
                }
            }
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(event: &Event) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&event.subject, event.reason).hash(&mut hasher);
    hasher.finish()
}
