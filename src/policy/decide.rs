//! What becomes of one image: the credential it needs, and the rule it breaks.
//!
//! Two kinds of image are on the warm path and allocate nothing: a good ECR image, and one that is not ECR.

use std::fmt::Write;

use super::demand::Judged;
use super::grants::{Granted, Grants, Limited};
use super::judge::{Judgement, judge};
use super::message;
use super::shown::{Shown, ShownImage};
use super::{Action, Finding, Identity, Policy, Rule};
use crate::image::ecr::{EcrHost, Host};
use crate::image::reference::Reference;

/// The most policies that a sentence names.
const MOST_NAMED: usize = 5;
const CONTROLLER: &Identity = &Identity::Controller;

/// What was decided about one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The credential that pulling it takes, if it is allowed.
    pub credential: Credential<'a>,
    /// The registry, as far as it is ECR in its exact form: private, public, or [`Host::Other`].
    pub registry: Host<'a>,
    /// The rule it breaks; of several the strictest, of those the one to mend first.
    pub finding: Option<Finding>,
    /// The other rules that it breaks.
    pub others: Vec<Finding>,
    /// The rules that it breaks and is exempt from, a sentence each.
    pub exempt: Vec<String>,
}

/// The credential that an image needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// None from us: not ECR, public ECR, a registry that nodes pull from by themselves, or not granted.
    NotNeeded,
    /// An entry in the pull Secret.
    Secret {
        /// The registry.
        host: EcrHost<'a>,
        /// The key of the entry: the registry's host, or the host and a folder where two identities share it.
        key: &'a str,
        /// Who pulls.
        identity: &'a Identity,
    },
}

impl Decision<'_> {
    /// Whether the image names ECR exactly, be it private, native or public.
    pub fn is_ecr(&self) -> bool {
        matches!(self.registry, Host::Private(_) | Host::Public(_))
    }

    /// Whether the Pod must be refused for this image.
    pub fn is_refused(&self) -> bool {
        self.finding
            .as_ref()
            .is_some_and(|finding| finding.action == Action::Enforce)
    }

    /// Whether its registry is one that nobody may use, which no exemption and no other action changes for who pulls.
    pub fn is_of_forbidden_registry(&self) -> bool {
        let mut findings = self.finding.iter().chain(&self.others);
        findings.any(|finding| {
            let of_registry = matches!(
                finding.rule,
                Rule::AccountNotAllowed | Rule::RegionNotAllowed
            );
            of_registry && finding.action == Action::Enforce
        })
    }

    /// Everything that it breaks, the strictest first.
    pub fn into_findings(self) -> impl Iterator<Item = Finding> {
        self.finding.into_iter().chain(self.others)
    }
}

/// Decides about one image, as it stands in a Pod of which nothing else is known.
pub fn decide<'a>(policy: &'a Policy, image: &'a str) -> Decision<'a> {
    decide_for(policy, "", image)
}

/// Decides about one image, as it stands in a Pod that runs under a ServiceAccount.
pub fn decide_for<'a>(
    policy: &'a Policy,
    service_account: &'a str,
    image: &'a str,
) -> Decision<'a> {
    Decider::new(policy, service_account).decide(image)
}

/// Decides about the images of a Pod, one after the other. What it decides about one does not hang on the others.
#[derive(Clone, Debug)]
pub struct Decider<'a> {
    policy: &'a Policy,
    service_account: &'a str,
    /// The private registry of the image before, so that the next of the same need not be told again.
    last: Option<EcrHost<'a>>,
}

impl<'a> Decider<'a> {
    /// For a Pod that runs under this ServiceAccount; empty where that is not known.
    pub fn new(policy: &'a Policy, service_account: &'a str) -> Self {
        Self {
            policy,
            service_account,
            last: None,
        }
    }

