//! All policies, and what they come to in one namespace.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::compile::{Compiled, Labels, PolicyVersion, Source};
use super::compiled::DefaultGrant;
use super::demand::{Demander, Demands};
use super::grants::{Conflict, Grants, Limited};
use super::unreadable::Unreadable;
use super::{Action, Identity, OnFailure, Policy};

/// All policies that there are, and the settings underneath.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    /// What holds in every namespace; policies can only add to it.
    base: Policy,
    /// In the order of their names.
    policies: Vec<Compiled>,
    unreadable: Vec<Unreadable>,
}

/// Which policies select a namespace, by their places, and which of their exemptions are for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Selection {
    selecting: Vec<usize>,
    exempting: Vec<(usize, usize)>,
    unreadable: Option<usize>,
}

impl PolicySet {
    /// All policies. Their names must differ.
    pub fn new(base: Policy, mut policies: Vec<Compiled>, unreadable: Vec<Unreadable>) -> Self {
        policies.sort_by(|one, two| one.name.cmp(&two.name));
        name_sessions(&mut policies, &base.cluster_name);
        Self {
            base,
            policies,
            unreadable,
        }
    }

    /// Whether there is any policy, readable or not.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.unreadable.is_empty()
    }

    /// What holds in every namespace.
    pub fn base(&self) -> &Policy {
        &self.base
    }

    /// The policies that can be read, in the order of their names.
    pub fn policies(&self) -> &[Compiled] {
        &self.policies
    }

    /// The policies that cannot be read.
    pub fn unreadable(&self) -> &[Unreadable] {
        &self.unreadable
    }

    /// Whether they are objects of a cluster, or none; those from files have no version.
    pub fn is_of_cluster(&self) -> bool {
        self.policies
            .iter()
            .all(|policy| policy.version().is_some())
    }

    /// Whether these are exactly the policies of a cluster that has these versions of them.
    pub fn is_of(&self, versions: &BTreeMap<String, PolicyVersion>) -> bool {
        let readable = self.policies.iter();
        let readable = readable.map(|policy| (policy.name(), policy.version()));
        let unreadable = self.unreadable.iter();
        let unreadable = unreadable.map(|lost| (lost.name(), lost.version()));
        let is_current = |(name, version): (&str, Option<&PolicyVersion>)| {
            version.is_some() && version == versions.get(name)
        };
        self.policies.len() + self.unreadable.len() == versions.len()
            && readable.chain(unreadable).all(is_current)
    }

    /// Whether some namespace may refuse a Pod: then one of an unknown namespace that cannot be read is refused.
    pub fn may_enforce(&self) -> bool {
        let strict = |policy: &Compiled| {
            let mut demands = policy.rules.demands.iter();
            demands.any(|(_, action)| *action == Action::Enforce)
                || policy.rules.references == Some(Action::Enforce)
                || (!policy.grants.is_empty()
                    && policy.rules.granted.unwrap_or(Action::Enforce) == Action::Enforce)
        };
        self.base.is_enforcing() || !self.unreadable.is_empty() || self.policies.iter().any(strict)
    }

    /// Whether an identity is granted to every namespace alike: the controller's, as long as no policy says what is granted.
    pub fn grants_everywhere(&self, identity: &Identity) -> bool {
        let mut policies = self.policies.iter();
        *identity == Identity::Controller
            && self.unreadable.is_empty()
            && policies.all(|policy| policy.grants.is_empty())
    }

    /// What holds in a namespace.
    pub fn in_namespace(&self, namespace: &str, labels: &Labels) -> Policy {
        self.policy_of(&self.selection(namespace, labels))
    }

    /// Which policies select a namespace: the same for two namespaces in which the same holds.
    pub fn selection(&self, namespace: &str, labels: &Labels) -> Selection {
        let policies = self.policies.iter().enumerate();
        let selecting = policies.filter(|(_, policy)| policy.selects(namespace, labels));
        let selecting: Vec<usize> = selecting.map(|(place, _)| place).collect();
        let exempting = selecting.iter().flat_map(|place| {
            let exemptions = self.policies[*place].exemptions.iter().enumerate();
            exemptions
                .filter(|(_, exemption)| exemption.is_for_namespace(namespace))
                .map(|(number, _)| (*place, number))
        });
        let mut unreadable = self.unreadable.iter();
        Selection {
            exempting: exempting.collect(),
            unreadable: unreadable.position(|lost| lost.selects(namespace, labels)),
            selecting,
        }
    }

    /// What holds where these policies select.
    pub fn policy_of(&self, selection: &Selection) -> Policy {
        let mut policy = self.base.clone();
        if self.is_empty() && self.otherwise() == DefaultGrant::Controller {
            return policy;
        }
        let selecting: Vec<&Compiled> = selection
            .selecting
            .iter()
            .map(|place| &self.policies[*place])
            .collect();
        let (grants, conflicts) = self.grants(&selecting, selection.unreadable);
        policy.combined.grants = grants;
        policy.combined.conflicts = conflicts;
        policy.combined.demands = self.demands(selection);
        let denies = |policy: &&Compiled| policy.on_failure == Some(OnFailure::Deny);
        if selecting.iter().any(denies) {
            policy.on_failure = OnFailure::Deny;
        }
        policy
    }

    /// The policies that grant an identity to a namespace, in the order of their names.
    pub fn grantors(
        &self,
        namespace: &str,
        labels: &Labels,
        identity: &Identity,
    ) -> impl Iterator<Item = &Compiled> {
        let policies = self.policies.iter();
        policies.filter(move |policy| {
            let mut grants = policy.grants.iter();
            policy.selects(namespace, labels)
                && grants.any(|grant| grant.source.identity().as_ref() == Some(identity))
        })
    }

    fn grants(&self, granting: &[&Compiled], unreadable: Option<usize>) -> (Grants, Vec<Conflict>) {
        if let Some(lost) = unreadable {
            let lost = self.unreadable[lost].name().to_owned();
            let nothing = Limited::nothing(Action::Enforce, Some(lost));
            return (Grants::Limited(nothing), Vec::new());
        }
        let granting = granting.iter().filter(|policy| !policy.grants.is_empty());
        let granting: Vec<&Compiled> = granting.copied().collect();
        let actions = granting
            .iter()
            .map(|policy| policy.rules.granted.unwrap_or(Action::Enforce));
        if let Some(strictest) = actions.max() {
            let (limited, conflicts) = Limited::union(&granting, strictest);
            return (Grants::Limited(limited), conflicts);
        }
        let grants = match self.otherwise() {
            DefaultGrant::Controller => Grants::All,
            DefaultGrant::None => Grants::Limited(Limited::nothing(self.base.action, None)),
        };
        (grants, Vec::new())
    }

    /// What namespaces get that no policy with grants selects. Nothing as soon as a policy names a role, or may have
    /// named one: a policy that was deleted, or a label that was lost, must not widen access.
    fn otherwise(&self) -> DefaultGrant {
        let with_roles = self.policies.iter().any(Compiled::names_a_role);
        let careful = with_roles || !self.unreadable.is_empty();
        self.base.default_grant.unwrap_or(if careful {
            DefaultGrant::None
        } else {
            DefaultGrant::Controller
        })
    }

    fn demands(&self, selection: &Selection) -> Demands {
        let policies = selection.selecting.iter();
        let policies = policies.map(|place| (place, &self.policies[*place]));
        let demanding = policies.filter(|(_, policy)| {
            !policy.rules.demands.is_empty() || policy.rules.references.is_some()
        });
        Demands::of(demanding.map(|(place, policy)| {
            let exempting = selection.exempting.iter();
            let exempting = exempting.filter(|(of, _)| of == place);
            let demander = Demander {
                name: policy.name.clone(),
                exemptions: exempting
                    .map(|(_, number)| policy.exemptions[*number].clone())
                    .collect(),
            };
            (&policy.rules, demander)
        }))
    }
}

/// Gives each identity the cluster's name, and its sessions that of the first policy that grants it: one token serves all
/// of them, and only one name can be on its session.
fn name_sessions(policies: &mut [Compiled], cluster: &str) {
    let mut first = HashMap::new();
    for policy in policies {
        for grant in &mut policy.grants {
            if let Source::Role(role) = &mut Arc::make_mut(grant).source {
                let own = role.in_cluster(cluster);
                let named = first.entry(own.clone());
                let named = named.or_insert_with(|| own.named(cluster, &policy.name));
                *role = named.clone();
            }
        }
    }
}
