//! Events for people: what somebody in a namespace must know or act on, as `kubectl events` shows it there.
//!
//! Told once in a while for each object and reason, few a minute, and never at the cost of whoever tells: a queue that
//! is full forgets, and counts what it forgot. Nothing secret may be in an Event: everybody who may look into the
//! namespace reads it.

mod metrics;
mod recorder;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use crate::secret::StoreError;
pub use metrics::Metrics;
pub use recorder::Events;

/// The kinds of object that an Event can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A namespace.
    Namespace,
    /// A Pod.
    Pod,
    /// A Secret.
    Secret,
    /// A ServiceAccount.
    ServiceAccount,
    /// An EcrPolicy, which is in no namespace.
    EcrPolicy,
}

impl Kind {
    /// The kind's name in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Pod => "Pod",
            Self::Secret => "Secret",
            Self::ServiceAccount => "ServiceAccount",
            Self::EcrPolicy => "EcrPolicy",
        }
    }
}

/// The object that an Event is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject {
    /// What it is.
    pub kind: Kind,
    /// Where it is, and the Event with it; a namespace is in itself, and the Events about what is in none are here.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid, where that is known: `kubectl describe` finds the Event by it.
    pub uid: Option<String>,
}

impl Subject {
    /// An object whose uid is not known.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: None,
        }
    }

    /// A namespace.
    pub fn namespace(name: &str) -> Self {
        Self::new(Kind::Namespace, name, name)
    }

    /// An EcrPolicy. Events about what is in no namespace are in `default`
    /// (pkg/apis/core/validation/events.go).
    pub fn policy(name: &str) -> Self {
        Self::new(Kind::EcrPolicy, "default", name)
    }
}

/// Whether somebody must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Good to know.
    Normal,
    /// Somebody must act.
    Warning,
}

impl Severity {
    /// The value of `type` in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is about.
    pub subject: Subject,
    /// Whether somebody must act.
    pub severity: Severity,
    /// Why, as one word in CamelCase; one of a fixed few, for people to look up and machines to select by.
    pub reason: &'static str,
    /// One sentence: what, and what to do. Without secrets.
    pub note: String,
}

/// What came of writing an Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is there now.
    New,
    /// It was told already, by another replica or before a restart.
    Known,
}

/// Where Events are written.
pub trait EventSink: Send + Sync + 'static {
    /// Writes one. The same subject and reason give [`Written::Known`] for as long as the cluster keeps the first.
    fn write<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<Written, StoreError>>;
}

/// A sink where nobody listens, for a service without a cluster.
pub struct NoEvents;

impl EventSink for NoEvents {
    fn write<'a>(&'a self, _event: &'a Event) -> BoxFuture<'a, Result<Written, StoreError>> {
        ready(Ok(Written::New)).boxed()
    }
}
