//! What people in a namespace are told by an Event: failures that pass only when somebody acts.

use super::failure::EnsureError;
use crate::event::{Event, Kind, Severity, Subject};
use crate::secret::{StoreErrorKind, WriteError};
use crate::token::MintErrorKind;

/// A Secret of our name is not ours.
const FOREIGN: &str = "ForeignPullSecret";
/// The Secret holds as many registries as it can.
const FULL: &str = "PullSecretFull";
/// A quota, a policy or missing rights keep us from the Secret.
const REFUSED: &str = "PullSecretRefused";
/// AWS gives no token, and will not by waiting.
const NO_CREDENTIAL: &str = "NoPullCredential";

/// What to tell about a namespace whose Secret, called `secret`, could not be made sure of; nothing about what may be
/// over by itself, and what the Pod's author is told anyway.
pub(super) fn of_failure(namespace: &str, secret: &str, error: &EnsureError) -> Option<Event> {
    let of_secret = || Subject::new(Kind::Secret, namespace, secret);
    let (reason, subject) = match error {
        EnsureError::NotWritten(WriteError::Foreign { .. }) => (FOREIGN, of_secret()),
        EnsureError::NotWritten(WriteError::Full { .. }) => (FULL, of_secret()),
        EnsureError::NotWritten(WriteError::Store(error))
            if error.kind == StoreErrorKind::Refused =>
        {
            (REFUSED, of_secret())
        }
        EnsureError::NoToken { error, .. } if needs_somebody(error.kind) => {
            (NO_CREDENTIAL, Subject::namespace(namespace))
        }
        _ => return None,
    };
    Some(Event {
        subject,
        severity: Severity::Warning,
        reason,
        note: error.to_string(),
    })
}

/// Whether a failure of AWS lasts until somebody acts.
fn needs_somebody(kind: MintErrorKind) -> bool {
    use MintErrorKind::{
        Denied, ExpiredCredentials, NoCredentials, Service, Throttled, TimedOut, UnknownRegion,
        Unreachable,
    };
    match kind {
        NoCredentials | ExpiredCredentials | Denied | UnknownRegion => true,
        Throttled | Unreachable | TimedOut | Service => false,
    }
}
