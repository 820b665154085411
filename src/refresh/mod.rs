//! One shot: what the webhook does at an admission and keeps doing, done once for namespaces that somebody names. The same
//! policy, tokens, merge and compare-and-swap.

mod accounts;
mod need;
mod outcome;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;

use need::{Need, Needs};
pub use outcome::{AccountResult, FreshRegistry, NamedBy, Outcome, Verdict};

use crate::clock::Clock;
use crate::inventory::{Found, Inventory};
use crate::policy::{Labels, Policy};
use crate::rulebook::Rulebook;
use crate::secret::{Known, Put, Revocation, SecretWriter, StoreError};
use crate::service_account::ServiceAccountStore;
use crate::token::{Token, TokenCache, Urgency};

/// Namespaces that are worked on at once.
const AT_ONCE: usize = 8;

/// What a [`Refresh`] works with.
pub struct Parts {
    /// What there is in the cluster.
    pub inventory: Arc<dyn Inventory>,
    /// Writes Secrets.
    pub writer: SecretWriter,
    /// Gives tokens.
    pub tokens: TokenCache,
    /// What is allowed, and whose identity pulls.
    pub rulebook: Rulebook,
    /// Reads and writes ServiceAccounts.
    pub accounts: Arc<dyn ServiceAccountStore>,
    /// The time.
    pub clock: Clock,
}

/// Which namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// These.
    Named(Vec<String>),
    /// Those that a label selector selects, or all, in both cases without those that opted out.
    Listed(Option<String>),
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Where.
    pub scope: Scope,
    /// The registries' hosts; none means: those that a namespace's annotation, its Pods and its workload templates name.
    pub registries: Vec<String>,
    /// The ServiceAccounts that are to name the Secret in their `imagePullSecrets`.
    pub accounts: Vec<String>,
    /// The Secret's name.
    pub secret: String,
    /// Whether only to say what would be done. Tokens are asked for all the same, which shows whether they can be had.
    pub dry_run: bool,
    /// Namespaces that are left out when nobody named them.
    pub excluded: BTreeSet<String>,
}

/// Makes Secrets fresh, once.
pub struct Refresh {
    parts: Parts,
    wish: Wish,
}

impl Refresh {
    /// Does what `wish` says.
    pub fn new(parts: Parts, wish: Wish) -> Self {
        Self { parts, wish }
    }

    /// Works through the namespaces and says what came of each, in the order in which they were named or listed. What
    /// fails in one fails in no other.
    ///
    /// # Errors
    /// When it cannot be told which namespaces there are.
    pub async fn run(&self) -> Result<Vec<Outcome>, StoreError> {
        match &self.wish.scope {
            Scope::Named(names) => {
                let work = names.iter().map(|name| self.named(name));
                Ok(stream::iter(work).buffered(AT_ONCE).collect().await)
            }
            Scope::Listed(selector) => {
                let found = self.parts.inventory.namespaces(selector.as_deref()).await?;
                let work = found.iter().map(|found| self.listed(found));
                Ok(stream::iter(work).buffered(AT_ONCE).collect().await)
            }
        }
    }

    /// A namespace that somebody named. With the registries given too, and without policies that would have to know its
    /// labels, nothing but the Secret need be read.
    async fn named(&self, name: &str) -> Outcome {
        if !self.wish.registries.is_empty() && !self.has_policies() {
            let policy = self.parts.rulebook.set().in_namespace(name, &Labels::new());
            return self.refresh(name, &policy, self.given(&policy)).await;
        }
        match self.parts.inventory.namespace(name).await {
            Ok(Some(found)) => self.found(&found).await,
            Ok(None) => Outcome::failed(name, format_args!("there is no namespace {name:?}")),
            Err(error) => Outcome::failed(name, self.or_name_them(&error)),
        }
    }

    async fn listed(&self, found: &Found) -> Outcome {
        if let Some(reason) = found.left_out {
            Outcome::skipped(&found.name, reason)
        } else if self.wish.excluded.contains(&found.name) {
            Outcome::skipped(&found.name, "it is excluded")
        } else {
            self.found(found).await
        }
    }

    /// A namespace whose labels are known: what was given, or what it itself asks for.
    async fn found(&self, found: &Found) -> Outcome {
        let set = self.parts.rulebook.set();
        let policy = set.in_namespace(&found.name, &found.labels);
        if !self.wish.registries.is_empty() {
            return self
                .refresh(&found.name, &policy, self.given(&policy))
                .await;
        }
        let mut needs = Needs::default();
        needs.add_pinned(&policy, &found.registries);
        match self.parts.inventory.images(&found.name).await {
            Ok(images) => needs.add_images(&policy, &images),
            Err(error) => needs.errors.push(self.or_name_them(&error)),
        }
        self.refresh(&found.name, &policy, needs).await
    }

