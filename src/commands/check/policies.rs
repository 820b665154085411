//! The policies by which manifests are checked: what the webhook would know of each object's namespace.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::policy::{Labels, Policy, PolicySet};

/// The namespace of objects that name none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// All policies, and the namespaces as far as files tell of them.
#[derive(Debug)]
pub struct Policies {
    set: PolicySet,
    namespace: String,
    labels: Labels,
    /// What was worked out, by namespace.
    effective: RefCell<BTreeMap<String, Rc<Policy>>>,
}

impl Policies {
    /// `namespace` is that of objects that name none; every namespace has `labels`.
    pub fn new(set: PolicySet, namespace: &str, labels: Labels) -> Self {
        Self {
            set,
            namespace: namespace.to_owned(),
            labels,
            effective: RefCell::default(),
        }
    }

    /// What holds for an object that names that namespace, or none.
    pub(super) fn of(&self, namespace: Option<&str>) -> Rc<Policy> {
        let namespace = namespace.unwrap_or(&self.namespace);
        let mut effective = self.effective.borrow_mut();
        if let Some(known) = effective.get(namespace) {
            return Rc::clone(known);
        }
        let policy = Rc::new(self.set.in_namespace(namespace, &self.labels));
        effective.insert(namespace.to_owned(), Rc::clone(&policy));
        policy
    }
}

impl From<Policy> for Policies {
    /// Settings alone.
    fn from(base: Policy) -> Self {
        let set = PolicySet::new(base, Vec::new(), Vec::new());
        Self::new(set, DEFAULT_NAMESPACE, Labels::new())
    }
}
