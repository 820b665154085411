//! One log line per verdict that somebody may ask about. No bodies, nothing secret.

use std::time::Duration;

use super::outcome::{Outcome, Verdict};
use crate::review::{Envelope, at_most, for_people};

/// The most characters that are logged of a name or a uid: what Kubernetes allows a name to have. A review that did not
/// come from the API server can hold anything.
const LONGEST_NAME: usize = 253;

/// Refusals, warnings and ensures at info; a warm injection, or a Pod that is none of our business, at debug.
pub(super) fn log(envelope: &Envelope<'_>, outcome: &Outcome, took: Duration) {
    let verdict = outcome.verdict();
    let notable = matches!(verdict, Verdict::Refused | Verdict::Warned)
        || outcome.reason == "ensured"
        || outcome.answer.audit.is_some();
    if notable {
        let refusal = outcome.answer.refusal.iter();
        let said = refusal
            .chain(&outcome.answer.warnings)
            .chain(&outcome.answer.audit);
        let mut said: Vec<String> = said.map(|text| for_people(text)).collect();
        if said.is_empty() {
            said.push("the pull Secret was made sure of".to_owned());
        }
        tracing::info!(
            uid = name(envelope.uid()),
            namespace = name(envelope.namespace()),
            name = name(envelope.name()),
            operation = ?envelope.operation(),
            verdict = verdict.label(),
            reason = outcome.reason,
            dry_run = envelope.dry_run(),
            ?took,
            "{}",
            said.join("; ")
        );
    } else {
        tracing::debug!(
            uid = name(envelope.uid()),
            namespace = name(envelope.namespace()),
            name = name(envelope.name()),
            operation = ?envelope.operation(),
            verdict = verdict.label(),
            reason = outcome.reason,
            ?took,
            "admitted"
        );
    }
}

fn name(text: &str) -> String {
    at_most(LONGEST_NAME, text)
}
