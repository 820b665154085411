//! What becomes of a Pod that could not be checked: refused while any rule is enforced, otherwise that would be a way around
//! policy.

use super::outcome::Outcome;
use super::{Admission, is_pod};
use crate::policy::OnFailure;
use crate::review::{Envelope, Operation};

impl Admission {
    /// The object cannot be read, and `reason` says why.
    pub(super) fn unreadable(&self, envelope: &Envelope<'_>, reason: &str) -> Outcome {
        if self.leaves_alone(envelope) {
            Outcome::allow("not_a_pod")
        } else if self.is_enforcing(envelope) {
            Outcome::refuse("unreadable", format!("this Pod cannot be read: {reason}"))
        } else {
            Outcome::warn(
                "unreadable",
                format!("this Pod was not checked, because it cannot be read: {reason}"),
            )
        }
    }

    /// The review was too large to be read whole.
    pub(super) fn too_large(&self, envelope: &Envelope<'_>) -> Outcome {
        if self.leaves_alone(envelope) {
            Outcome::allow("too_large")
        } else if self.is_enforcing(envelope) {
            Outcome::refuse(
                "too_large",
                "this Pod is too large to check: its review is over 7 MiB; make its spec smaller",
            )
        } else {
            Outcome::warn(
                "too_large",
                "this Pod was not checked: its review is over 7 MiB",
            )
        }
    }

    /// A fault of ours.
    pub(super) fn internal_failure(&self) -> Outcome {
        let message = "ecr-admission failed while checking this Pod; see its log";
        match self.rulebook.set().base().on_internal_error {
            OnFailure::Admit => Outcome::warn("internal", message),
            OnFailure::Deny => Outcome::refuse("internal", message),
        }
    }

    /// Whether any rule can refuse a Pod there, as far as it is known.
    fn is_enforcing(&self, envelope: &Envelope<'_>) -> bool {
        let ruling = self.rulebook.ruling(envelope.namespace());
        ruling.map_or_else(
            || self.rulebook.set().may_enforce(),
            |policy| policy.is_enforcing(),
        )
    }

    /// Whether the envelope alone says that there is nothing to judge. One that was cut off before it says so does not.
    fn leaves_alone(&self, envelope: &Envelope<'_>) -> bool {
        let may_be_pod = envelope.kind().is_empty() || is_pod(envelope);
        self.is_excluded(envelope) || !may_be_pod || envelope.operation() == Operation::Other
    }
}
