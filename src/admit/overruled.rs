//! What other policies or other labels take away: entries that are granted no more go at once, not when they expire.

use super::reconcile::Reconciler;
use crate::policy::Policy;

/// How many namespaces are judged anew before others get a turn.
const AT_A_TIME: usize = 32;

impl Reconciler {
    /// The namespaces whose Secrets hold what is granted no more.
    pub(super) async fn overruled(&self) -> Vec<Box<str>> {
        let mut all = self.parts.index.select(|_, _| true);
        // The same way each time, for simulations.
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut overruled = Vec::new();
        for (number, (namespace, known)) in all.into_iter().enumerate() {
            // Each may take a look at every policy.
            if number % AT_A_TIME == 0 {
                tokio::task::yield_now().await;
            }
            let ruling = self.parts.rulebook.ruling(&namespace);
            if ruling.is_some_and(|policy| self.parts.ensurer.revokes(&known, &policy)) {
                overruled.push(namespace);
            }
        }
        overruled
    }

    /// Whether a namespace's Secret holds other than this policy grants.
    pub(super) fn holds_other_than(&self, namespace: &str, policy: &Policy) -> bool {
        let known = self.parts.index.last_seen(namespace);
        known.is_some_and(|known| self.parts.ensurer.revokes(&known, policy))
    }

    /// Whether a namespace's Secret holds what is granted no more; not while nobody can tell what is.
    pub(super) fn holds_other_than_granted(&self, namespace: &str) -> bool {
        let ruling = self.parts.rulebook.ruling(namespace);
        ruling.is_some_and(|policy| self.holds_other_than(namespace, &policy))
    }
}