    /// Decides about one image.
    pub fn decide(&mut self, image: &'a str) -> Decision<'a> {
        let policy = self.policy;
        let judgement = judge(policy, self.last.as_ref(), image);
        if let Host::Private(host) = judgement.registry {
            self.last = Some(host);
        }
        let Judgement {
            registry,
            broken,
            reference,
        } = judgement;
        let (credential, ungranted) = credential(policy, image, registry, reference.as_ref());
        if !policy.combined.demands.is_empty() || ungranted.is_some() {
            let judged = Judged::new(self.service_account, image, registry, reference);
            return demanded(policy, &judged, broken, credential, ungranted);
        }
        Decision {
            credential,
            registry,
            finding: broken.map(|rule| finding(policy, image, rule, policy.action, None)),
            others: Vec::new(),
            exempt: Vec::new(),
        }
    }
}

/// The decision where more is demanded than by the policy itself, or the image is not granted.
fn demanded<'a>(
    policy: &'a Policy,
    judged: &Judged<'a>,
    broken: Option<Rule>,
    credential: Credential<'a>,
    ungranted: Option<&Limited>,
) -> Decision<'a> {
    let image = judged.image;
    let demands = &policy.combined.demands;
    let (mut findings, mut exempt) = (Vec::new(), Vec::new());
    if let Some(rule) = broken {
        let stricter = demands.references(judged, policy.action, &mut exempt);
        let (action, by) =
            stricter.map_or((policy.action, None), |(action, by)| (action, Some(by)));
        findings.push(finding(policy, image, rule, action, by));
    }
    if let Some(limited) = ungranted {
        findings.push(not_granted(limited, image));
    }
    demands.judge(judged, &mut findings, &mut exempt);
    // Stable: of equals the one to mend first stays first.
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.action));
    let mut findings = findings.into_iter();
    Decision {
        credential,
        registry: judged.registry,
        finding: findings.next(),
        others: findings.collect(),
        exempt,
    }
}

/// The credential that an image needs, or the grants that do not cover it.
fn credential<'a>(
    policy: &'a Policy,
    image: &'a str,
    registry: Host<'a>,
    reference: Option<&Reference<'a>>,
) -> (Credential<'a>, Option<&'a Limited>) {
    let Host::Private(host) = registry else {
        return (Credential::NotNeeded, None);
    };
    let repository = reference.map(Reference::path).unwrap_or_default();
    let (identity, key) = match &policy.combined.grants {
        Grants::All => (CONTROLLER, host.host),
        Grants::Limited(limited) => match limited.find(&host, &repository) {
            None => return (Credential::NotNeeded, Some(limited)),
            Some(Granted::ByNodes) => return (Credential::NotNeeded, None),
            Some(Granted::By(identity, folder)) => {
                let length = folder.map_or(0, |folder| 1 + folder.len());
                (identity, &image[..host.host.len() + length])
            }
        },
    };
    // A role is granted for a reason, whatever the nodes can do.
    if *identity == Identity::Controller && is_native(policy, &host) {
        return (Credential::NotNeeded, None);
    }
    let credential = Credential::Secret {
        host,
        key,
        identity,
    };
    (credential, None)
}

fn is_native(policy: &Policy, host: &EcrHost<'_>) -> bool {
    policy
        .native_registries
        .iter()
        .any(|native| native.matches(host))
}

fn finding(policy: &Policy, image: &str, rule: Rule, action: Action, by: Option<&str>) -> Finding {
    let mut message = message::sentence(policy, image, rule);
    let action = match rule {
        Rule::UnknownRegion => Action::Warn,
        _ => action,
    };
    if let Some(by) = by.filter(|_| rule != Rule::UnknownRegion) {
        // Writing to a String cannot fail.
        let _ = write!(message, " (policy {})", Shown(by));
    }
    Finding {
        rule,
        action,
        message,
    }
}

