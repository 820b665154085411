//! Judging the registries that a namespace pins: by policy, as images are. Pure.

use super::judge::NeedRef;
use super::need::Need;
use crate::event::{Event, Severity, Subject};
use crate::image::ecr::Host;
use crate::namespace::{Pins, REGISTRIES_ANNOTATION};
use crate::policy::{Decision, Policy, Rule, decide};
use crate::pull_secret::merge::MOST_ENTRIES;
use crate::review::at_most;

/// A pinned registry that cannot be served.
const INVALID: &str = "InvalidPinnedRegistry";
/// A namespace that is left alone pins registries.
const EXCLUDED: &str = "PinsNotServed";
/// The most entries that are told; of the others, how many there are.
const MOST_TOLD: usize = 3;
/// The most characters that are shown of an entry: longer than any host.
const LONGEST_SHOWN: usize = 80;

/// What a namespace's pins come to.
#[derive(Debug, Default)]
pub(super) struct Pinned {
    /// The credentials that it needs, each once.
    pub(super) needs: Vec<Need>,
    /// What is wrong with the others, a sentence each.
    wrong: Vec<String>,
}

impl Pinned {
    /// Judges every entry.
    pub(super) fn of(policy: &Policy, pins: &Pins) -> Self {
        let mut pinned = Self::default();
        for entry in pins.entries() {
            match needs(policy, entry) {
                Ok(needs) => pinned.add(entry, needs),
                Err(reason) => pinned.wrong.push(complaint(entry, &reason)),
            }
        }
        if pins.is_cut() {
            let reason = "it is longer than 4 KiB, and its end was not read";
            pinned.wrong.push(reason.to_owned());
        }
        pinned
    }

    fn add(&mut self, entry: &str, needs: Vec<Need>) {
        for need in needs {
            if self.needs.contains(&need) {
                continue;
            }
            if self.needs.len() == MOST_ENTRIES {
                let reason = format!("is one more than the {MOST_ENTRIES} that a Secret holds");
                self.wrong.push(complaint(entry, &reason));
                return;
            }
            self.needs.push(need);
        }
    }

    /// What is wrong, for people; nothing while all is well.
    pub(super) fn warnings(&self) -> Vec<String> {
        let told = self.wrong.iter().take(MOST_TOLD);
        let mut warnings: Vec<String> = told
            .map(|wrong| format!("namespace annotation {REGISTRIES_ANNOTATION}: {wrong}"))
            .collect();
        let more = self.wrong.len().saturating_sub(MOST_TOLD);
        if more > 0 {
            warnings.push(format!("and {more} more entries like these"));
        }
        warnings
    }

    /// The same as one Event on the namespace.
    pub(super) fn event(&self, namespace: &str) -> Option<Event> {
        (!self.wrong.is_empty()).then(|| Event {
            subject: Subject::namespace(namespace),
            severity: Severity::Warning,
            reason: INVALID,
            note: self.warnings().join("; "),
        })
    }
}

/// What is told of a namespace that is left alone and pins registries all the same.
pub(super) fn of_excluded(namespace: &str) -> Event {
    Event {
        subject: Subject::namespace(namespace),
        severity: Severity::Warning,
        reason: EXCLUDED,
        note: format!(
            "annotation {REGISTRIES_ANNOTATION} has no effect: ecr-admission leaves this namespace alone \
             (excludedNamespaces); pin the registries in another one"
        ),
    }
}

fn complaint(entry: &str, reason: &str) -> String {
    format!("{:?} {reason}", at_most(LONGEST_SHOWN, entry))
}

