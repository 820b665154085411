//! Wiring the admission service, the same way for `serve`, `demo`, tests and benchmarks.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::admit::{self, Admission, Parts};
use crate::clock::Clock;
use crate::event::{self, EventSink, Events};
use crate::namespace::NamespaceIndex;
use crate::policy::{Policy, PolicySet};
use crate::rulebook::{LiveReads, NothingLive, Rulebook};
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

/// What is allowed.
pub struct Rules {
    /// At first.
    pub policies: PolicySet,
    /// Whether some of them, or of those that may come later, select namespaces.
    pub tell_apart: bool,
    /// For what a mirror must not decide alone.
    pub live: Arc<dyn LiveReads>,
}

impl Rules {
    /// The same everywhere and for ever.
    pub fn everywhere(policy: Policy) -> Self {
        Self {
            policies: PolicySet::new(policy, Vec::new(), Vec::new()),
            tell_apart: false,
            live: Arc::new(NothingLive),
        }
    }
}

/// The service, and the mirrors that somebody must feed.
pub struct Assembly {
    /// The service.
    pub admission: Arc<Admission>,
    /// To be fed by a watch of Secrets.
    pub index: Arc<SecretIndex>,
    /// To be fed by a watch of namespaces.
    pub namespaces: Arc<NamespaceIndex>,
    /// To be told of other policies.
    pub rulebook: Arc<Rulebook>,
    /// To be run.
    pub events: Arc<Events>,
    /// The tokens of the whole process.
    pub tokens: TokenCache,
}

/// Wires the service and registers its metrics.
pub fn assemble(
    settings: admit::Settings,
    rules: Rules,
    clock: &Clock,
    outside: Outside,
    registry: &mut Registry,
) -> Assembly {
    let index = Arc::new(SecretIndex::new(clock.clone()));
    let namespaces = Arc::new(if rules.tell_apart {
        NamespaceIndex::with_labels()
    } else {
        NamespaceIndex::default()
    });
    let rulebook = Rulebook::new(rules.policies, Arc::clone(&namespaces), rules.live);
    let rulebook = Arc::new(rulebook);
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
        rulebook: Arc::clone(&rulebook),
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
        rulebook,
        events,
        tokens: shared,
    }
}