fn not_granted(limited: &Limited, image: &str) -> Finding {
    let names = &limited.granting;
    let why = match (&limited.unreadable, names.as_slice()) {
        (Some(lost), _) => format!(
            ": policy {} cannot be read, and until it can, its namespaces are granted nothing",
            Shown(lost)
        ),
        (None, []) => ": no policy grants it anything".to_owned(),
        (None, [name]) => format!(" by policy {}", Shown(name)),
        (None, names) => {
            let told = names.iter().take(MOST_NAMED);
            let told: Vec<String> = told.map(|name| Shown(name).to_string()).collect();
            let more = if names.len() > MOST_NAMED {
                ", …"
            } else {
                ""
            };
            format!(" by any of its policies {}{more}", told.join(", "))
        }
    };
    Finding {
        rule: Rule::NotGranted,
        action: limited.action,
        message: format!(
            "image {} is not granted to this namespace{why}",
            ShownImage(image)
        ),
    }
}

/// Who pulls what an `auths` key of a namespace stands for; `None` when nothing with that key is granted.
pub fn identity_of_key<'a>(
    policy: &'a Policy,
    key: &'a str,
) -> Option<(EcrHost<'a>, &'a Identity)> {
    let (host, folder) = match key.split_once('/') {
        Some((host, folder)) => (host, Some(folder)),
        None => (key, None),
    };
    let host = EcrHost::parse(host)?;
    let identity = match &policy.combined.grants {
        Grants::All => folder.is_none().then_some(CONTROLLER)?,
        Grants::Limited(limited) => limited.of_key(&host, folder)?,
    };
    Some((host, identity))
}

impl Policy {
    /// All that is granted of a registry: the `auths` keys, the most specific first, and who pulls what each stands for.
    pub fn keys_of(&self, host: &EcrHost<'_>) -> Vec<(String, &Identity)> {
        let folders = match &self.combined.grants {
            Grants::All => vec![(None, CONTROLLER)],
            Grants::Limited(limited) => limited.folders_of(host),
        };
        let keys = folders.into_iter().map(|(folder, identity)| {
            let key = folder.map_or_else(
                || host.host.to_owned(),
                |folder| format!("{}/{folder}", host.host),
            );
            (key, identity)
        });
        keys.collect()
    }

    /// The same without what the nodes pull by themselves (`nativeRegistries`). As for an image: a role is granted for a
    /// reason, whatever the nodes can do.
    pub fn keys_needed_of(&self, host: &EcrHost<'_>) -> Vec<(String, &Identity)> {
        let mut keys = self.keys_of(host);
        keys.retain(|(_, identity)| **identity != Identity::Controller || !is_native(self, host));
        keys
    }

    /// Whether an entry under that `auths` key, made with the identity of that fingerprint, is what is granted here.
    pub fn grants_key(&self, key: &str, fingerprint: &str) -> bool {
        let granted = identity_of_key(self, key);
        granted.is_some_and(|(_, identity)| identity.fingerprint() == fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_ecr_image_needs_a_secret_and_breaks_no_rule() {
        let policy = Policy::default();
        let decision = decide(
            &policy,
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:1.2",
        );
        let Credential::Secret {
            host,
            key,
            identity,
        } = &decision.credential
        else {
            panic!("{decision:?}");
        };
        assert_eq!(host.host, "123456789012.dkr.ecr.eu-west-1.amazonaws.com");
        assert_eq!((host.account, host.region), ("123456789012", "eu-west-1"));
        assert_eq!(*key, host.host);
        assert_eq!(**identity, Identity::Controller);
        assert_eq!(decision.finding, None);
        assert!(decision.is_ecr() && !decision.is_refused());
    }

    #[test]
    fn an_image_elsewhere_is_none_of_our_business() {
        let policy = Policy::default();
        let decision = decide(&policy, "nginx");
        assert_eq!(decision.credential, Credential::NotNeeded);
        assert!(!decision.is_ecr() && !decision.is_refused());
    }

    #[test]
    fn an_ecr_image_without_tag_and_digest_is_refused() {
        let image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app";
        let policy = Policy::default();
        let decision = decide(&policy, image);
        assert!(decision.is_refused());
        insta::assert_snapshot!(decision.finding.unwrap().message, @r#"image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean"#);
    }
}
