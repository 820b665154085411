//! The rotation as a state machine: what is stored, and what this replica has seen, to what is to be stored next.
//!
//! Pure: it makes keys, and does nothing else. Any number of replicas may run it over one Secret, since each step is
//! written by compare-and-swap and only ever adds trust, or takes away trust that no leaf needs any more.

mod change;
mod trust;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::authority::{Authority, AuthorityCertificate, AuthorityId, Bundle};
use super::plan::Plan;
use super::state::{Leaf, Retiring, State};
pub use change::Change;
use trust::{adopt, forget, protect_served, retire};

/// What this replica knows beside the Secret.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// The authority behind the leaf that this replica serves, and until when that leaf is valid.
    pub served: Option<(AuthorityCertificate, Timestamp)>,
    /// The last good state that was read.
    pub last: Option<Arc<State>>,
    /// Authorities that were given up, by any state that was ever read.
    pub distrusted: BTreeMap<AuthorityId, Timestamp>,
    /// What the live configurations carry.
    pub live: Vec<AuthorityCertificate>,
    /// Whether they have carried the next authority for long enough.
    pub next_is_known: bool,
}

/// What is stored.
#[derive(Clone, Copy, Debug)]
pub enum Stored<'a> {
    /// Nothing.
    Nothing,
    /// No state; the authorities that could be read.
    Garbage(&'a Bundle),
    /// A state.
    State(&'a State),
}

/// A state to be written, and what it changes. With no change there is nothing to write.
pub type Proposal = (State, Vec<Change>);

/// What is to be stored next, if anything.
///
/// # Errors
/// When no certificate can be made.
pub fn propose(
    stored: Stored<'_>,
    knowledge: &Knowledge,
    plan: &Plan,
    now: Timestamp,
) -> Result<Option<Proposal>, rcgen::Error> {
    let is_usable = |state: &State| {
        let signer = &state.signer.certificate;
        !knowledge.distrusted.contains_key(&signer.id) && signer.not_after > now
    };
    let last = knowledge.last.as_deref();
    let (state, mut changes) = match (stored, last) {
        (Stored::State(state), _) if is_usable(state) => (state, Vec::new()),
        (Stored::Nothing | Stored::Garbage(_), Some(last)) if is_usable(last) => {
            (last, vec![Change::Restored])
        }
        (Stored::Nothing, _) => {
            let state = fresh(&[], knowledge, plan, now)?;
            return Ok(Some((state, vec![Change::Created])));
        }
        (Stored::Garbage(salvaged), _) => {
            let state = fresh(&salvaged.authorities, knowledge, plan, now)?;
            return Ok(Some((state, vec![Change::Recreated])));
        }
        (Stored::State(state), _) => {
            let state = fresh(&state.bundle().authorities, knowledge, plan, now)?;
            return Ok(Some((state, vec![Change::Recreated])));
        }
    };
    let mut next = state.clone();
    if changes == [Change::Restored] {
        // What is remembered may be older than what was destroyed.
        adopt(&mut next, &knowledge.live, plan, now);
    }
    forget(&mut next, knowledge, now, &mut changes);
    protect_served(&mut next, knowledge, plan, now, &mut changes);
    rotate(&mut next, knowledge, plan, now, &mut changes)?;
    Ok((!changes.is_empty()).then_some((next, changes)))
}

/// When time alone will next call for a step.
pub(crate) fn due(state: &State, plan: &Plan) -> Timestamp {
    let leaf = state.leaf.as_ref();
    let leaf = leaf.map(|leaf| plan.leaf_due(leaf.validity));
    let signer = state.signer.certificate.validity();
    let authority = state.next.is_none().then(|| plan.authority_due(signer));
    let retiring = state.retiring.iter().map(|retiring| retiring.until);
    let all = retiring.chain(leaf).chain(authority);
    all.min().unwrap_or(signer.not_after)
}

/// A new authority and a leaf of it, with nobody that anybody may still serve forgotten.
fn fresh(
    salvaged: &[AuthorityCertificate],
    knowledge: &Knowledge,
    plan: &Plan,
    now: Timestamp,
) -> Result<State, rcgen::Error> {
    let mut state = start(plan, &plan.names, now)?;
    state.distrusted.clone_from(&knowledge.distrusted);
    state.distrusted.retain(|_, until| *until > now);
    protect_served(&mut state, knowledge, plan, now, &mut Vec::new());
    adopt(&mut state, knowledge.live.iter().chain(salvaged), plan, now);
    Ok(state)
}

/// An authority, a leaf of it, and nothing else.
fn start(plan: &Plan, names: &[String], now: Timestamp) -> Result<State, rcgen::Error> {
    let signer = Authority::make(plan, now)?;
    Ok(State {
        leaf: Some(leaf(&signer, plan, names, now)?),
        signer,
        next: None,
        retiring: Vec::new(),
        distrusted: BTreeMap::new(),
    })
}

/// A state in which every authority of `state` is given up at once, for a key that was compromised. The new leaf has the
/// same names.
///
/// # Errors
/// When no certificate can be made.
pub fn give_up(state: &State, plan: &Plan, now: Timestamp) -> Result<State, rcgen::Error> {
    let names = state.leaf.as_ref().map_or(&plan.names, |leaf| &leaf.names);
    let mut new = start(plan, names, now)?;
    new.distrusted.clone_from(&state.distrusted);
    let given_up = state.bundle().authorities;
    new.distrusted.extend(
        given_up
            .iter()
            .map(|authority| (authority.id, authority.not_after)),
    );
    new.distrusted.retain(|_, until| *until > now);
    Ok(new)
}

/// Announces a new authority now, due or not; whatever replica sees it goes on from there. `None` when one is announced
/// already.
///
/// # Errors
/// When no certificate can be made.
pub fn announce(state: &State, plan: &Plan, now: Timestamp) -> Result<Option<State>, rcgen::Error> {
    if state.next.is_some() {
        return Ok(None);
    }
    let mut new = state.clone();
    new.next = Some(Authority::make(plan, now)?);
    Ok(Some(new))
}

fn leaf(
    signer: &Authority,
    plan: &Plan,
    names: &[String],
    now: Timestamp,
) -> Result<Leaf, rcgen::Error> {
    let (certificate, key) = signer.sign(plan, names, now)?;
    Leaf::read(certificate.as_bytes(), key).ok_or(rcgen::Error::CouldNotParseCertificate)
}

/// Moves the rotation on: announce, replace, renew.
fn rotate(
    state: &mut State,
    knowledge: &Knowledge,
    plan: &Plan,
    now: Timestamp,
    changes: &mut Vec<Change>,
) -> Result<(), rcgen::Error> {
    if knowledge.next_is_known
        && let Some(next) = state.next.take()
    {
        let last = state.leaf.as_ref().map(|leaf| leaf.validity.not_after);
        let replaced = std::mem::replace(&mut state.signer, next);
        state.leaf = Some(leaf(&state.signer, plan, &plan.names, now)?);
        let retiring = Retiring {
            until: plan.forgotten(last.unwrap_or(replaced.certificate.not_after)),
            certificate: replaced.certificate,
        };
        retire(state, retiring, now);
        changes.push(Change::AuthorityReplaced);
        return Ok(());
    }
    if state.next.is_none() && plan.authority_due(state.signer.certificate.validity()) <= now {
        state.next = Some(Authority::make(plan, now)?);
        changes.push(Change::AuthorityAnnounced);
    }
    if let Some(names) = names_of_new_leaf(state, plan, now) {
        state.leaf = Some(leaf(&state.signer, plan, &names, now)?);
        changes.push(Change::LeafRenewed);
    }
    Ok(())
}

/// The names of the leaf that has to be made; `None` when the present one will do.
fn names_of_new_leaf(state: &State, plan: &Plan, now: Timestamp) -> Option<Vec<String>> {
    let Some(leaf) = &state.leaf else {
        return Some(plan.names.clone());
    };
    if plan.leaf_due(leaf.validity) <= now {
        return Some(plan.names.clone());
    }
    let missing: Vec<_> = plan
        .names
        .iter()
        .filter(|name| !leaf.names.contains(name))
        .collect();
    if missing.is_empty() {
        return None;
    }
    // Replicas of before and after a change of names share the leaf until the next renewal; they must not take turns.
    Some(leaf.names.iter().chain(missing).cloned().collect())
}

#[cfg(test)]
mod tests;
