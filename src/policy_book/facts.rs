//! What is known of a policy, out of what was read and heard.

use tokio::time::Instant;

use super::RegisteredPods;
use super::entry::Reading;
use super::status::{Assumable, Facts, Standing, conflicts};
use crate::event::{Event, Severity, Subject};
use crate::policy::{Compiled, Identity};
use crate::token::TokenCache;

/// Whether it is in force, where we are asked about these Pods.
pub(super) fn standing(reading: &Reading, registered: RegisteredPods) -> Standing<'_> {
    match reading {
        Reading::Valid(policy) if is_partly_blind(policy, registered) => Standing::PartlyBlind,
        Reading::Valid(_) => Standing::InForce,
        Reading::Lost {
            reason, message, ..
        } => Standing::Lost(reason, message),
    }
}

/// Whether a policy has rules about images that nobody asks us about.
pub(super) fn is_partly_blind(policy: &Compiled, registered: RegisteredPods) -> bool {
    policy.judges_all_images() && registered == RegisteredPods::Ecr
}

/// What the tokens of a policy's roles tell, and when the last of it was heard; `told` is when it was the last time.
pub(super) fn assumable(
    tokens: &TokenCache,
    policy: &Compiled,
    told: Option<Instant>,
) -> (Assumable, Option<Instant>) {
    let words = policy.roles().map(|role| {
        let word = tokens.last_word(&Identity::Role(role.clone()))?;
        let why = word.1.err();
        Some((word.0, why.map(|why| format!("{}: {why}", role.arn()))))
    });
    let words: Vec<Option<(Instant, Option<String>)>> = words.collect();
    if words.is_empty() {
        return (Assumable::NoRoles, None);
    }
    let heard = words.iter().flatten().map(|(at, _)| *at).max();
    let is_news = heard > told;
    let refused = words.iter().flatten().find_map(|(_, why)| why.clone());
    let assumable = match refused {
        Some(why) => Assumable::No { why, is_news },
        None if words.iter().all(Option::is_some) => Assumable::Yes { is_news },
        None => Assumable::Unknown,
    };
    (assumable, heard)
}

/// What whoever looks at the policy must act on, if there is anything.
pub(super) fn event(name: &str, uid: &str, facts: &Facts<'_>) -> Option<Event> {
    let (reason, note) = match (&facts.standing, &facts.assumable) {
        (Standing::Lost(_, message), _) => {
            let note =
                format!("its namespaces are granted nothing until this is mended: {message}");
            ("PolicyInvalid", note)
        }
        _ if !facts.conflicts.is_empty() => ("PolicyConflict", conflicts(facts.conflicts)),
        (_, Assumable::No { why, .. }) => ("RoleNotAssumable", why.clone()),
        _ => return None,
    };
    Some(Event {
        subject: Subject {
            uid: Some(uid.to_owned()),
            ..Subject::policy(name)
        },
        severity: Severity::Warning,
        reason,
        note,
    })
}
