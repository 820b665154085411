//! Keeps the repository Secrets of the namespaces that ask for some: every replica does, by compare-and-swap, and whoever
//! comes second finds it done.

mod pass;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use super::{Asked, RepositoryStore, asked};
use crate::clock::Clock;
use crate::event::{Event, Events, Severity, Subject};
use crate::health::Condition;
use crate::rulebook::Rulebook;
use crate::secret::SecretIndex;
use crate::token::TokenCache;
use crate::watch::Mirror;

/// The longest time between two looks at what is there.
const LOOK: Duration = Duration::from_mins(1);
/// What is added to it by chance, so that replicas do not come at one moment.
const SPREAD: Duration = Duration::from_secs(10);
/// The reason of the Event about a namespace that asks for what cannot be had.
const NOT_KEPT: &str = "ArgoCdRepositoryNotKept";
/// How often a look is begun anew because somebody else wrote in between.
const ATTEMPTS: usize = 5;

/// What a [`Keeper`] works with.
pub struct KeeperParts {
    /// The namespaces that may ask.
    pub namespaces: Vec<String>,
    /// What is allowed.
    pub rulebook: Arc<Rulebook>,
    /// Where Secrets are kept.
    pub store: Arc<dyn RepositoryStore>,
    /// Where tokens come from.
    pub tokens: TokenCache,
    /// Time and jitter.
    pub clock: Clock,
    /// Tells those who run us.
    pub condition: Condition,
    /// Tells those who look into the namespace.
    pub events: Arc<Events>,
}

/// Keeps repository Secrets. A watch of the namespaces feeds it with the values of the annotation.
pub struct Keeper {
    parts: KeeperParts,
    /// How long each lives by both clocks; by `namespace/name`.
    index: SecretIndex,
    asking: Mutex<HashMap<String, String>>,
    changed: Notify,
}

/// Somebody else wrote in between, or a sentence for people.
enum Interrupted {
    Again,
    Failed(String),
}

impl Keeper {
    /// A keeper that has done nothing yet.
    pub fn new(parts: KeeperParts) -> Self {
        Self {
            index: SecretIndex::new(parts.clock.clone()),
            parts,
            asking: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Works for ever. Cancel-safe.
    pub async fn run(&self) {
        let mut changes = self.parts.rulebook.changes();
        loop {
            let mut troubles = Vec::new();
            for namespace in &self.parts.namespaces {
                // Until the annotation is known, nothing may be taken away.
                if let Some(value) = self.value(namespace) {
                    let found = self.keep(namespace, &value).await.into_iter();
                    troubles.extend(found.map(|trouble| (namespace, trouble)));
                }
            }
            for (namespace, trouble) in &troubles {
                self.parts.events.tell(Event {
                    subject: Subject::namespace(namespace),
                    severity: Severity::Warning,
                    reason: NOT_KEPT,
                    note: trouble.clone(),
                });
                tracing::warn!(%trouble, "Argo CD repository not kept");
            }
            match troubles.first() {
                Some((_, first)) => self.parts.condition.set(format!(
                    "{} Argo CD repositories cannot be kept, for one: {first}",
                    troubles.len()
                )),
                None => self.parts.condition.clear(),
            }
            let next = LOOK + self.parts.clock.jitter(SPREAD);
            tokio::select! {
                () = self.changed.notified() => {}
                Ok(()) = changes.changed() => {}
                () = sleep(next) => {}
            }
        }
    }

    /// Brings one namespace to what it asks for; returns what is wrong, in sentences.
    async fn keep(&self, namespace: &str, value: &str) -> Vec<String> {
        let policy = match self.parts.rulebook.ruling_live(namespace).await {
            Ok(policy) => policy,
            Err(error) => return vec![error.to_string()],
        };
        let Asked {
            repositories,
            refused,
        } = asked(&policy, value);
        let why =
            |refused| format!("namespace {namespace:?} asks for one that cannot be had: {refused}");
        let mut troubles: Vec<String> = refused.into_iter().map(why).collect();
        for attempt in 1..=ATTEMPTS {
            match self.pass(namespace, &repositories).await {
                Ok(failures) => {
                    troubles.extend(failures);
                    break;
                }
                Err(Interrupted::Again) if attempt < ATTEMPTS => {
                    sleep(self.parts.clock.jitter(Duration::from_millis(50))).await;
                }
                // The next look goes on with it.
                Err(Interrupted::Again) => break,
                Err(Interrupted::Failed(failure)) => {
                    troubles.push(failure);
                    break;
                }
            }
        }
        troubles
    }

    /// What the namespace asks for; `None` until that is known.
    fn value(&self, namespace: &str) -> Option<String> {
        let asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.get(namespace).cloned()
    }

    fn ask(&self, namespace: &str, value: String) {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let before = asking.insert(namespace.to_owned(), value);
        if before.as_ref() != asking.get(namespace) {
            self.changed.notify_one();
        }
    }
}

/// Fed with the annotation's value, empty for none, keyed by namespace.
impl Mirror<String> for Keeper {
    fn apply(&self, key: &str, object: String) {
        self.ask(key, object);
    }

    fn delete(&self, key: &str, _resource_version: &str) {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        asking.remove(key);
    }

    fn listed(&self, _keys: &HashSet<String>, _resource_version: &str) {}

    fn heard(&self) {}
}
