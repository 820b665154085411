use std::time::Duration;

use super::trust::RETIRING_MAX;
use super::*;
use crate::certificate::managed::verify;
use crate::clock::add;

const HOUR: Duration = Duration::from_hours(1);

fn plan() -> Plan {
    Plan {
        leaf_life: HOUR * 30,
        authority_life: HOUR * 300,
        ..Plan::for_service("s", "n")
    }
}

fn at(hours: u32) -> Timestamp {
    add("2026-11-21T00:00:00Z".parse().unwrap(), HOUR * hours)
}

fn created() -> State {
    let (state, changes) = propose(Stored::Nothing, &Knowledge::default(), &plan(), at(0))
        .unwrap()
        .unwrap();
    assert_eq!(changes, [Change::Created]);
    state
}

fn step(state: &State, knowledge: &Knowledge, now: Timestamp) -> Option<Proposal> {
    propose(Stored::State(state), knowledge, &plan(), now).unwrap()
}

fn known() -> Knowledge {
    Knowledge {
        next_is_known: true,
        ..Knowledge::default()
    }
}

/// Rotated once: the first authority is retiring.
fn rotated() -> (State, State) {
    let first = created();
    let (announced, changes) = step(&first, &Knowledge::default(), at(200)).unwrap();
    assert_eq!(changes, [Change::AuthorityAnnounced, Change::LeafRenewed]);
    let (replaced, changes) = step(&announced, &known(), at(201)).unwrap();
    assert_eq!(changes, [Change::AuthorityReplaced]);
    (announced, replaced)
}

#[test]
fn a_leaf_is_renewed_at_two_thirds_of_its_life_by_the_same_authority() {
    let state = created();
    assert!(step(&state, &Knowledge::default(), at(19)).is_none());
    assert_eq!(due(&state, &plan()), at(20));
    let (renewed, changes) = step(&state, &Knowledge::default(), at(20)).unwrap();
    assert_eq!(changes, [Change::LeafRenewed]);
    assert_eq!(renewed.signer.certificate, state.signer.certificate);
    let leaf = renewed.leaf.as_ref().unwrap();
    assert_eq!(leaf.names, ["s", "s.n", "s.n.svc", "s.n.svc.cluster.local"]);
    assert_eq!(leaf.validity.not_after, at(50));
    assert!(verify::is_signed_by(leaf, &state.signer.certificate));
}

#[test]
fn a_new_authority_signs_nothing_before_it_is_known_and_the_old_one_stays_until_its_last_leaf_is_gone()
 {
    let (announced, replaced) = rotated();
    let [old, new] = &announced.bundle().authorities[..] else {
        panic!("{announced:?}");
    };
    let leaf = announced.leaf.as_ref().unwrap();
    assert!(verify::is_signed_by(leaf, old));
    assert!(step(&announced, &Knowledge::default(), at(219)).is_none());

    assert_eq!(replaced.signer.certificate, *new);
    assert!(verify::is_signed_by(replaced.leaf.as_ref().unwrap(), new));
    let until = plan().forgotten(leaf.validity.not_after);
    assert_eq!(replaced.retiring[0].until, until);
    assert!(replaced.bundle().carries(old.id));
    assert_eq!(due(&replaced, &plan()), at(221));
    let (renewed, _) = step(&replaced, &known(), at(221)).unwrap();
    let (later, changes) = step(&renewed, &known(), until).unwrap();
    assert_eq!(changes[0], Change::TrustEnded);
    assert!(!later.bundle().carries(old.id));
}

#[test]
fn a_destroyed_secret_is_made_anew_and_nobody_who_may_still_be_served_is_forgotten() {
    let (announced, replaced) = rotated();
    let old = &announced.signer.certificate;
    let live = replaced.bundle().authorities;
    let salvaged = replaced.bundle();
    let nothing = Bundle::default();
    let from_live = Knowledge {
        live,
        ..Knowledge::default()
    };
    let served = Knowledge {
        served: Some((old.clone(), at(230))),
        ..Knowledge::default()
    };
    for (stored, knowledge, kept) in [
        (Stored::Nothing, &from_live, 2),
        (Stored::Garbage(&nothing), &served, 1),
        (Stored::Garbage(&salvaged), &Knowledge::default(), 2),
    ] {
        let (state, _) = propose(stored, knowledge, &plan(), at(202))
            .unwrap()
            .unwrap();
        assert_eq!(state.bundle().authorities.len(), 1 + kept);
        assert!(state.bundle().carries(old.id));
        assert!(verify::is_signed_by(
            state.leaf.as_ref().unwrap(),
            &state.signer.certificate
        ));
        let years = at(24 * 365 * 3);
        let (state, _) = propose(stored, knowledge, &plan(), years).unwrap().unwrap();
        assert_eq!(
            state.bundle().authorities.len(),
            1,
            "what has expired is not kept"
        );
    }
}

