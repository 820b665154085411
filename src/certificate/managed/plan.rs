//! What is to be made, and when it is to be made anew.

use std::time::Duration;

use jiff::Timestamp;

use super::state::State;
use crate::certificate::issue::Validity;
use crate::clock;

/// How certificates are made and rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The DNS names that the leaf is for.
    pub names: Vec<String>,
    /// For how long a leaf is valid.
    pub leaf_life: Duration,
    /// The age at which a leaf is renewed; two thirds of its life when not set.
    pub leaf_renewal: Option<Duration>,
    /// For how long an authority is valid.
    pub authority_life: Duration,
    /// The age at which an authority is replaced; two thirds of its life when not set.
    pub authority_renewal: Option<Duration>,
    /// How long all live configurations must have carried an authority, as this replica itself has seen, before a leaf
    /// that it signed is served. API servers learn of a changed configuration by their own watches, within a second or
    /// so; a minute leaves room for one that is slow.
    pub propagation: Duration,
    /// How far the clocks of replicas and API servers may be apart: validity begins, and trust in an old authority
    /// ends, with this much to spare.
    pub clock_skew: Duration,
}

impl Plan {
    /// The plan for a Service's leaf: a leaf of 90 days, an authority of a year. Then a renewal that fails has a month
    /// to be noticed in, and an authority that is being replaced outlives every leaf that it has signed.
    pub fn for_service(service: &str, namespace: &str) -> Self {
        const DAY: Duration = Duration::from_hours(24);
        Self {
            names: service_names(service, namespace),
            leaf_life: DAY * 90,
            leaf_renewal: None,
            authority_life: DAY * 365,
            authority_renewal: None,
            propagation: Duration::from_mins(1),
            clock_skew: Duration::from_mins(20),
        }
    }

    /// The plan by which a state was made, as far as its certificates tell.
    pub fn like(state: &State) -> Self {
        let default = Self::for_service("", "");
        let backdate = default.clock_skew;
        let life = |validity: Validity, default: Duration| {
            let whole = Duration::try_from(validity.not_after.duration_since(validity.not_before));
            let life = whole.unwrap_or_default().checked_sub(backdate);
            life.filter(|life| !life.is_zero()).unwrap_or(default)
        };
        let leaf = state.leaf.as_ref();
        Self {
            names: leaf.map(|leaf| leaf.names.clone()).unwrap_or_default(),
            leaf_life: leaf.map_or(default.leaf_life, |leaf| {
                life(leaf.validity, default.leaf_life)
            }),
            authority_life: life(state.signer.certificate.validity(), default.authority_life),
            ..default
        }
    }

    /// When a leaf that is valid so is due for renewal.
    pub(crate) fn leaf_due(&self, validity: Validity) -> Timestamp {
        self.due(validity, self.leaf_renewal)
    }

    /// When an authority that is valid so is due for replacement.
    pub(crate) fn authority_due(&self, validity: Validity) -> Timestamp {
        self.due(validity, self.authority_renewal)
    }

    /// By the certificate's own dates, which another plan may have given it.
    fn due(&self, validity: Validity, renewal: Option<Duration>) -> Timestamp {
        let issued = clock::add(validity.not_before, self.clock_skew);
        let life = Duration::try_from(validity.not_after.duration_since(issued));
        let life = life.unwrap_or_default();
        clock::add(issued, renewal.unwrap_or(life * 2 / 3).min(life))
    }

    /// When nobody can be serving a leaf any more that expires at `not_after`, whatever his clock says.
    pub(crate) fn forgotten(&self, not_after: Timestamp) -> Timestamp {
        clock::add(not_after, self.clock_skew)
    }
}

/// The names by which a Service is called from inside a cluster. The API server asks for the third.
fn service_names(service: &str, namespace: &str) -> Vec<String> {
    vec![
        service.to_owned(),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_due_at_two_thirds_of_its_own_life_or_earlier_when_the_plan_says_so() {
        let mut plan = Plan::for_service("s", "n");
        let issued: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
        let life = Duration::from_hours(30);
        let validity = Validity::new(issued, plan.clock_skew, life);
        let at = |hours| clock::add(issued, Duration::from_hours(hours));
        assert_eq!(plan.leaf_due(validity), at(20));
        plan.leaf_renewal = Some(Duration::from_hours(5));
        assert_eq!(plan.leaf_due(validity), at(5));
        plan.leaf_renewal = Some(Duration::from_hours(500));
        assert_eq!(plan.leaf_due(validity), at(30));
    }

    #[test]
    fn the_default_authority_outlives_every_leaf_that_it_signs() {
        let plan = Plan::for_service("s", "n");
        assert!(plan.authority_life / 3 > plan.leaf_life);
    }
}
