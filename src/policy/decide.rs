//! What becomes of one image: the credential it needs, and the rule it breaks.
//!
//! Two kinds of image are on the warm path and allocate nothing: a good ECR image, and one that is not ECR.

use super::judge::judge;
use super::message;
use super::{Action, Finding, Identity, Policy, Rule};
use crate::image::ecr::{EcrHost, Host};

/// What was decided about one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The credential that pulling it takes, if it is allowed.
    pub credential: Credential<'a>,
    /// The registry, as far as it is ECR in its exact form: private, public, or [`Host::Other`].
    pub registry: Host<'a>,
    /// The rule it breaks; of several the one to mend first.
    pub finding: Option<Finding>,
}

/// The credential that an image needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential<'a> {
    /// None from us: not ECR, public ECR, or a registry that nodes pull from by themselves.
    NotNeeded,
    /// An entry in the pull Secret.
    Secret {
        /// The registry; its `host` is the key of the entry.
        host: EcrHost<'a>,
        /// Who pulls.
        identity: Identity,
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
}

/// Decides about one image, as it stands in a Pod.
pub fn decide<'a>(policy: &Policy, image: &'a str) -> Decision<'a> {
    let (registry, broken) = judge(policy, image);
    let credential = match registry {
        Host::Private(host) if !is_native(policy, &host) => Credential::Secret {
            host,
            identity: Identity::Controller,
        },
        _ => Credential::NotNeeded,
    };
    let finding = broken.map(|rule| Finding {
        rule,
        action: match rule {
            Rule::UnknownRegion => Action::Warn,
            _ => policy.action,
        },
        message: message::sentence(policy, image, rule),
    });
    Decision {
        credential,
        registry,
        finding,
    }
}

fn is_native(policy: &Policy, host: &EcrHost<'_>) -> bool {
    policy
        .native_registries
        .iter()
        .any(|native| native.matches(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_ecr_image_needs_a_secret_and_breaks_no_rule() {
        let decision = decide(
            &Policy::default(),
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:1.2",
        );
        let Credential::Secret { host, identity } = &decision.credential else {
            panic!("{decision:?}");
        };
        assert_eq!(host.host, "123456789012.dkr.ecr.eu-west-1.amazonaws.com");
        assert_eq!((host.account, host.region), ("123456789012", "eu-west-1"));
        assert_eq!(identity, &Identity::Controller);
        assert_eq!(decision.finding, None);
        assert!(decision.is_ecr() && !decision.is_refused());
    }

    #[test]
    fn an_image_elsewhere_is_none_of_our_business() {
        let decision = decide(&Policy::default(), "nginx");
        assert_eq!(decision.credential, Credential::NotNeeded);
        assert!(!decision.is_ecr() && !decision.is_refused());
    }

    #[test]
    fn an_ecr_image_without_tag_and_digest_is_refused() {
        let image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app";
        let decision = decide(&Policy::default(), image);
        assert!(decision.is_refused());
        insta::assert_snapshot!(decision.finding.unwrap().message, @r#"image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app" has neither a tag nor a digest; write "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:tag" with the tag you mean"#);
    }
}
