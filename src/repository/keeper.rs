//! Keeps the repository Secrets of the namespaces that ask for some: every replica does, by compare-and-swap, and whoever
//! comes second finds it done.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::{
    Asked, Repository, RepositoryContent, RepositoryStore, StoredRepository, asked, names,
};
use crate::clock::Clock;
use crate::event::{Event, Events, Severity, Subject};
use crate::health::Condition;
use crate::pull_secret::state::StateEntry;
use crate::pull_secret::{Entry, Freshness, State};
use crate::rulebook::Rulebook;
use crate::secret::{SecretIndex, StoreErrorKind, Wanted};
use crate::token::{Token, TokenCache, Urgency};
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

/// The names in their order, and the Secret of each in a namespace; `None` where a name is free.
type Slots = Vec<(String, Option<StoredRepository>)>;

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

    async fn pass(
        &self,
        namespace: &str,
        wanted: &[Repository],
    ) -> Result<Vec<String>, Interrupted> {
        let mut slots = Slots::new();
        for name in names() {
            let found = self.parts.store.get(namespace, &name).await;
            slots.push((name, found.map_err(interrupted)?));
        }
        let mut held: HashMap<&str, (String, StoredRepository)> = HashMap::new();
        for (name, slot) in &mut slots {
            let Some(stored) = slot.as_ref().filter(|stored| stored.metadata.owned) else {
                continue;
            };
            let url = key(stored);
            let asked_for = wanted.iter().find(|one| Some(&one.url) == url.as_ref());
            match asked_for {
                Some(one) if !held.contains_key(&*one.url) => {
                    held.insert(&one.url, (name.clone(), stored.clone()));
                }
                _ => {
                    let deleted = self.parts.store.delete(namespace, name, &stored.metadata);
                    deleted.await.map_err(interrupted)?;
                    tracing::info!(namespace, name, "deleted an Argo CD repository Secret");
                    *slot = None;
                }
            }
        }
        let mut free = slots
            .iter()
            .filter(|(_, slot)| slot.is_none())
            .map(|(name, _)| name);
        let mut failures = Vec::new();
        for one in wanted {
            let outcome = match held.get(&*one.url) {
                Some((name, stored)) => self.renew(namespace, name, stored, one).await,
                None => match free.next() {
                    Some(name) => self.create(namespace, name, one).await,
                    None => Err(Interrupted::Failed(format!(
                        "there is no name left for {:?} in namespace {namespace:?}: Secrets of somebody else have those \
                         that start with {}",
                        one.url,
                        super::NAME_PREFIX
                    ))),
                },
            };
            match outcome {
                Ok(()) => {}
                Err(Interrupted::Failed(failure)) => failures.push(failure),
                Err(again) => return Err(again),
            }
        }
        Ok(failures)
    }

    async fn renew(
        &self,
        namespace: &str,
        name: &str,
        stored: &StoredRepository,
        wanted: &Repository,
    ) -> Result<(), Interrupted> {
        let at = format!("{namespace}/{name}");
        let known = self.index.saw(&at, &stored.metadata);
        let entry = Wanted {
            key: &wanted.url,
            identity: wanted.token.identity.fingerprint(),
            generation: 0,
        };
        let now = self.parts.clock.moment();
        let uid = &stored.metadata.uid;
        // Somebody else's password or fields: put right at once, but not in a loop.
        let is_broken = stored.url.is_none() && !self.index.has_insisted(uid);
        let is_edited = is_broken || !known.is_trusted(now.monotonic);
        if !is_edited && known.freshness(entry, now) == Freshness::Fresh {
            return Ok(());
        }
        let token = self.token(wanted).await?;
        let now = self.parts.clock.moment();
        if !is_edited && known.keep(entry, token.expires_at, now) {
            // There is no newer one yet.
            return Ok(());
        }
        self.confirm(namespace, wanted).await?;
        let content = content(wanted, &token, self.parts.clock.now());
        let store = &self.parts.store;
        let updated = store.update(namespace, name, &stored.metadata, &content);
        updated.await.map_err(interrupted)?;
        let url = &wanted.url;
        if is_edited {
            self.index.insisted(uid);
            tracing::warn!(
                namespace,
                name,
                url,
                "somebody else had edited an Argo CD repository Secret; it was written anew"
            );
        } else {
            tracing::info!(namespace, name, url, "renewed an Argo CD repository Secret");
        }
        Ok(())
    }

    async fn create(
        &self,
        namespace: &str,
        name: &str,
        wanted: &Repository,
    ) -> Result<(), Interrupted> {
        let token = self.token(wanted).await?;
        self.confirm(namespace, wanted).await?;
        let content = content(wanted, &token, self.parts.clock.now());
        let created = self.parts.store.create(namespace, name, &content);
        created.await.map_err(interrupted)?;
        tracing::info!(
            namespace,
            name,
            url = wanted.url,
            "created an Argo CD repository Secret"
        );
        Ok(())
    }

    async fn confirm(&self, namespace: &str, wanted: &Repository) -> Result<(), Interrupted> {
        let entry = (wanted.key.as_str(), &wanted.token.identity);
        let confirmed = self.parts.rulebook.confirm(namespace, [entry]).await;
        confirmed.map_err(|why| Interrupted::Failed(why.to_string()))
    }

    async fn token(&self, wanted: &Repository) -> Result<Arc<Token>, Interrupted> {
        let token = self.parts.tokens.get(&wanted.token, Urgency::Background);
        token.await.map_err(|error| {
            Interrupted::Failed(format!("no credentials for {:?}: {error}", wanted.url))
        })
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

fn interrupted(error: crate::secret::StoreError) -> Interrupted {
    match error.kind {
        StoreErrorKind::Conflict | StoreErrorKind::AlreadyExists | StoreErrorKind::NotFound => {
            Interrupted::Again
        }
        _ => Interrupted::Failed(error.message),
    }
}

/// Which repository a Secret of ours is for: by its data, or where somebody edited that, by our state.
fn key(stored: &StoredRepository) -> Option<String> {
    let state = State::parse(stored.metadata.state.as_deref());
    let by_state = || Some(state.entries.keys().next()?.clone());
    stored.url.clone().or_else(by_state)
}

fn content(wanted: &Repository, token: &Token, now: Timestamp) -> RepositoryContent {
    let mut state = State::default();
    let entry = Entry::new(
        token.issued_at,
        token.expires_at,
        wanted.token.identity.fingerprint(),
        0,
        now,
    );
    let entries = &mut state.entries;
    entries.insert(wanted.url.clone(), StateEntry::Known(entry));
    RepositoryContent {
        url: wanted.url.clone(),
        password: SecretString::from(token.password()),
        expires_at: state.first_expiry(),
        state: state.render(),
    }
}