#[test]
fn a_destroyed_secret_is_put_back_by_whoever_remembers_it() {
    let (announced, replaced) = rotated();
    let remembers = Knowledge {
        last: Some(Arc::new(replaced.clone())),
        live: announced.bundle().authorities,
        ..Knowledge::default()
    };
    let nothing = Bundle::default();
    for stored in [Stored::Nothing, Stored::Garbage(&nothing)] {
        let (state, changes) = propose(stored, &remembers, &plan(), at(202))
            .unwrap()
            .unwrap();
        assert_eq!(changes, [Change::Restored]);
        assert_eq!(state.bundle(), replaced.bundle());
        assert_eq!(
            state.leaf.unwrap().fingerprint,
            replaced.leaf.as_ref().unwrap().fingerprint
        );
    }
    let later = at(24 * 365);
    let (state, changes) = propose(Stored::Nothing, &remembers, &plan(), later)
        .unwrap()
        .unwrap();
    assert_eq!(changes, [Change::Created]);
    assert_eq!(
        state.bundle().authorities.len(),
        1,
        "what has expired is not put back"
    );
}

#[test]
fn an_older_secret_put_in_place_does_not_end_the_trust_in_what_is_served() {
    let (announced, replaced) = rotated();
    let served = &replaced.signer.certificate;
    let older = State {
        next: None,
        ..announced
    };
    let knowledge = Knowledge {
        served: Some((served.clone(), at(231))),
        ..Knowledge::default()
    };
    let (state, changes) = step(&older, &knowledge, at(202)).unwrap();
    assert_eq!(changes, [Change::TrustRestored, Change::AuthorityAnnounced]);
    assert!(state.bundle().carries(served.id));
    let (state, _) = step(&state, &knowledge, at(221)).unwrap();
    assert!(
        step(&state, &knowledge, at(222)).is_none(),
        "once is enough"
    );
}

#[test]
fn a_long_expired_state_is_made_anew() {
    let (_, replaced) = rotated();
    let (state, changes) = step(&replaced, &Knowledge::default(), at(24 * 365)).unwrap();
    assert_eq!(changes, [Change::Recreated]);
    assert_eq!(state.bundle().authorities.len(), 1);
}

#[test]
fn authorities_that_were_given_up_are_never_trusted_again() {
    let (_, replaced) = rotated();
    let new = give_up(&replaced, &plan(), at(202)).unwrap();
    assert_eq!(new.bundle().authorities.len(), 1);
    assert_eq!(new.distrusted.len(), 2);
    let remembers = Knowledge {
        served: Some((replaced.signer.certificate.clone(), at(230))),
        last: Some(Arc::new(replaced.clone())),
        live: replaced.bundle().authorities,
        distrusted: new.distrusted.clone(),
        ..Knowledge::default()
    };
    assert!(step(&new, &remembers, at(203)).is_none());
    for stored in [Stored::State(&replaced), Stored::Nothing] {
        let (state, _) = propose(stored, &remembers, &plan(), at(203))
            .unwrap()
            .unwrap();
        assert_eq!(state.bundle().authorities.len(), 1);
        assert_eq!(state.distrusted, new.distrusted);
    }
}

#[test]
fn a_changed_name_is_added_at_once_and_the_old_one_goes_with_the_next_renewal() {
    let state = created();
    let renamed = Plan {
        leaf_life: HOUR * 30,
        ..Plan::for_service("t", "n")
    };
    let next = |state: &State, plan: &Plan, now| {
        propose(Stored::State(state), &Knowledge::default(), plan, now).unwrap()
    };
    let (both, changes) = next(&state, &renamed, at(1)).unwrap();
    assert_eq!(changes, [Change::LeafRenewed]);
    assert!(next(&both, &plan(), at(1)).is_none() && next(&both, &renamed, at(1)).is_none());
    let (renewed, _) = next(&both, &renamed, at(21)).unwrap();
    assert_eq!(renewed.leaf.unwrap().names, renamed.names);
}

#[test]
fn a_secret_that_is_destroyed_again_and_again_does_not_make_the_bundle_grow_for_ever() {
    let mut knowledge = Knowledge::default();
    let mut newest = None;
    for _ in 0..40 {
        let (state, _) = propose(Stored::Nothing, &knowledge, &plan(), at(0))
            .unwrap()
            .unwrap();
        knowledge.live = state.bundle().authorities;
        if let Some(newest) = newest.replace(state.signer.certificate.id) {
            assert!(state.bundle().carries(newest));
        }
        assert!(state.bundle().authorities.len() <= RETIRING_MAX + 1);
    }
}
