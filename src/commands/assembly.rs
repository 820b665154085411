//! Wiring the admission service, the same way for `serve`, `demo`, tests and benchmarks.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::admit::{self, Admission, Parts};
use crate::clock::Clock;
use crate::event::{self, EventSink, Events};
use crate::namespace::NamespaceIndex;
use crate::secret::{self, PodImages, SecretIndex, SecretStore, SecretWriter};
use crate::token::{self, TokenCache, TokenSource};

/// What the name of every metric starts with.
pub const METRICS_PREFIX: &str = "ecr_admission";

/// The outside systems behind the service.
pub struct Outside {
    /// Where Secrets are kept.
    pub store: Arc<dyn SecretStore>,
    /// Which images Pods name.
    pub pods: Arc<dyn PodImages>,
    /// Where Events are written.
    pub events: Arc<dyn EventSink>,
    /// Where tokens come from.
    pub tokens: Arc<dyn TokenSource>,
}

/// The service, and the mirrors that somebody must feed.
pub struct Assembly {
    /// The service.
    pub admission: Arc<Admission>,
    /// To be fed by a watch of Secrets.
    pub index: Arc<SecretIndex>,
    /// To be fed by a watch of namespaces.
    pub namespaces: Arc<NamespaceIndex>,
    /// To be run.
    pub events: Arc<Events>,
    /// The tokens of the whole process.
    pub tokens: TokenCache,
}

/// Wires the service and registers its metrics.
pub fn assemble(
    settings: admit::Settings,
    clock: &Clock,
    outside: Outside,
    registry: &mut Registry,
) -> Assembly {
    let index = Arc::new(SecretIndex::new(clock.clone()));
    let namespaces = Arc::new(NamespaceIndex::default());
    let writer = SecretWriter::new(
        &settings.secret,
        outside.store,
        Arc::clone(&outside.pods),
        Arc::clone(&index),
        clock.clone(),
        secret::Metrics::register(registry, Arc::clone(&index)),
    );
    let tokens = TokenCache::new(
        outside.tokens,
        clock.clone(),
        token::Metrics::register(registry),
    );
    let events = event::Metrics::register(registry);
    let events = Arc::new(Events::new(outside.events, clock.clone(), events));
    let shared = tokens.clone();
    let parts = Parts {
        clock: clock.clone(),
        index: Arc::clone(&index),
        namespaces: Arc::clone(&namespaces),
        writer,
        tokens,
        pods: outside.pods,
        events: Arc::clone(&events),
        metrics: admit::Metrics::register(registry),
    };
    Assembly {
        admission: Arc::new(Admission::new(settings, parts)),
        index,
        namespaces,
        events,
        tokens: shared,
    }
}
