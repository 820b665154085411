//! Who pulls an image, under what holds today and under what is asked about.

use std::fmt;

use crate::image::ecr::Host;
use crate::policy::{Credential, Decision, Identity, Rule};

/// Who pulls an image of a private ECR registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Puller {
    /// The nodes, by themselves.
    Nodes,
    /// An identity, by an entry in the pull Secret.
    Identity(Identity),
    /// Nobody: no grant covers it, so it gets no credential whatever the action.
    Nobody,
}

/// A registry that somebody else pulls from, or nobody any more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Its host.
    pub registry: String,
    /// Today.
    pub before: Puller,
    /// Under the policies that are asked about.
    pub after: Puller,
}

impl Puller {
    /// `None` for an image of no private ECR registry.
    pub(super) fn of(decision: &Decision<'_>) -> Option<Self> {
        let Host::Private(_) = decision.registry else {
            return None;
        };
        if let Credential::Secret { identity, .. } = decision.credential {
            return Some(Self::Identity(identity.clone()));
        }
        let mut findings = decision.finding.iter().chain(&decision.others);
        let is_granted = !findings.any(|finding| finding.rule == Rule::NotGranted);
        Some(if is_granted {
            Self::Nodes
        } else {
            Self::Nobody
        })
    }
}

impl Change {
    /// What differs between two decisions about one image; `None` when nothing does.
    pub(super) fn between(before: &Decision<'_>, after: &Decision<'_>) -> Option<Self> {
        let Host::Private(host) = after.registry else {
            return None;
        };
        let (before, after) = (Puller::of(before)?, Puller::of(after)?);
        (before != after).then(|| Self {
            registry: host.host.to_owned(),
            before,
            after,
        })
    }

    /// Whether the Pods get no credential any more.
    pub fn is_loss(&self) -> bool {
        self.after == Puller::Nobody
    }
}

impl fmt::Display for Puller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes => f.write_str("the nodes"),
            Self::Identity(identity) => identity.fmt(f),
            Self::Nobody => f.write_str("nobody"),
        }
    }
}
