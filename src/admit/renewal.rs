//! Renewing one namespace's Secret: whether that is due, what of it, and what comes of it.
//!
//! An entry comes due at half of its life, later by up to a tenth of it that differs by namespace and replica: neither
//! 10,000 namespaces that share a token nor two replicas come at one moment.
//!
//! What no Pod has used for a week, and the namespace does not pin, is left to expire; a Secret in which everything has
//! expired is deleted. Expired is absent to every replica, so an admission that needs it again makes it again, and nothing
//! is taken from anybody.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::ensure::Ensurer;
use super::failure::EnsureError;
use super::metrics::Metrics;
use super::need::Need;
use super::pinned::Pinned;
use crate::clock::{Clock, Moment};
use crate::namespace::NamespaceIndex;
use crate::policy::{Credential, Policy, decide};
use crate::pull_secret::state::between;
use crate::rulebook::Rulebook;
use crate::secret::{Known, PodImages, SecretIndex, Standing, WriteError};

/// Which part of a life renewals are spread over.
const SPREAD: u32 = 10;
/// How long an entry that no Pod uses is kept fresh: nightly Jobs and workloads scaled to zero come back.
const KEPT_UNUSED: Duration = Duration::from_hours(7 * 24);

/// What refresh works with.
pub(super) struct RefreshParts {
    pub(super) ensurer: Ensurer,
    pub(super) index: Arc<SecretIndex>,
    pub(super) namespaces: Arc<NamespaceIndex>,
    pub(super) rulebook: Arc<Rulebook>,
    pub(super) pods: Arc<dyn PodImages>,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
}

/// Renews one namespace's Secret at a time.
pub(super) struct Renewer {
    parts: Arc<RefreshParts>,
    /// Sets this replica apart from the others.
    replica: Duration,
}

/// What came of one namespace.
#[derive(Clone, Copy)]
pub(super) enum Renewal {
    /// What Pods use is fresh.
    Renewed,
    /// There is no newer token yet.
    Unchanged,
    /// No Pod uses anything in it.
    Unused,
    /// Nor did anything in it live.
    Deleted,
}

impl Renewal {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::Unchanged => "unchanged",
            Self::Unused => "unused",
            Self::Deleted => "deleted",
        }
    }
}

impl Renewer {
    pub(super) fn new(parts: Arc<RefreshParts>) -> Self {
        Self {
            replica: parts.clock.jitter(Duration::from_secs(1)),
            parts,
        }
    }

    /// Whether something in it is to be renewed, or it is not to be trusted.
    pub(super) fn is_due(&self, namespace: &str, known: &Known, now: Moment) -> bool {
        if known.is_aging(now) {
            let share = self.share(namespace);
            known.standings(now).any(|entry| is_due(&entry, share))
                || !known.is_trusted(now.monotonic)
        } else {
            !known.is_trusted(now.monotonic)
        }
    }

    /// Renews what Pods use, or deletes the Secret where nobody uses anything.
    pub(super) async fn renew(
        &self,
        namespace: &str,
        known: &Known,
    ) -> Result<Renewal, EnsureError> {
        let Some(policy) = self.parts.rulebook.ruling(namespace) else {
            // Nobody has heard of it, so it is gone, or will be heard of in a moment.
            return Ok(Renewal::Unchanged);
        };
        let images = self.parts.pods.images(namespace).await;
        let images = images.map_err(WriteError::from)?;
        let namespace_known = self.parts.namespaces.get(namespace);
        let pinned = Pinned::of(&policy, &namespace_known.pins).needs;
        let mut used: BTreeSet<&str> = images
            .iter()
            .filter_map(|image| key(&policy, image))
            .collect();
        used.extend(pinned.iter().map(|need| &**need.key()));
        let now = self.parts.clock.moment();
        let entries: Vec<Standing<'_>> = known.standings(now).collect();
        let needs = entries
            .iter()
            .filter_map(|entry| need(&policy, entry, &used, now));
        let mut needs: Vec<Need> = needs.collect();
        if !known.is_trusted(now.monotonic) {
            // The state may have been edited too: what Pods use is put back whatever it says.
            let lost = used.iter().filter_map(|key| Need::of_entry(&policy, key));
            let lost = lost.filter(|lost| !needs.iter().any(|need| need.key() == lost.key()));
            let lost: Vec<Need> = lost.collect();
            needs.extend(lost);
        }
        if !needs.is_empty() {
            let keys: Vec<_> = needs.iter().map(|need| Arc::clone(need.key())).collect();
            self.parts.ensurer.retry(namespace, needs).await?;
            return Ok(self.after_renewal(namespace, &keys));
        }
        if entries.iter().any(|entry| !entry.left.is_zero()) {
            return Ok(Renewal::Unused);
        }
        let deleted = self.parts.ensurer.delete_expired(namespace).await?;
        if deleted {
            tracing::info!(
                namespace,
                "deleted the pull Secret, which no Pod has used for a week"
            );
        }
        Ok(Renewal::Deleted)
    }

    /// Whether what was asked for is fresh now.
    fn after_renewal(&self, namespace: &str, keys: &[Arc<str>]) -> Renewal {
        let now = self.parts.clock.moment();
        let share = self.share(namespace);
        let known = self.parts.index.last_seen(namespace);
        let is_due = |entry: Standing<'_>| {
            keys.iter().any(|key| **key == *entry.key) && is_due(&entry, share)
        };
        if known.is_some_and(|known| known.standings(now).any(is_due)) {
            Renewal::Unchanged
        } else {
            Renewal::Renewed
        }
    }

    /// This namespace's and replica's share of the spread, from 0 to 1.
    fn share(&self, namespace: &str) -> f64 {
        let mut hasher = DefaultHasher::new();
        (self.replica, namespace).hash(&mut hasher);
        let bits = u32::try_from(hasher.finish() >> 32).unwrap_or_default();
        f64::from(bits) / f64::from(u32::MAX)
    }
}

/// Whether it is past half of its life and its share of the spread behind that.
fn is_due(entry: &Standing<'_>, share: f64) -> bool {
    entry.left + (entry.life / SPREAD).mul_f64(share) <= entry.life / 2
}

/// What is left of the first of the tokens to expire that have not expired.
pub(super) fn first_to_expire(known: &Known, now: Moment) -> Duration {
    let left = known.standings(now).map(|entry| entry.left);
    let left = left.filter(|left| !left.is_zero()).min();
    left.unwrap_or_default()
}

/// The `auths` key that an image is pulled with.
fn key<'a>(policy: &'a Policy, image: &'a str) -> Option<&'a str> {
    match decide(policy, image).credential {
        Credential::Secret { key, .. } => Some(key),
        Credential::NotNeeded => None,
    }
}

/// The need behind an entry that a Pod uses, or has used lately; `None` for what is left to expire.
fn need(policy: &Policy, entry: &Standing<'_>, used: &BTreeSet<&str>, now: Moment) -> Option<Need> {
    let used_at: Timestamp = if used.contains(entry.key) {
        now.wall
    } else if between(entry.used_at, now.wall) < KEPT_UNUSED {
        entry.used_at
    } else {
        return None;
    };
    Some(Need::of_entry(policy, entry.key)?.used_at(used_at))
}
