//! One set of policies, and what was compiled of it for the namespaces that were asked about.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::policy::{Labels, Policy, PolicySet, Selection};

/// Namespaces that are gone may keep this many places beside those that are there.
const SLACK: usize = 1_024;

pub(super) struct Edition {
    pub(super) set: Arc<PolicySet>,
    /// What holds everywhere, where no policy tells namespaces apart.
    pub(super) everywhere: Option<Arc<Policy>>,
    by_namespace: RwLock<HashMap<Box<str>, Ruling>>,
    /// Namespaces that the same policies select share what is compiled: a thousand of one tenant, one object.
    alike: Mutex<HashMap<Selection, Arc<Policy>>>,
}

/// What holds in a namespace while it has these labels.
struct Ruling {
    labels: Arc<Labels>,
    policy: Arc<Policy>,
}

impl Edition {
    pub(super) fn new(set: PolicySet) -> Self {
        let everywhere = set
            .is_empty()
            .then(|| Arc::new(set.in_namespace("", &Labels::new())));
        Self {
            set: Arc::new(set),
            everywhere,
            by_namespace: RwLock::default(),
            alike: Mutex::default(),
        }
    }

    /// What holds in a namespace with these labels. `there_are` tells how many namespaces there are.
    pub(super) fn ruling(
        &self,
        namespace: &str,
        labels: &Arc<Labels>,
        there_are: impl FnOnce() -> usize,
    ) -> Arc<Policy> {
        {
            let rulings = self
                .by_namespace
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            // The mirror keeps the same labels as the same object.
            let ruling = rulings.get(namespace);
            if let Some(ruling) = ruling.filter(|ruling| Arc::ptr_eq(&ruling.labels, labels)) {
                return Arc::clone(&ruling.policy);
            }
        }
        let policy = self.compiled(namespace, labels);
        let ruling = Ruling {
            labels: Arc::clone(labels),
            policy: Arc::clone(&policy),
        };
        let mut rulings = self
            .by_namespace
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if rulings.len() > there_are() + SLACK {
            rulings.clear();
        }
        rulings.insert(namespace.into(), ruling);
        policy
    }

    fn compiled(&self, namespace: &str, labels: &Labels) -> Arc<Policy> {
        let selection = self.set.selection(namespace, labels);
        let mut alike = self.alike.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = alike.get(&selection) {
            return Arc::clone(policy);
        }
        let policy = Arc::new(self.set.policy_of(&selection));
        // Labels change seldom; what nobody refers to any more is dropped before it could pile up.
        if alike.len() > SLACK {
            alike.retain(|_, policy| Arc::strong_count(policy) > 1);
        }
        alike.insert(selection, Arc::clone(&policy));
        policy
    }
}
