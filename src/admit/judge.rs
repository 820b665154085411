//! Judging a review by policy: which images break a rule, and which credentials the Pod needs. Pure.

use std::collections::HashSet;
use std::fmt::Write;

use super::Outcome;
use crate::image::ecr::EcrHost;
use crate::policy::{Action, Credential, Decider, Decision, Finding, Identity, Policy};
use crate::pull_secret::merge::MOST_ENTRIES;
use crate::review::{ImageField, Pod, Review, at_most};

/// The most findings of one action that are told; of the others, how many there are. A Pod can have 20,000 containers.
const MOST_TOLD: usize = 10;
/// The most characters that are shown of a container's name: a DNS label.
const LONGEST_NAME: usize = 63;

/// What a Pod's images come to.
#[derive(Debug, Default)]
pub(super) struct Judgement<'a> {
    /// The broken rules, and the image that breaks each.
    findings: Vec<(ImageField<'a>, Finding)>,
    /// How many more findings of each action there are.
    untold: [usize; 3],
    /// Rules that are broken and do not apply, a sentence each.
    exempt: Vec<String>,
    /// The registries that the Pod needs a credential for, each once; at most one more than a Secret can hold.
    pub(super) needs: Vec<NeedRef<'a>>,
}

/// A credential that a Pod needs, borrowed from its image.
#[derive(Clone, Debug)]
pub(super) struct NeedRef<'a> {
    pub(super) host: EcrHost<'a>,
    /// The `auths` key.
    pub(super) key: &'a str,
    pub(super) identity: &'a Identity,
}

impl<'a> Judgement<'a> {
    /// Judges every image of a Pod.
    pub(super) fn of(policy: &'a Policy, pod: &'a Pod<'a>) -> Self {
        Self::of_images(policy, pod, pod.images())
    }

    /// Judges some of a Pod's images.
    pub(super) fn of_images(
        policy: &'a Policy,
        pod: &'a Pod<'a>,
        images: impl IntoIterator<Item = ImageField<'a>>,
    ) -> Self {
        let mut judgement = Self::default();
        let mut decider = Decider::new(policy, pod.service_account());
        // Not a loop: the chain of the four lists is walked list by list.
        let images = images.into_iter();
        images.for_each(|field| judgement.add(field, decider.decide(field.image)));
        judgement
    }

    fn add(&mut self, field: ImageField<'a>, decision: Decision<'a>) {
        for exempt in decision.exempt {
            if self.exempt.len() < MOST_TOLD {
                self.exempt.push(about(&field, &exempt));
            }
        }
        for finding in decision.finding.into_iter().chain(decision.others) {
            if self.told(finding.action).count() < MOST_TOLD {
                self.findings.push((field, finding));
            } else {
                self.untold[finding.action as usize] += 1;
            }
        }
        let Credential::Secret {
            host,
            key,
            identity,
        } = decision.credential
        else {
            return;
        };
        let known = self.needs.iter().any(|need| need.key == key);
        if !known && self.needs.len() <= MOST_ENTRIES {
            self.needs.push(NeedRef {
                host,
                key,
                identity,
            });
        }
    }

    /// The refusal, when a finding demands one: every sentence, so that the author mends all at once.
    pub(super) fn refusal(&self) -> Option<Outcome> {
        let decisive = self.decisive()?;
        if decisive.action != Action::Enforce {
            return None;
        }
        let sentences: Vec<String> = self.sentences(Action::Enforce).collect();
        Some(Outcome::refuse(decisive.rule.id(), sentences.join("; ")))
    }

    /// Adds warnings and audit annotations for what is not enforced, and for what is exempt.
    pub(super) fn remark(&self, mut outcome: Outcome) -> Outcome {
        if let Some(decisive) = self.decisive() {
            // What has failed is counted as that; beside what went well the finding is the news.
            if outcome.answer.refusal.is_none() && outcome.answer.warnings.is_empty() {
                outcome.reason = decisive.rule.id();
            }
            let warnings = &mut outcome.answer.warnings;
            warnings.extend(self.sentences(Action::Warn));
        }
        let audited = self.sentences(Action::Audit);
        let audited: Vec<String> = audited.chain(self.exempt.iter().cloned()).collect();
        if !audited.is_empty() {
            outcome.answer.audit = Some(audited.join("; "));
        }
        outcome
    }

    /// The findings under one action, as one sentence for each, for people.
    pub(super) fn sentences(&self, action: Action) -> impl Iterator<Item = String> {
        let sentences = self
            .told(action)
            .map(|(field, finding)| sentence(field, finding));
        let untold = self.untold[action as usize];
        let more = (untold > 0).then(|| format!("and {untold} more images like these"));
        sentences.chain(more)
    }

    fn told(&self, action: Action) -> impl Iterator<Item = &(ImageField<'a>, Finding)> {
        let findings = self.findings.iter();
        findings.filter(move |(_, finding)| finding.action == action)
    }

    /// The finding that decides: the first of the strictest action.
    pub(super) fn decisive(&self) -> Option<&Finding> {
        let findings = self.findings.iter().map(|(_, finding)| finding);
        // The first of equals wins, which max_by_key would turn round.
        findings.rev().max_by_key(|finding| finding.action)
    }
}

/// The images that an update changes. Those that stand at the same place in the old object passed once, and a rule that
/// is newer than the Pod must not block its finalizers.
pub(super) fn changed<'a>(review: &'a Review<'a>, pod: &'a Pod<'a>) -> Vec<ImageField<'a>> {
    let old: HashSet<ImageField<'_>> = review.old_object.iter().flat_map(Pod::images).collect();
    let images = pod.images();
    images.filter(|field| !old.contains(field)).collect()
}

fn sentence(field: &ImageField<'_>, finding: &Finding) -> String {
    let mut sentence = about(field, &finding.message);
    // Writing to a String cannot fail.
    let _ = write!(sentence, " [{}]", finding.rule.id());
    sentence
}

fn about(field: &ImageField<'_>, message: &str) -> String {
    let mut sentence = field.list.item().to_owned();
    if !field.name.is_empty() {
        let _ = write!(sentence, " {:?}", at_most(LONGEST_NAME, field.name));
    }
    let _ = write!(sentence, ": {message}");
    sentence
}