    fn given(&self, policy: &Policy) -> Needs {
        let mut needs = Needs::default();
        for host in &self.wish.registries {
            needs.add_registry(policy, host);
        }
        needs
    }

    async fn refresh(&self, namespace: &str, policy: &Policy, needs: Needs) -> Outcome {
        // Without policies, whose entries the others are is not known here.
        let granted = |key: &str, fingerprint: &str| {
            !self.has_policies() || policy.grants_key(key, fingerprint)
        };
        let mut outcome = Outcome::new(namespace, needs.errors);
        if needs.wanted.is_empty() && !self.has_policies() {
            return outcome;
        }
        let known = match self.parts.writer.known(namespace).await {
            Ok(known) => known,
            Err(error) => return outcome.and_failed(error),
        };
        let known = known.as_deref();
        let revoked = known.map(|known| self.parts.writer.revocation(known, &granted));
        let revoked = revoked.unwrap_or_default();
        if needs.wanted.is_empty() && revoked.is_empty() {
            return outcome;
        }
        let wanted = self.with_others(policy, needs.wanted, known);
        let tokens = wanted
            .iter()
            .map(|need| self.parts.tokens.get(&need.token, Urgency::Background));
        let mut minted: Vec<(&Need, Arc<Token>)> = Vec::new();
        for (need, token) in wanted.iter().zip(join_all(tokens).await) {
            match token {
                Ok(token) => minted.push((need, token)),
                Err(error) => {
                    outcome =
                        outcome.and_failed(format_args!("no token for {}: {error}", need.key));
                }
            }
        }
        if minted.is_empty() && revoked.is_empty() {
            return outcome;
        }
        match self.put(namespace, &minted, &revoked).await {
            Ok(written) => {
                outcome.revoked = !revoked.is_empty();
                let outcome = outcome.fresh(minted.iter().map(fresh).collect(), written);
                if minted.is_empty() {
                    return outcome;
                }
                self.name_secret(namespace, outcome).await
            }
            Err(error) => outcome.and_failed(error),
        }
    }

    /// Writes, unless only to say what would be done.
    async fn put(
        &self,
        namespace: &str,
        minted: &[(&Need, Arc<Token>)],
        revoked: &Revocation,
    ) -> Result<bool, String> {
        // The namespace may have another tenant's labels by now.
        let wanted = minted
            .iter()
            .map(|(need, _)| (need.key.as_str(), &need.token.identity));
        let rulebook = &self.parts.rulebook;
        let confirmed = rulebook.confirm(namespace, wanted).await;
        confirmed.map_err(|error| error.to_string())?;
        if !revoked.is_empty() {
            let entries = revoked.entries();
            let confirmed = rulebook.confirm_ungranted(namespace, entries).await;
            confirmed.map_err(|error| error.to_string())?;
        }
        if self.wish.dry_run {
            return Ok(true);
        }
        let now = self.parts.clock.now();
        let puts: Vec<Put<'_>> = minted
            .iter()
            .map(|(need, token)| need.put(token, now))
            .collect();
        let written = self.parts.writer.put(namespace, &puts, revoked).await;
        written.map_err(|error| error.to_string())
    }

    /// The Secret is there, so ServiceAccounts may name it.
    async fn name_secret(&self, namespace: &str, mut outcome: Outcome) -> Outcome {
        let Parts {
            accounts, clock, ..
        } = &self.parts;
        for name in &self.wish.accounts {
            let (place, dry_run) = ((namespace, name.as_str()), self.wish.dry_run);
            let secret = &self.wish.secret;
            let named = accounts::name_secret(&**accounts, clock, place, secret, dry_run).await;
            match named {
                Ok(named) => outcome.service_accounts.push(named),
                Err(error) => outcome = outcome.and_failed(error),
            }
        }
        outcome
    }

    /// The repair of a Secret that somebody else edited drops what it held, so that is asked for with the rest, as far as
    /// it is granted.
    fn with_others(
        &self,
        policy: &Policy,
        mut wanted: Vec<Need>,
        known: Option<&Known>,
    ) -> Vec<Need> {
        let edited = known.filter(|known| !known.is_trusted(self.parts.clock.monotonic()));
        let keys = edited.into_iter().flat_map(Known::keys);
        for other in keys.filter_map(|key| Need::of_key(policy, key)) {
            if !wanted.contains(&other) {
                wanted.push(other);
            }
        }
        wanted
    }

    /// Whether namespaces are told apart.
    fn has_policies(&self) -> bool {
        !self.parts.rulebook.set().is_empty()
    }

    fn or_name_them(&self, error: &StoreError) -> String {
        if self.has_policies() {
            return error.to_string();
        }
        format!("{error}; or name the registries (--registry), then nothing need be found")
    }
}

fn fresh((need, token): &(&Need, Arc<Token>)) -> FreshRegistry {
    FreshRegistry {
        host: need.key.clone(),
        expires_at: token.expires_at,
    }
}
