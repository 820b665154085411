//! What one namespace comes to.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::change::Change;
use super::count::{Count, Fates};
use crate::inventory::Kind;
use crate::manifest::Slot;
use crate::policy::{Action, Combined, Finding, Rule};

/// The most characters of an image that are kept; a name, a tag and a digest have fewer than 500.
const LONGEST_IMAGE: usize = 1_024;

/// What the Pods and workloads of one namespace would come to.
#[derive(Clone, Debug)]
pub struct NamespaceReport {
    /// What would become of them.
    pub fates: Fates,
    /// How many of the Pods were made by workloads that were read too.
    pub owned: usize,
    /// How many images would break a rule that they are exempt from.
    pub exempt: usize,
    /// The rules that are broken, by action and rule, the strictest first.
    pub rules: BTreeMap<(Reverse<Action>, &'static str), Broken>,
    /// The registries that others pull from, or nobody any more, and how many it concerns.
    pub changes: BTreeMap<Change, Count>,
    /// How often a change was seen that is not listed, because there are too many.
    pub changes_left_out: usize,
    /// What it is granted today.
    pub before: Standing,
    /// What it would be granted.
    pub after: Standing,
}

/// What a namespace is granted, whether it uses it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Every private registry.
    Everything,
    /// What these policies grant.
    By(Vec<String>),
    /// Nothing.
    Nothing,
}

/// A rule that is broken, under one action.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The rule.
    pub rule: Rule,
    /// What would happen.
    pub action: Action,
    /// How many break it.
    pub count: Count,
    /// By what; as many as there is room for.
    pub told: Vec<Told>,
    /// How many more images there are, each time that one was seen.
    pub left_out: usize,
}

/// An image that breaks a rule: in a workload's template, in its Pods, or in both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The kind of the workload, or of the Pod that no workload made.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Whose image it is.
    pub slot: Slot,
    /// The image, cut off where it is longer than any that can be pulled.
    pub image: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// Whether it stands in the workload's template, or in the Pod that no workload made.
    pub in_object: bool,
    /// In how many Pods of the workload.
    pub pods: usize,
}

/// An image that was judged, and whom it is told of.
pub(super) struct Judged<'a> {
    /// What was read.
    pub(super) kind: Kind,
    /// The workload that made it, or the object itself.
    pub(super) subject: (Kind, &'a str),
    pub(super) slot: &'a Slot,
    pub(super) image: &'a str,
}

/// How much may still be listed.
pub(super) struct Room {
    /// In all.
    pub(super) left: usize,
    /// Of one rule in one namespace, and of its changes.
    pub(super) most: usize,
}

impl NamespaceReport {
    pub(super) fn new(before: Standing, after: Standing) -> Self {
        Self {
            fates: Fates::default(),
            owned: 0,
            exempt: 0,
            rules: BTreeMap::new(),
            changes: BTreeMap::new(),
            changes_left_out: 0,
            before,
            after,
        }
    }

    /// Adds a broken rule; `is_first` when the object has not broken it before.
    pub(super) fn add(
        &mut self,
        judged: &Judged<'_>,
        finding: Finding,
        is_first: bool,
        room: &mut Room,
    ) {
        let broken = self.rules.entry(key(&finding)).or_insert_with(|| Broken {
            rule: finding.rule,
            action: finding.action,
            count: Count::default(),
            told: Vec::new(),
            left_out: 0,
        });
        if is_first {
            broken.count.add(judged.kind);
        }
        broken.tell(judged, finding, room);
    }

    pub(super) fn add_change(&mut self, change: Change, kind: Kind, room: &Room) {
        if self.changes.len() < room.most || self.changes.contains_key(&change) {
            self.changes.entry(change).or_default().add(kind);
        } else {
            self.changes_left_out += 1;
        }
    }

    /// Whether some Pods would get no credential any more.
    pub fn loses(&self) -> bool {
        self.changes.keys().any(Change::is_loss)
    }

    /// Whether somebody else would pull for some Pods.
    pub fn changes_identity(&self) -> bool {
        self.changes.keys().any(|change| !change.is_loss())
    }

    /// Whether there is something to tell of it.
    pub fn is_remarkable(&self) -> bool {
        !self.rules.is_empty() || !self.changes.is_empty()
    }
}

pub(super) fn key(finding: &Finding) -> (Reverse<Action>, &'static str) {
    (Reverse(finding.action), finding.rule.id())
}

impl Broken {
    fn tell(&mut self, judged: &Judged<'_>, finding: Finding, room: &mut Room) {
        let (kind, name) = judged.subject;
        let is_subject = kind == judged.kind;
        let image: String = judged.image.chars().take(LONGEST_IMAGE).collect();
        let same = |told: &&mut Told| {
            told.kind == kind
                && told.name == name
                && told.slot == *judged.slot
                && told.image == image
        };
        if let Some(told) = self.told.iter_mut().find(same) {
            told.in_object |= is_subject;
            told.pods += usize::from(!is_subject);
        } else if self.told.len() < room.most && room.left > 0 {
            room.left -= 1;
            self.told.push(Told {
                kind,
                name: name.to_owned(),
                slot: judged.slot.clone(),
                image,
                message: finding.message,
                in_object: is_subject,
                pods: usize::from(!is_subject),
            });
        } else {
            self.left_out += 1;
        }
    }
}

impl Standing {
    pub(super) fn of(combined: &Combined) -> Self {
        match combined.granting() {
            None => Self::Everything,
            Some([]) => Self::Nothing,
            Some(policies) => Self::By(policies.to_vec()),
        }
    }
}
