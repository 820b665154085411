//! One round of a write: what was read, merged with what is wanted, and written where nobody else wrote in between.

use std::collections::HashSet;

use secrecy::ExposeSecret;

use super::super::{StoredSecret, WriteError};
use super::{Aim, Put, SecretWriter};
use crate::pull_secret::docker_config::DockerConfig;
use crate::pull_secret::merge::Current;
use crate::pull_secret::{Merge, NewEntry, SecretContent, merge};

/// What one round of reading and writing came to.
pub(super) enum Round {
    Done { written: bool },
    Again,
}

impl SecretWriter {
    /// Makes the Secret, where there was none.
    pub(super) async fn create(&self, namespace: &str, aim: Aim<'_>) -> Result<Round, WriteError> {
        let content = self.merged(namespace, Current::default(), aim.puts).await?;
        match self.store.create(namespace, &content).await {
            Ok(stored) => {
                self.metrics.wrote("created");
                self.index.saw(namespace, &stored.metadata);
                Ok(Round::Done { written: true })
            }
            Err(error) => self.again(namespace, error),
        }
    }

    /// Puts into the Secret that is there what is missing in it, and takes away what is revoked.
    pub(super) async fn update(
        &self,
        namespace: &str,
        stored: StoredSecret,
        aim: Aim<'_>,
    ) -> Result<Round, WriteError> {
        let metadata = &stored.metadata;
        let known = self.index.saw(namespace, metadata);
        if !metadata.owned {
            return Err(self.foreign(namespace));
        }
        if !stored.writable {
            return self.replace(namespace, &stored).await;
        }
        let docker_config = stored.docker_config.as_ref();
        let docker_config = docker_config.map(ExposeSecret::expose_secret);
        let config = docker_config.map(DockerConfig::parse).unwrap_or_default();
        let is_there =
            |put: &Put<'_>| config.contains(put.wanted.key) && self.is_satisfied(&known, *put);
        let pending: Vec<Put<'_>> = aim
            .puts
            .iter()
            .filter(|put| !is_there(put))
            .copied()
            .collect();
        let trusted = known.is_trusted(self.clock.monotonic());
        let revoked: Vec<&str> = aim.revocation.of(&known).collect();
        if pending.is_empty() && trusted && revoked.is_empty() {
            self.metrics.wrote("unchanged");
            return Ok(Round::Done { written: false });
        }
        let current = Current {
            state: metadata.state.as_deref(),
            docker_config,
            trusted,
            revoked: &revoked,
        };
        // Untrusted data is dropped by the merge, so everything asked for is put anew.
        let puts = if trusted { &pending } else { aim.puts };
        let content = self.merged(namespace, current, puts).await?;
        match self.store.update(namespace, metadata, &content).await {
            Ok(stored) => {
                self.metrics.wrote("updated");
                self.remember_insisting(&known, trusted, puts, &revoked);
                self.index.saw(namespace, &stored.metadata);
                Ok(Round::Done { written: true })
            }
            Err(error) => self.again(namespace, error),
        }
    }

    /// A Secret of ours of another type, or immutable, cannot be updated: it is deleted, and the next round makes it
    /// anew.
    async fn replace(&self, namespace: &str, stored: &StoredSecret) -> Result<Round, WriteError> {
        match self.store.delete(namespace, &stored.metadata).await {
            Ok(()) => {
                tracing::warn!(namespace, secret = %self.secret, "deleted a Secret that could not be updated (immutable or of another type), to make it anew");
                self.metrics.wrote("deleted");
                self.index.saw_none(namespace);
                Ok(Round::Again)
            }
            Err(error) => self.again(namespace, error),
        }
    }

    async fn merged(
        &self,
        namespace: &str,
        current: Current<'_>,
        puts: &[Put<'_>],
    ) -> Result<SecretContent, WriteError> {
        let entries: Vec<NewEntry<'_>> = puts.iter().map(Put::entry).collect();
        let now = self.clock.reckoned();
        let merged = match merge(current, &entries, None, now) {
            Merge::Full => {
                let images = self.pods.images(namespace).await;
                let images = images.map_err(|error| self.failed(error))?;
                let in_use: HashSet<String> =
                    images.iter().filter_map(|image| host(image)).collect();
                merge(current, &entries, Some(&in_use), now)
            }
            merged => merged,
        };
        match merged {
            Merge::Write(content) => Ok(content),
            Merge::Full | Merge::Exhausted => Err(WriteError::Full {
                secret: self.secret.clone(),
                namespace: namespace.to_owned(),
            }),
        }
    }
}

impl<'a> Put<'a> {
    fn entry(&self) -> NewEntry<'a> {
        NewEntry {
            key: self.wanted.key,
            password: self.token.password(),
            issued_at: self.token.issued_at,
            expires_at: self.token.expires_at,
            identity: self.wanted.identity,
            generation: self.wanted.generation,
            used_at: self.used_at,
        }
    }
}

/// The registry host of an image string.
fn host(image: &str) -> Option<String> {
    Some(image.split_once('/')?.0.to_owned())
}
