//! What the Pods and workloads of a cluster would come to under a policy, so that `Enforce` is no surprise. Reads and
//! writes nothing.
//!
//! A Pod that a workload made is judged as it stands, for others may have put containers into it; what its template says
//! already is told once, with the number of its Pods.

mod change;
mod count;
mod namespace;
mod scope;
mod survey;
mod tally;

use std::collections::BTreeMap;

pub use change::{Change, Puller};
pub use count::{Count, Fates};
pub use namespace::{Broken, NamespaceReport, Standing, Told};
pub use scope::Scope;
pub use survey::{Survey, SurveyError};

use crate::policy::PolicySet;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Options {
    /// What holds today.
    pub before: PolicySet,
    /// What is asked about.
    pub after: PolicySet,
    /// The most images that are listed for one rule in one namespace, and the most registries whose puller changes.
    pub most: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The namespaces that were judged.
    pub namespaces: BTreeMap<String, NamespaceReport>,
    /// Those that were not, and why.
    pub skipped: BTreeMap<String, &'static str>,
}

/// All namespaces together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// What would become of Pods and workloads.
    pub fates: Fates,
    /// How many of the Pods were made by workloads that were read too.
    pub owned: usize,
    /// How many images are exempt from a rule that they would break.
    pub exempt: usize,
    /// Namespaces in which something would be refused.
    pub refusing: usize,
    /// Namespaces in which Pods would get no credential any more.
    pub losing: usize,
    /// Namespaces in which somebody else would pull.
    pub changing: usize,
    /// Namespaces that would be granted nothing at all.
    pub granted_nothing: usize,
}

impl Report {
    /// All namespaces together.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for namespace in self.namespaces.values() {
            totals.fates += namespace.fates;
            totals.owned += namespace.owned;
            totals.exempt += namespace.exempt;
            totals.refusing += usize::from(!namespace.fates.refused.is_zero());
            totals.losing += usize::from(namespace.loses());
            totals.changing += usize::from(namespace.changes_identity());
            totals.granted_nothing += usize::from(namespace.after == Standing::Nothing);
        }
        totals
    }

    /// Whether any Pod would be refused, of those that are there and those that workloads would make.
    pub fn refuses(&self) -> bool {
        let mut namespaces = self.namespaces.values();
        namespaces.any(|namespace| !namespace.fates.refused.is_zero())
    }
}
