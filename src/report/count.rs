//! Counting Pods and workloads.

use std::ops::AddAssign;

use crate::inventory::Kind;
use crate::policy::Action;

/// How many Pods, and how many objects that make Pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Pods.
    pub pods: usize,
    /// Deployments, Jobs and the like.
    pub workloads: usize,
}

impl Count {
    pub(super) fn add(&mut self, kind: Kind) {
        match kind {
            Kind::Pod => self.pods += 1,
            _ => self.workloads += 1,
        }
    }

    /// Whether it is none of either.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.pods += other.pods;
        self.workloads += other.workloads;
    }
}

/// What would become of Pods, and of the Pods that workloads would make: each counts once, by the strictest of its
/// findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates {
    /// All.
    pub total: Count,
    /// Those that would be refused.
    pub refused: Count,
    /// Those that would be admitted with a warning.
    pub warned: Count,
    /// Those that would be admitted, and recorded.
    pub audited: Count,
}

impl Fates {
    pub(super) fn add(&mut self, kind: Kind, strictest: Option<Action>) {
        self.total.add(kind);
        match strictest {
            Some(Action::Enforce) => self.refused.add(kind),
            Some(Action::Warn) => self.warned.add(kind),
            Some(Action::Audit) => self.audited.add(kind),
            None => {}
        }
    }
}

impl AddAssign for Fates {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.refused += other.refused;
        self.warned += other.warned;
        self.audited += other.audited;
    }
}
