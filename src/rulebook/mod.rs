//! The policies in force, and what they come to in each namespace: compiled when they or the namespace change, never for
//! an admission.

mod census;
mod edition;
mod live;

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::namespace::NamespaceIndex;
use crate::policy::{Identity, Labels, Policy, PolicySet};
use crate::secret::StoreError;
use census::Census;
use edition::Edition;
pub use live::{LiveReads, NothingLive, PolicyVersions, Unconfirmed};

/// The policies in force. Everybody who judges asks here; whoever watches policies puts others in force.
pub struct Rulebook {
    namespaces: Arc<NamespaceIndex>,
    live: Arc<dyn LiveReads>,
    census: Census,
    edition: RwLock<Arc<Edition>>,
    /// Counts up.
    changes: watch::Sender<u64>,
}

impl Rulebook {
    /// These policies, for the namespaces of that mirror.
    pub fn new(set: PolicySet, namespaces: Arc<NamespaceIndex>, live: Arc<dyn LiveReads>) -> Self {
        Self {
            namespaces,
            census: Census::new(Arc::clone(&live)),
            live,
            edition: RwLock::new(Arc::new(Edition::new(set))),
            changes: watch::Sender::new(0),
        }
    }

    /// The same for every namespace, and for ever.
    pub fn everywhere(policy: Policy) -> Self {
        let set = PolicySet::new(policy, Vec::new(), Vec::new());
        Self::new(set, Arc::default(), Arc::new(NothingLive))
    }

    /// Puts other policies in force, at once and all together.
    pub fn replace(&self, set: PolicySet) {
        let edition = Arc::new(Edition::new(set));
        *self.edition.write().unwrap_or_else(PoisonError::into_inner) = edition;
        self.changes.send_modify(|count| *count += 1);
    }

    /// The policies in force.
    pub fn set(&self) -> Arc<PolicySet> {
        Arc::clone(&self.edition().set)
    }

    /// Tells when other policies are in force.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// What holds in a namespace. `None` where policies tell namespaces apart and this one is not known (yet): see
    /// [`Rulebook::ruling_live`].
    pub fn ruling(&self, namespace: &str) -> Option<Arc<Policy>> {
        let edition = self.edition();
        if let Some(everywhere) = &edition.everywhere {
            return Some(Arc::clone(everywhere));
        }
        let known = self.namespaces.known(namespace)?;
        Some(edition.ruling(namespace, &known.labels, || self.namespaces.len()))
    }

    /// The same, by a read of the namespace when it is not known: an AdmissionReview carries no namespace object, and a
    /// Pod can be created a moment after its namespace.
    ///
    /// # Errors
    /// When it had to be read and could not be, or is not there.
    pub async fn ruling_live(&self, namespace: &str) -> Result<Arc<Policy>, StoreError> {
        if let Some(ruling) = self.ruling(namespace) {
            return Ok(ruling);
        }
        let read = self.live.namespace(namespace).await?;
        Ok(Arc::new(self.set().in_namespace(namespace, &read.labels)))
    }

    /// Makes sure, by the namespace and the policies as they are at this moment, that a namespace may hold tokens of
    /// these identities: a mirror can lag behind, and a token that was handed to the wrong tenant cannot be taken back. Of
    /// each, the `auths` key and the identity. What every namespace is granted is not asked about.
    ///
    /// # Errors
    /// [`Unconfirmed`]: nothing of what was asked about may be written then.
    pub async fn confirm(
        &self,
        namespace: &str,
        wanted: impl IntoIterator<Item = (&str, &Identity)>,
    ) -> Result<(), Unconfirmed> {
        let set = self.set();
        let wanted = wanted.into_iter();
        let wanted = wanted.filter(|(_, identity)| !set.grants_everywhere(identity));
        let wanted: Vec<(&str, &Identity)> = wanted.collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let labels = self.labels_now(namespace).await?;
        live::confirm(&*self.live, &set, (namespace, &labels), &wanted).await
    }

    /// Makes sure, by the namespace and the policies as they are at this moment, that entries of a namespace's Secret are
    /// granted there no more, before they are taken out: a mirror that lags would take them from the rightful tenant. Of
    /// each, the `auths` key and the fingerprint of the identity. They must have been in the Secret before this is asked.
    ///
    /// # Errors
    /// [`Unconfirmed`]: none of them may be taken out then.
    pub async fn confirm_ungranted<'e>(
        &self,
        namespace: &str,
        entries: impl Iterator<Item = (&'e str, &'e str)> + Send,
    ) -> Result<(), Unconfirmed> {
        let set = self.set();
        // Without policies, the same is granted to all.
        let labels = if set.is_empty() {
            Arc::default()
        } else {
            self.labels_now(namespace).await?
        };
        live::confirm_ungranted(&self.census, &set, (namespace, &labels), entries).await
    }

    /// The labels that a namespace has at this moment. A mirror that does not know them yet learns them: who decides next
    /// decides by them, and does not wait for a watch that may be silent.
    async fn labels_now(&self, namespace: &str) -> Result<Arc<Labels>, StoreError> {
        let before = self.namespaces.known(namespace);
        let now = self.live.namespace(namespace).await?.labels;
        if let Some(before) = before {
            self.namespaces.relabel(namespace, &before.labels, &now);
        }
        Ok(now)
    }

    /// Whether an entry of a namespace's Secret is what is granted there; `true` while nobody can tell.
    pub fn grants(&self, namespace: &str) -> impl Fn(&str, &str) -> bool + Send + Sync + use<> {
        let ruling = self.ruling(namespace);
        move |key: &str, fingerprint: &str| {
            ruling
                .as_ref()
                .is_none_or(|policy| policy.grants_key(key, fingerprint))
        }
    }

    fn edition(&self) -> Arc<Edition> {
        Arc::clone(&self.edition.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
