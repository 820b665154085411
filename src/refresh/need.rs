//! What a namespace needs, from what somebody named.

use crate::image::ecr::EcrHost;
use crate::namespace::{Pins, REGISTRIES_ANNOTATION};
use crate::policy::decide::identity_of_key;
use crate::policy::{Credential, Decision, Identity, Policy, Rule, decide, private_registry};
use crate::secret::{Put, Wanted};
use crate::token::{Token, TokenKey};

/// An entry that a Secret is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Need {
    /// The `auths` key.
    pub(super) key: String,
    pub(super) token: TokenKey,
}

impl Need {
    fn new(key: &str, host: &EcrHost<'_>, identity: Identity) -> Self {
        Self {
            key: key.to_owned(),
            token: TokenKey {
                identity,
                partition: host.partition,
                region: host.region.into(),
            },
        }
    }

    /// The need behind an `auths` key of the namespace's Secret; `None` when nothing with that key is granted.
    pub(super) fn of_key(policy: &Policy, key: &str) -> Option<Self> {
        let (host, identity) = identity_of_key(policy, key)?;
        Some(Self::new(key, &host, identity.clone()))
    }

    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            key: &self.key,
            identity: self.token.identity.fingerprint(),
            generation: 0,
        }
    }

    /// The entry with its token, as used now: somebody asks for it.
    pub(super) fn put<'a>(&'a self, token: &'a Token, now: jiff::Timestamp) -> Put<'a> {
        Put {
            wanted: self.wanted(),
            token,
            used_at: now,
        }
    }
}

/// Needs, each once, and why something that was named is none.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) wanted: Vec<Need>,
    pub(super) errors: Vec<String>,
}

impl Needs {
    /// Registries of a namespace's annotation.
    pub(super) fn add_pinned(&mut self, policy: &Policy, pins: &Pins) {
        for entry in pins.entries() {
            match private_registry(entry) {
                Ok(registry) => self.add_registry(policy, registry.host),
                Err(refusal) => self.errors.push(format!(
                    "the annotation {REGISTRIES_ANNOTATION} cannot be read: {refusal}"
                )),
            }
        }
    }

    /// A registry by its host: all that is granted of it. What policy forbids is an error, for somebody asked for it.
    pub(super) fn add_registry(&mut self, policy: &Policy, host: &str) {
        let registry = match private_registry(host) {
            Ok(registry) => registry,
            Err(refusal) => return self.errors.push(refusal.to_string()),
        };
        // By all but the repository, any image there is judged alike.
        let image = format!("{host}/repository:tag");
        let decision = decide(policy, &image);
        if let Some(rule) = forbidden(&decision) {
            let error = format!(
                "{host}: policy does not allow this registry [{}]",
                rule.id()
            );
            return self.errors.push(error);
        }
        let keys = policy.keys_needed_of(&registry);
        for (key, identity) in &keys {
            self.add(Need::new(key, &registry, (*identity).clone()));
        }
        let ungranted = |rule: Rule| rule == Rule::NotGranted;
        if keys.is_empty() && rules(&decision).any(ungranted) {
            self.errors.push(format!(
                "{host}: no policy grants anything of this registry to this namespace [granted]"
            ));
        }
    }

    /// Images of Pods and templates; one that is no private ECR image needs nothing, nor does one that policy forbids.
    pub(super) fn add_images(&mut self, policy: &Policy, images: &[String]) {
        for image in images {
            let decision = decide(policy, image);
            // A tag that is missing is the image's fault, and the Pod may be older than the rule.
            if forbidden(&decision).is_some() {
                continue;
            }
            if let Credential::Secret {
                host,
                key,
                identity,
            } = decision.credential
            {
                self.add(Need::new(key, &host, identity.clone()));
            }
        }
    }

    fn add(&mut self, need: Need) {
        if !self.wanted.contains(&need) {
            self.wanted.push(need);
        }
    }
}

fn rules(decision: &Decision<'_>) -> impl Iterator<Item = Rule> {
    let findings = decision.finding.iter().chain(&decision.others);
    findings.map(|finding| finding.rule)
}

/// The rule by which no image of the registry may be pulled.
fn forbidden(decision: &Decision<'_>) -> Option<Rule> {
    let is_of_registry =
        |rule: &Rule| matches!(rule, Rule::AccountNotAllowed | Rule::RegionNotAllowed);
    let forbidden = decision.is_of_forbidden_registry();
    forbidden.then(|| rules(decision).find(is_of_registry))?
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
    const OTHER: &str = "210987654321.dkr.ecr.us-east-1.amazonaws.com";

    fn hosts(needs: &Needs) -> Vec<&str> {
        needs.wanted.iter().map(|need| need.key.as_str()).collect()
    }

    #[test]
    fn each_registry_is_needed_once_and_what_is_not_ecr_never() {
        let mut needs = Needs::default();
        let policy = Policy::default();
        needs.add_pinned(&policy, &Pins::of(HOST));
        let images = [
            format!("{HOST}/a:1"),
            format!("{OTHER}/untagged"),
            format!("{OTHER}/b@sha256:0"),
            "nginx".to_owned(),
            "public.ecr.aws/x/y:1".to_owned(),
        ];
        needs.add_images(&policy, &images);
        assert_eq!(hosts(&needs), [HOST, OTHER]);
        assert!(needs.errors.is_empty());
    }

    #[test]
    fn what_policy_forbids_is_an_error_only_for_who_asked_for_it() {
        let policy = Policy {
            allowed_regions: Some(["us-east-1".to_owned()].into()),
            ..Policy::default()
        };
        let mut needs = Needs::default();
        needs.add_images(&policy, &[format!("{HOST}/a:1")]);
        assert!(needs.wanted.is_empty() && needs.errors.is_empty());
        needs.add_pinned(&policy, &Pins::of(&format!("{HOST},{OTHER},ghcr.io")));
        assert_eq!(hosts(&needs), [OTHER]);
        insta::assert_snapshot!(needs.errors.join("\n"), @r#"
        123456789012.dkr.ecr.eu-west-1.amazonaws.com: policy does not allow this registry [region-not-allowed]
        the annotation ecr-admission.dev/registries cannot be read: "ghcr.io" is no private ECR registry: write a host such as "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
        "#);
    }

    #[test]
    fn a_registry_that_nodes_pull_from_by_themselves_needs_nothing() {
        let policy = Policy {
            native_registries: vec!["123456789012".parse().unwrap()],
            ..Policy::default()
        };
        let mut needs = Needs::default();
        needs.add_registry(&policy, HOST);
        needs.add_registry(&policy, OTHER);
        assert_eq!(hosts(&needs), [OTHER]);
    }
}
