//! Tenants: namespaces that policies tell apart by a label, and the policies, which come and go.

use std::sync::Arc;

use ecr_admission::policy::{Identity, Labels, Policy, PolicySet, PolicyVersion, compile};
use ecr_admission::rulebook::PolicyVersions;
use tokio::time::Instant;

/// The policies, one for each kind of namespace: for those without a tenant's label, whose images the controller's own
/// identity pulls, and for each tenant, whose role does.
const POLICIES: [(&str, &str); TENANTS] = [
    (
        "everybody",
        "{namespaces: {matchExpressions: [{key: tenant, operator: DoesNotExist}]}, grants: [{registries: ['*']}]}",
    ),
    (
        "tenant-a",
        "{namespaces: {matchLabels: {tenant: a}}, \
         grants: [{registries: ['*'], role: {arn: 'arn:aws:iam::123456789012:role/a'}}]}",
    ),
    (
        "tenant-b",
        "{namespaces: {matchLabels: {tenant: b}}, \
         grants: [{registries: ['*'], role: {arn: 'arn:aws:iam::123456789012:role/b'}}]}",
    ),
];

/// How many kinds of namespaces there are.
pub(crate) const TENANTS: usize = 3;

/// Whose a namespace or a token is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tenant(u8);

impl Tenant {
    /// No tenant's.
    pub(crate) const NONE: Self = Self(0);

    /// Mostly none; else one of the others.
    pub(crate) fn any(rng: &mut fastrand::Rng) -> Self {
        match rng.u8(..10) {
            0..2 => Self(1),
            2..4 => Self(2),
            _ => Self::NONE,
        }
    }

    /// Another one.
    pub(crate) fn next(self) -> Self {
        Self((self.0 + 1) % 3)
    }

    /// The one with this number.
    pub(crate) fn numbered(number: u8) -> Option<Self> {
        (usize::from(number) < TENANTS).then_some(Self(number))
    }

    pub(crate) fn number(self) -> usize {
        usize::from(self.0)
    }

    /// Whose tokens that identity makes.
    pub(crate) fn of(identity: &Identity) -> Self {
        match identity {
            Identity::Role(role) if role.arn().ends_with("/a") => Self(1),
            Identity::Role(role) if role.arn().ends_with("/b") => Self(2),
            _ => Self::NONE,
        }
    }

    /// The labels of its namespaces.
    pub(crate) fn labels(self) -> Arc<Labels> {
        let value = match self.0 {
            0 => return Arc::default(),
            1 => "a",
            _ => "b",
        };
        Arc::new(Labels::from([("tenant".to_owned(), value.to_owned())]))
    }
}

/// The policies that there are at the moment.
pub(crate) struct Tenancy {
    policies: [Posted; TENANTS],
}

#[derive(Clone, Copy)]
struct Posted {
    is_there: bool,
    /// How often it was made.
    made: u32,
    /// Since when it is there or not.
    since: Instant,
}

impl Tenancy {
    pub(crate) fn new() -> Self {
        let posted = Posted {
            is_there: true,
            made: 1,
            since: Instant::now(),
        };
        Self {
            policies: [posted; TENANTS],
        }
    }

    /// Makes a tenant's policy anew, or deletes it.
    pub(crate) fn post(&mut self, tenant: Tenant, is_there: bool) {
        let posted = &mut self.policies[tenant.number()];
        if posted.is_there != is_there {
            posted.is_there = is_there;
            posted.made += u32::from(is_there);
            posted.since = Instant::now();
        }
    }

    /// Whether a namespace of this tenant may pull, and since when that is so.
    pub(crate) fn grants(&self, tenant: Tenant) -> (bool, Instant) {
        let posted = &self.policies[tenant.number()];
        (posted.is_there, posted.since)
    }

    /// The version of a policy.
    pub(crate) fn version(&self, name: &str) -> Option<PolicyVersion> {
        let mut policies = POLICIES.iter().zip(&self.policies);
        let (_, posted) = policies.find(|((known, _), _)| *known == name)?;
        posted.version(name)
    }

    /// The versions of all policies.
    pub(crate) fn versions(&self) -> PolicyVersions {
        let there = POLICIES.iter().zip(&self.policies);
        let there = there
            .filter_map(|((name, _), posted)| Some(((*name).to_owned(), posted.version(name)?)));
        there.collect()
    }

    /// What replicas read.
    pub(crate) fn set(&self, base: Policy) -> PolicySet {
        let there = POLICIES.iter().zip(&self.policies);
        let compiled = there.filter_map(|((name, spec), posted)| {
            let version = posted.version(name)?;
            let spec = serde_saphyr::from_str(spec).unwrap();
            Some(compile(name, &spec).unwrap().of_version(version))
        });
        PolicySet::new(base, compiled.collect(), Vec::new())
    }
}

impl Posted {
    fn version(&self, name: &str) -> Option<PolicyVersion> {
        self.is_there.then(|| PolicyVersion {
            uid: format!("{name}-{}", self.made),
            generation: 1,
        })
    }
}
