//! Mending one namespace: what its pins and its Pods need, and its Secret does not hold, is put there; what it holds and is
//! granted no more is taken out.

use tokio::time::Instant;

use super::agenda::{Mended, Why};
use super::failure::EnsureError;
use super::need::Need;
use super::pinned::{self, Pinned};
use super::reconcile::Reconciler;
use super::surveyor::Surveyor;
use crate::policy::Policy;
use crate::pull_secret::merge::MOST_ENTRIES;
use crate::secret::{Lookup, WriteError};

impl Reconciler {
    /// Gives a namespace what it needs.
    pub(super) async fn look_into(&self, namespace: &str, why: Why) -> Mended {
        let revokes = self.holds_other_than_granted(namespace);
        let why = Why {
            pods: why.pods || revokes,
            ..why
        };
        let needs = match self.needs(namespace, why).await {
            Ok(needs) => self.missing(namespace, needs),
            Err(error) => {
                tracing::warn!(namespace, %error, "cannot tell what Pods need");
                if revokes {
                    // Its outcome is logged and counted, and there is another try.
                    let _ = self.parts.ensurer.retry(namespace, Vec::new()).await;
                }
                return self.failed(namespace, self.parts.clock.monotonic());
            }
        };
        if needs.is_empty() && !revokes {
            return Mended::Done;
        }
        let absent = matches!(self.parts.index.look_up(namespace), Lookup::Absent);
        let deleted = format!("{namespace}/");
        if why.touched && absent && self.parts.index.has_insisted(&deleted) {
            // Who deletes it in a loop does not make us write in a loop.
            let until = self.parts.index.may_insist_at(&deleted);
            return Mended::Wait { until };
        }
        match self.parts.ensurer.retry(namespace, needs.clone()).await {
            Ok(()) => {
                if why.touched && absent {
                    self.parts.index.insisted(&deleted);
                }
                Mended::Done
            }
            Err(error) if error.is_final() => Mended::Done,
            Err(_) => self.failed(namespace, self.parts.ensurer.retry_at(&needs)),
        }
    }

    /// A namespace has not got what it needs, or keeps what it may not.
    fn failed(&self, namespace: &str, not_before: Instant) -> Mended {
        if self.holds_other_than_granted(namespace) {
            Mended::Overruled
        } else {
            Mended::Failed { not_before }
        }
    }

    /// What a namespace's pins and, on demand, its Pods need.
    async fn needs(&self, name: &str, why: Why) -> Result<Vec<Need>, EnsureError> {
        let parts = &self.parts;
        let namespace = parts.namespaces.get(name);
        if namespace.terminating {
            return Ok(Vec::new());
        }
        if parts.settings.excluded_namespaces.contains(name) {
            if !namespace.pins.is_empty() {
                parts.events.tell(pinned::of_excluded(name));
            }
            return Ok(Vec::new());
        }
        let Some(policy) = parts.rulebook.ruling(name) else {
            return Ok(Vec::new());
        };
        let pinned = Pinned::of(&policy, &namespace.pins);
        if let Some(event) = pinned.event(name) {
            parts.events.tell(event);
        }
        let mut needs = pinned.needs;
        if !why.pods {
            return Ok(needs);
        }
        let surveyor = self.surveyor(&policy);
        let mut next: Option<String> = None;
        loop {
            let page = parts.pods.page(Some(name), next.as_deref()).await;
            let page = page.map_err(WriteError::from)?;
            let of_pods = page.pods.iter();
            for need in of_pods.flat_map(|pod| surveyor.needs(pod, &namespace)) {
                let is_new = !needs.iter().any(|known| **known.key() == *need.key);
                if needs.len() < MOST_ENTRIES && is_new {
                    needs.push(Need::from(&need));
                }
            }
            next = page.next;
            if next.is_none() {
                return Ok(needs);
            }
        }
    }

    /// Those that the namespace's Secret does not hold.
    fn missing(&self, namespace: &str, mut needs: Vec<Need>) -> Vec<Need> {
        if !needs.is_empty() {
            let lacks = self.lacks(namespace);
            needs.retain(|need| lacks(need.wanted()));
        }
        needs
    }

    pub(super) fn surveyor<'a>(&'a self, policy: &'a Policy) -> Surveyor<'a> {
        Surveyor {
            policy,
            secret: &self.parts.settings.secret,
        }
    }
}