/// The credentials for one entry, or why there are none.
fn needs(policy: &Policy, entry: &str) -> Result<Vec<Need>, String> {
    let host = match Host::classify(entry) {
        Host::Private(host) => host,
        Host::Public(_) => return Err("is public and needs no credential: leave it out".to_owned()),
        Host::ForeignRegion(foreign) => {
            return Err(format!(
                "names region {} of another AWS partition than the host's: correct one of them",
                foreign.region
            ));
        }
        Host::Other => {
            return Err(
                "is no private ECR registry: write a host such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com, \
                 without scheme, port and repository"
                    .to_owned(),
            );
        }
    };
    // Policy judges images, and by all but the repository this is as good as any.
    let image = format!("{entry}/any:any");
    let decision = decide(policy, &image);
    if decision.is_of_forbidden_registry() {
        let finding = decision.finding.as_ref();
        let rule = finding.map(|finding| finding.rule);
        let (id, help) = rule.map_or(("", ""), |rule| (rule.id(), rule.help()));
        return Err(format!("is not allowed [{id}]: {help}"));
    }
    let keys = policy.keys_needed_of(&host);
    if !keys.is_empty() {
        let needs = keys.iter().map(|(key, identity)| {
            Need::from(&NeedRef {
                host,
                key,
                identity,
            })
        });
        return Ok(needs.collect());
    }
    Err(if is_ungranted(&decision) {
        "is not granted to this namespace by any policy: leave it out, or ask those who write the policies".to_owned()
    } else {
        "gets no credential, because nodes pull from it by themselves (nativeRegistries, or credentials: Skip of a \
         policy): leave it out"
            .to_owned()
    })
}

fn is_ungranted(decision: &Decision<'_>) -> bool {
    let mut findings = decision.finding.iter().chain(&decision.others);
    findings.any(|finding| finding.rule == Rule::NotGranted)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn warnings(policy: &Policy, pins: &str) -> String {
        Pinned::of(policy, &Pins::of(pins)).warnings().join("\n")
    }

    #[test]
    fn registries_are_needed_once_each_and_all_are_judged_by_policy() {
        let policy = Policy {
            allowed_accounts: Some(BTreeSet::from(["123456789012".to_owned()])),
            native_registries: vec!["*.dkr.ecr.us-east-1.amazonaws.com".parse().unwrap()],
            ..Policy::default()
        };
        let good = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        let pins = Pins::of(&format!("{good},{good}, {good}"));
        let pinned = Pinned::of(&policy, &pins);
        assert_eq!(pinned.needs.len(), 1);
        assert!(pinned.event("team-a").is_none() && pinned.warnings().is_empty());
        let wrong = "111111111111.dkr.ecr.eu-west-1.amazonaws.com, \
            123456789012.dkr.ecr.us-east-1.amazonaws.com, public.ecr.aws";
        insta::assert_snapshot!(warnings(&policy, wrong), @r#"
        namespace annotation ecr-admission.dev/registries: "111111111111.dkr.ecr.eu-west-1.amazonaws.com" is not allowed [account-not-allowed]: The registry's AWS account must be one of allowedAccounts.
        namespace annotation ecr-admission.dev/registries: "123456789012.dkr.ecr.us-east-1.amazonaws.com" gets no credential, because nodes pull from it by themselves (nativeRegistries, or credentials: Skip of a policy): leave it out
        namespace annotation ecr-admission.dev/registries: "public.ecr.aws" is public and needs no credential: leave it out
        "#);
    }

    #[test]
    fn what_is_no_registry_is_named_and_the_telling_is_bounded() {
        let wrong = "docker.io,https://123456789012.dkr.ecr.eu-west-1.amazonaws.com,\
            123456789012.dkr.ecr.cn-north-1.amazonaws.com,a,b,c";
        insta::assert_snapshot!(warnings(&Policy::default(), wrong), @r#"
        namespace annotation ecr-admission.dev/registries: "docker.io" is no private ECR registry: write a host such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com, without scheme, port and repository
        namespace annotation ecr-admission.dev/registries: "https://123456789012.dkr.ecr.eu-west-1.amazonaws.com" is no private ECR registry: write a host such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com, without scheme, port and repository
        namespace annotation ecr-admission.dev/registries: "123456789012.dkr.ecr.cn-north-1.amazonaws.com" names region cn-north-1 of another AWS partition than the host's: correct one of them
        and 3 more entries like these
        "#);
        let many: Vec<String> = (0..70)
            .map(|n| format!("{n:012}.dkr.ecr.eu-west-1.amazonaws.com"))
            .collect();
        let pinned = Pinned::of(&Policy::default(), &Pins::of(&many.join(",")));
        assert_eq!(pinned.needs.len(), MOST_ENTRIES);
        assert!(!pinned.warnings().is_empty());
    }
}
