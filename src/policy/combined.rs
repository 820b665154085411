//! What the policies that select a namespace add to the settings.

use super::Action;
use super::demand::Demands;
use super::grants::{Conflict, Grants};

/// What the policies that select a namespace add to the settings. The default adds nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Combined {
    pub(super) grants: Grants,
    pub(super) demands: Demands,
    pub(super) conflicts: Vec<Conflict>,
}

impl Combined {
    /// The policies that win over parts of others in this namespace.
    pub fn conflicts(&self) -> &[Conflict] {
        &self.conflicts
    }

    /// The policies that grant this namespace something, where it is limited to what they grant; `None` where it may pull
    /// from every private registry.
    pub fn granting(&self) -> Option<&[String]> {
        match &self.grants {
            Grants::All => None,
            Grants::Limited(limited) => Some(&limited.granting),
        }
    }

    pub(super) fn is_enforcing(&self) -> bool {
        let by_grants =
            matches!(&self.grants, Grants::Limited(limited) if limited.action == Action::Enforce);
        by_grants || self.demands.strictest() == Some(Action::Enforce)
    }
}
