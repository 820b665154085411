//! One pass over a namespace's repository Secrets.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;

use super::super::{NAME_PREFIX, Repository, RepositoryContent, StoredRepository, names};
use super::{Interrupted, Keeper};
use crate::pull_secret::state::StateEntry;
use crate::pull_secret::{Entry, Freshness, State};
use crate::secret::{StoreError, StoreErrorKind, Wanted};
use crate::token::{Token, Urgency};

/// The names in their order, and the Secret of each in a namespace; `None` where a name is free.
type Slots = Vec<(String, Option<StoredRepository>)>;

/// What of ours is wanted, by its URL: the Secret's name, and the Secret.
type Held<'a> = HashMap<&'a str, (String, StoredRepository)>;

impl Keeper {
    /// One look at a namespace: what nobody asks for goes, what is asked for is made or renewed. Returns what could not be
    /// had, in sentences.
    pub(super) async fn pass(
        &self,
        namespace: &str,
        wanted: &[Repository],
    ) -> Result<Vec<String>, Interrupted> {
        let mut slots = self.slots(namespace).await?;
        let held = self.tidy(namespace, &mut slots, wanted).await?;
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
                    None => Err(no_name_left(namespace, one)),
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

    async fn slots(&self, namespace: &str) -> Result<Slots, Interrupted> {
        let mut slots = Slots::new();
        for name in names() {
            let found = self.parts.store.get(namespace, &name).await;
            slots.push((name, found.map_err(interrupted)?));
        }
        Ok(slots)
    }

    /// Deletes what of ours nobody wants, or what is there twice; returns the rest by the URL that it is for.
    async fn tidy<'a>(
        &self,
        namespace: &str,
        slots: &mut Slots,
        wanted: &'a [Repository],
    ) -> Result<Held<'a>, Interrupted> {
        let mut held = Held::new();
        for (name, slot) in slots {
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
        Ok(held)
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
}

fn no_name_left(namespace: &str, wanted: &Repository) -> Interrupted {
    Interrupted::Failed(format!(
        "there is no name left for {:?} in namespace {namespace:?}: Secrets of somebody else have those that start with \
         {NAME_PREFIX}",
        wanted.url
    ))
}

fn interrupted(error: StoreError) -> Interrupted {
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
