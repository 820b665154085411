//! What this replica has seen of the live configurations, and what it serves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::authority::{AuthorityCertificate, AuthorityId, Bundle};
use super::memory::Live;
use super::plan::Plan;
use super::rotation::Knowledge;
use super::state::State;
use crate::certificate::pair::{CertificatePair, Fingerprint};

/// What is served, and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) fingerprint: Fingerprint,
    pub(super) signer: AuthorityCertificate,
    pub(super) not_after: Timestamp,
    /// Whether the live configurations have been seen to carry its signer. Stays so when somebody changes them: that is
    /// repaired, and no reason for all replicas to leave the Service.
    pub(super) trusted: bool,
}

/// The memory of one replica.
#[derive(Debug, Default)]
pub(super) struct Sight {
    /// Since when all live configurations have carried an authority, by our own observation.
    carried: BTreeMap<AuthorityId, Instant>,
    live: Vec<AuthorityCertificate>,
    pub(super) served: Option<Served>,
    last: Option<Arc<State>>,
    distrusted: BTreeMap<AuthorityId, Timestamp>,
}

impl Sight {
    /// Takes in a state that was read, and configurations that were read before it.
    pub(super) fn see(&mut self, state: &Arc<State>, live: &[Live], now: Instant) {
        self.see_live(live);
        let before = std::mem::take(&mut self.carried);
        let wanted = state.bundle().authorities;
        let carried = wanted
            .iter()
            .map(|authority| authority.id)
            .filter(|id| live.iter().all(|live| live.carries(*id)));
        self.carried = carried
            .map(|id| (id, before.get(&id).copied().unwrap_or(now)))
            .collect();
        if let Some(served) = &mut self.served {
            served.trusted |= self.carried.contains_key(&served.signer.id);
        }
        self.distrusted.extend(&state.distrusted);
        self.last = Some(Arc::clone(state));
    }

    /// Takes in what the configurations carry while there is no state.
    pub(super) fn see_live(&mut self, live: &[Live]) {
        let bundles = live.iter().flat_map(|live| &live.bundles);
        let authorities = bundles.flat_map(|bundle| &bundle.authorities);
        self.live = Bundle::of(authorities).authorities;
    }

    /// Whether the configurations have carried an authority for that long.
    pub(super) fn has_been_carried(&self, id: AuthorityId, time: Duration, now: Instant) -> bool {
        let since = self.carried.get(&id);
        since.is_some_and(|since| now.duration_since(*since) >= time)
    }

    /// Notes that the state's leaf is served from now on.
    pub(super) fn now_serves(&mut self, state: &State, pair: &CertificatePair) {
        let signer = &state.signer.certificate;
        let before = self.served.take();
        // A renewed leaf is trusted as far as the one before it.
        let inherited =
            before.is_some_and(|served| served.trusted && served.signer.id == signer.id);
        self.served = Some(Served {
            fingerprint: pair.fingerprint,
            signer: signer.clone(),
            not_after: pair.not_after,
            trusted: inherited || self.carried.contains_key(&signer.id),
        });
    }

    /// When the next authority will have been carried for long enough; `None` when none is announced and carried.
    pub(super) fn known_at(&self, state: &State, plan: &Plan) -> Option<Instant> {
        let next = state.next.as_ref()?;
        let since = self.carried.get(&next.certificate.id)?;
        Some(*since + plan.propagation)
    }

    /// Whether the leaf of `state` is to be served from now on, in place of what is. `usable` says whether that one is
    /// still good by its dates.
    pub(super) fn prefers(&self, state: &State, plan: &Plan, usable: bool, now: Instant) -> bool {
        let (Some(leaf), Some(served)) = (&state.leaf, &self.served) else {
            return state.leaf.is_some();
        };
        if leaf.fingerprint == served.fingerprint {
            return false;
        }
        let signer = state.signer.certificate.id;
        // Nothing is lost with a leaf that nobody accepts, or that is accepted just as far.
        !usable
            || self.distrusted.contains_key(&served.signer.id)
            || served.signer.id == signer
            || self.has_been_carried(signer, plan.propagation, now)
    }

    /// For the rotation.
    pub(super) fn knowledge(&self, next_is_known: bool) -> Knowledge {
        let served = self.served.as_ref();
        Knowledge {
            served: served.map(|served| (served.signer.clone(), served.not_after)),
            last: self.last.clone(),
            distrusted: self.distrusted.clone(),
            live: self.live.clone(),
            next_is_known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rotation::{Stored, announce, propose};
    use super::super::store::Configuration;
    use super::*;

    const WAIT: Duration = Duration::from_mins(1);

    fn live(bundle: &Bundle) -> Vec<Live> {
        vec![Live {
            configuration: Configuration {
                title: String::new(),
                handle: 0,
                version: String::new(),
                bundles: Vec::new(),
            },
            bundles: vec![bundle.clone(), bundle.clone()],
        }]
    }

    #[tokio::test(start_paused = true)]
    async fn a_leaf_of_a_new_authority_is_served_when_this_replica_has_seen_it_carried_for_long_enough()
     {
        let now = "2026-11-21T00:00:00Z".parse().unwrap();
        let plan = Plan {
            propagation: WAIT,
            ..Plan::for_service("s", "n")
        };
        let (old, _) = propose(Stored::Nothing, &Knowledge::default(), &plan, now)
            .unwrap()
            .unwrap();
        let announced = announce(&old, &plan, now).unwrap().unwrap();
        let known = Knowledge {
            next_is_known: true,
            ..Knowledge::default()
        };
        let (new, _) = propose(Stored::State(&announced), &known, &plan, now)
            .unwrap()
            .unwrap();
        let new = Arc::new(new);
        let mut sight = Sight::default();
        let start = Instant::now();
        assert!(
            sight.prefers(&new, &plan, false, start),
            "anything is better than nothing"
        );
        let pair = CertificatePair::check(&old.leaf.as_ref().unwrap().pem, &[], now).unwrap();
        sight.now_serves(&old, &pair);
        assert!(!sight.served.as_ref().unwrap().trusted);

        sight.see(&new, &live(&new.bundle()), start);
        assert!(sight.served.as_ref().unwrap().trusted);
        assert!(!sight.prefers(&new, &plan, true, start));
        assert!(
            sight.prefers(&new, &plan, false, start),
            "what is served has expired"
        );
        let early = start + WAIT / 2;
        sight.see(&new, &live(&new.bundle()), early);
        assert!(!sight.prefers(&new, &plan, true, early));
        let due = start + WAIT;
        assert!(sight.prefers(&new, &plan, true, due));
        // Somebody took it out in between.
        sight.see(&new, &live(&old.bundle()), due);
        assert!(!sight.prefers(&new, &plan, true, due));
        sight.see(&new, &live(&new.bundle()), due);
        assert!(!sight.prefers(&new, &plan, true, due + WAIT / 2));
        assert!(sight.prefers(&new, &plan, true, due + WAIT));

        // Whoever renews a leaf while somebody has emptied the bundle stays as trusted as he was.
        sight.see(&new, &live(&Bundle::default()), due + WAIT);
        sight.now_serves(&old, &pair);
        assert!(sight.served.as_ref().unwrap().trusted);
        sight.now_serves(&new, &pair);
        assert!(!sight.served.as_ref().unwrap().trusted);
    }
}
