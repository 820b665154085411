//! Whether somebody else gets the tokens that a policy's namespaces get.

use super::compile::{Compiled, Source};
use super::identity::RoleIdentity;

/// How far the tokens of a policy's namespaces are out of others' reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// It grants no credentials.
    NothingGranted,
    /// Nobody else gets tokens of its roles.
    Isolated,
    /// Others do, and why.
    Shared(String),
}

impl Isolation {
    /// How isolated a policy is among all that there are.
    pub fn among(policies: &[Compiled], policy: &Compiled) -> Self {
        let sources = policy.grants.iter().map(|grant| &grant.source);
        let mut providing = sources
            .filter(|source| **source != Source::Nodes)
            .peekable();
        if providing.peek().is_none() {
            return Self::NothingGranted;
        }
        providing
            .find_map(|source| shared(source, policies, policy))
            .map_or(Self::Isolated, Self::Shared)
    }
}

/// Why a source's tokens are within the reach of others than `policy`.
fn shared(source: &Source, policies: &[Compiled], policy: &Compiled) -> Option<String> {
    let Source::Role(role) = source else {
        return Some(
            "it grants the identity of ecr-admission itself, whose token opens all that this may pull".to_owned(),
        );
    };
    let mut others = policies.iter().filter(|other| other.name != policy.name);
    let other = others.find(|other| grants(other, role))?;
    Some(format!("policy {:?} grants {} too", other.name, role.arn()))
}

fn grants(policy: &Compiled, role: &RoleIdentity) -> bool {
    let mut grants = policy.grants.iter();
    grants.any(|grant| matches!(&grant.source, Source::Role(theirs) if theirs.arn() == role.arn()))
}
