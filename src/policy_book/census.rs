//! What policies come to in a cluster as it is: whom they select, and which of them are in each other's way.

use std::collections::{BTreeMap, HashMap};

use crate::policy::{Conflict, Isolation, Labels, PolicySet};

/// What each policy comes to.
#[derive(Debug, Default)]
pub struct Census(BTreeMap<String, Counted>);

/// What one policy comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    /// How many namespaces it selects.
    pub(super) namespaces: usize,
    /// How far its tokens are out of others' reach.
    pub(super) isolation: Isolation,
    /// The policies that win over part of it somewhere.
    pub(super) conflicts: Vec<Conflict>,
}

impl Census {
    /// Counts. `each` shows every namespace that there is.
    pub fn take(set: &PolicySet, each: impl FnOnce(&mut dyn FnMut(&str, &Labels))) -> Self {
        let mut selected = vec![0; set.policies().len()];
        let mut shut_out = vec![0; set.unreadable().len()];
        // The policies that meet somewhere, and one place where they do: what they come to is the same everywhere.
        let mut meetings: HashMap<Vec<usize>, (String, Labels)> = HashMap::new();
        each(&mut |namespace, labels| {
            let mut meeting = Vec::new();
            for (place, policy) in set.policies().iter().enumerate() {
                if policy.selects(namespace, labels) {
                    selected[place] += 1;
                    if policy.grants_anything() {
                        meeting.push(place);
                    }
                }
            }
            for (place, lost) in set.unreadable().iter().enumerate() {
                shut_out[place] += usize::from(lost.selects(namespace, labels));
            }
            if meeting.len() > 1 && !meetings.contains_key(&meeting) {
                meetings.insert(meeting, (namespace.to_owned(), labels.clone()));
            }
        });
        let mut conflicts: Vec<Conflict> = meetings
            .into_values()
            .flat_map(|(namespace, labels)| {
                let policy = set.in_namespace(&namespace, &labels);
                policy.combined.conflicts().to_vec()
            })
            .collect();
        conflicts.sort();
        conflicts.dedup();
        Self::of(set, &selected, &shut_out, &conflicts)
    }

    fn of(set: &PolicySet, selected: &[usize], shut_out: &[usize], conflicts: &[Conflict]) -> Self {
        let valid = set.policies().iter().zip(selected);
        let valid = valid.map(|(policy, namespaces)| {
            let lost = conflicts.iter().filter(|lost| lost.loser == policy.name());
            let counted = Counted {
                namespaces: *namespaces,
                isolation: Isolation::among(set.policies(), policy),
                conflicts: lost.cloned().collect(),
            };
            (policy.name().to_owned(), counted)
        });
        let lost = set.unreadable().iter().zip(shut_out);
        let lost = lost.map(|(policy, namespaces)| {
            let counted = Counted {
                namespaces: *namespaces,
                isolation: Isolation::NothingGranted,
                conflicts: Vec::new(),
            };
            (policy.name().to_owned(), counted)
        });
        Self(valid.chain(lost).collect())
    }

    /// What a policy comes to; `None` for one that is not in force.
    pub(super) fn get(&self, name: &str) -> Option<&Counted> {
        self.0.get(name)
    }

    /// How many policies lose a part of theirs to others.
    pub(super) fn losers(&self) -> usize {
        let all = self.0.values();
        all.filter(|counted| !counted.conflicts.is_empty()).count()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::spec::NamespaceSelector;
    use crate::policy::{Compiled, Policy, Unreadable, compile};

    fn policy(name: &str, namespaces: &[&str], role: Option<&str>) -> Compiled {
        let mut grant = json!({"registries": ["123456789012"], "repositories": ["team/*"]});
        if let Some(role) = role {
            grant["role"] = json!({"arn": format!("arn:aws:iam::123456789012:role/{role}")});
        }
        let spec: Value = json!({"namespaces": {"names": namespaces}, "grants": [grant]});
        compile(name, &serde_json::from_value(spec).unwrap()).unwrap()
    }

    #[test]
    fn namespaces_are_counted_and_conflicts_are_found_where_policies_meet() {
        let everywhere = NamespaceSelector::default();
        let lost = vec![
            Unreadable::new("lost", Some(&everywhere), None),
            Unreadable::new("unknown", None, None),
        ];
        let policies = vec![
            policy("a", &["x", "y"], Some("a")),
            policy("b", &["y"], Some("b")),
            policy("c", &["z*"], Some("c")),
            policy("nobody", &["w"], None),
        ];
        let count = |lost: Vec<Unreadable>| {
            let set = PolicySet::new(Policy::default(), policies.clone(), lost);
            Census::take(&set, |each| {
                for name in ["x", "y", "z", "zz"] {
                    each(name, &Labels::new());
                }
            })
        };
        let census = count(Vec::new());
        let namespaces = |name: &str| census.get(name).unwrap().namespaces;
        assert_eq!(["a", "b", "c", "nobody"].map(namespaces), [2, 1, 2, 0]);
        assert_eq!(census.losers(), 1);
        let [conflict] = &census.get("b").unwrap().conflicts[..] else {
            panic!("{census:?}");
        };
        assert_eq!((&*conflict.loser, &*conflict.winner), ("b", "a"));
        assert_eq!(census.get("c").unwrap().isolation, Isolation::Isolated);
        assert!(census.get("lost").is_none());

        let census = count(lost);
        let namespaces = |name: &str| census.get(name).unwrap().namespaces;
        assert_eq!(["lost", "unknown", "a"].map(namespaces), [4, 0, 2]);
    }
}
