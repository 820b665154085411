//! Which authorities stay trusted beside those that sign: whatever somebody may still serve a leaf of, and nothing that was
//! given up.

use jiff::Timestamp;

use super::super::authority::{Authority, AuthorityCertificate, AuthorityId};
use super::super::plan::Plan;
use super::super::state::{Retiring, State};
use super::{Change, Knowledge};

/// The most retiring authorities that are kept. A rotation adds one, and each is gone a leaf's life later; more can only
/// come from a Secret that is destroyed again and again, and a `caBundle` must not grow without bounds.
pub(super) const RETIRING_MAX: usize = 16;

/// Keeps authorities of which nothing is known but that somebody may serve a leaf of theirs, perhaps one that was made
/// just now.
pub(super) fn adopt<'a>(
    state: &mut State,
    unknown: impl IntoIterator<Item = &'a AuthorityCertificate>,
    plan: &Plan,
    now: Timestamp,
) {
    let latest = plan.forgotten(crate::clock::add(now, plan.leaf_life));
    let mut unknown: Vec<_> = unknown.into_iter().collect();
    unknown.sort_by_key(|certificate| std::cmp::Reverse(certificate.not_before));
    for certificate in unknown {
        if state.retiring.len() < RETIRING_MAX {
            let retiring = Retiring {
                certificate: certificate.clone(),
                until: latest.min(plan.forgotten(certificate.not_after)),
            };
            retire(state, retiring, now);
        }
    }
}

/// Takes away what time has made needless.
pub(super) fn forget(
    state: &mut State,
    knowledge: &Knowledge,
    now: Timestamp,
    changes: &mut Vec<Change>,
) {
    let before = state.retiring.len();
    let given_up = |id: AuthorityId| knowledge.distrusted.contains_key(&id);
    state
        .retiring
        .retain(|retiring| retiring.until > now && !given_up(retiring.certificate.id));
    if state.retiring.len() < before {
        changes.push(Change::TrustEnded);
    }
    let unusable =
        |next: &Authority| next.certificate.not_after <= now || given_up(next.certificate.id);
    if state.next.as_ref().is_some_and(unusable) {
        state.next = None;
        changes.push(Change::TrustEnded);
    }
    // Not worth a write of its own.
    for (id, until) in &knowledge.distrusted {
        state.distrusted.entry(*id).or_insert(*until);
    }
    state.distrusted.retain(|_, until| *until > now);
}

/// Somebody may have put an older Secret in place: what this replica serves must stay trusted.
pub(super) fn protect_served(
    state: &mut State,
    knowledge: &Knowledge,
    plan: &Plan,
    now: Timestamp,
    changes: &mut Vec<Change>,
) {
    let Some((certificate, not_after)) = &knowledge.served else {
        return;
    };
    let until = plan.forgotten(*not_after);
    let known = state.retiring.iter_mut();
    let mut known = known.filter(|retiring| retiring.certificate.id == certificate.id);
    let restored = if let Some(known) = known.next() {
        let longer = until > known.until;
        known.until = known.until.max(until);
        longer
    } else {
        let certificate = certificate.clone();
        retire(state, Retiring { certificate, until }, now)
    };
    if restored {
        changes.push(Change::TrustRestored);
    }
}

/// Keeps an authority trusted until then, unless it is already; whether this changed anything.
pub(super) fn retire(state: &mut State, retiring: Retiring, now: Timestamp) -> bool {
    let id = retiring.certificate.id;
    let given_up = state.distrusted.contains_key(&id);
    if given_up || retiring.until <= now || retiring.certificate.not_after <= now {
        return false;
    }
    if state.bundle().carries(id) {
        return false;
    }
    if state.retiring.len() >= RETIRING_MAX {
        state.retiring.sort_by_key(|retiring| retiring.until);
        state.retiring.remove(0);
    }
    state.retiring.push(retiring);
    true
}
