//! What a policy demands of images.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Faults, Path, syntax};
use crate::image::ecr::is_account;
use crate::policy::Action;
use crate::policy::glob::{Glob, any_name};
use crate::policy::pattern::ImagePattern;
use crate::policy::spec::{self, EcrPolicySpec, MOST_PATTERNS};

/// The rules of a policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::policy) struct Rules {
    /// What the rules about ECR references themselves lead to.
    pub(in crate::policy) references: Option<Action>,
    /// What an image leads to that no grant covers; only of policies with grants.
    pub(in crate::policy) granted: Option<Action>,
    pub(in crate::policy) demands: Vec<(Arc<Demand>, Action)>,
}

/// What an image must be.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::policy) enum Demand {
    TagRequired,
    FixedTag { mutable: Vec<Glob> },
    DigestRequired,
    AllowedImages(Vec<ImagePattern>),
    OnlyEcr { except: Vec<ImagePattern> },
    AllowedAccounts(BTreeSet<String>),
    AllowedRegions(BTreeSet<String>),
}

/// Images to which a policy's rules do not apply.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::policy) struct Exemption {
    namespaces: Option<Vec<String>>,
    service_accounts: Option<Vec<String>>,
    images: Option<Vec<ImagePattern>>,
    pub(in crate::policy) reason: String,
}

impl Rules {
    pub(super) fn judge_all_images(&self) -> bool {
        let mut demands = self.demands.iter();
        demands.any(|(demand, _)| {
            matches!(**demand, Demand::AllowedImages(_) | Demand::OnlyEcr { .. })
        })
    }
}

impl Exemption {
    pub(in crate::policy) fn is_for_namespace(&self, namespace: &str) -> bool {
        let names = self.namespaces.as_ref();
        names.is_none_or(|names| any_name(names, namespace))
    }

    /// Whether it is for an image of a Pod under that ServiceAccount, in a namespace that it is for.
    pub(in crate::policy) fn is_for(
        &self,
        service_account: &str,
        image: Option<&crate::image::reference::Reference<'_>>,
    ) -> bool {
        let accounts = self.service_accounts.as_ref();
        let images = self.images.as_ref();
        accounts.is_none_or(|names| any_name(names, service_account))
            && images.is_none_or(|patterns| {
                image.is_some_and(|image| patterns.iter().any(|pattern| pattern.matches(image)))
            })
    }
}

pub(super) fn compile(spec: &EcrPolicySpec, at: &Path, faults: &mut Faults) -> Rules {
    let Some(given) = &spec.validation else {
        return Rules::default();
    };
    if *given == spec::Validation::default() {
        faults.add(at, "must hold at least one rule");
    }
    if given.granted.is_some() && spec.grants.is_empty() {
        faults.add(
            &at.field("granted"),
            "says what becomes of images that no grant covers, but this policy grants nothing",
        );
    }
    let action = |own: Option<Action>| own.unwrap_or(spec.action);
    let plain = |rule: &Option<spec::Plain>| rule.map(|rule| action(rule.action));
    let mut demands = Vec::new();
    let mut demand = |demand, own| demands.push((Arc::new(demand), action(own)));
    if let Some(rule) = given.tag_required {
        demand(Demand::TagRequired, rule.action);
    }
    if let Some(rule) = &given.mutable_tags {
        let mutable = rule.tags.iter().map(|tag| Glob::new(tag)).collect();
        demand(Demand::FixedTag { mutable }, rule.action);
    }
    if let Some(rule) = given.digest_required {
        demand(Demand::DigestRequired, rule.action);
    }
    if let Some(rule) = &given.allowed_images {
        demand(Demand::AllowedImages(patterns(&rule.images)), rule.action);
    }
    if let Some(rule) = &given.only_ecr {
        let except = patterns(&rule.except);
        demand(Demand::OnlyEcr { except }, rule.action);
    }
    if let Some(rule) = &given.allowed_accounts {
        let accounts = rule.accounts.iter().cloned().collect();
        demand(Demand::AllowedAccounts(accounts), rule.action);
    }
    if let Some(rule) = &given.allowed_regions {
        let regions = rule.regions.iter().cloned().collect();
        demand(Demand::AllowedRegions(regions), rule.action);
    }
    check_lists(given, at, faults);
    Rules {
        references: plain(&given.references),
        granted: plain(&given.granted),
        demands,
    }
}

fn check_lists(given: &spec::Validation, at: &Path, faults: &mut Faults) {
    if let Some(rule) = &given.mutable_tags {
        let at = at.field("mutableTags").field("tags");
        faults.list(&rule.tags, 1, MOST_PATTERNS, &at, |tag| {
            (!syntax::is_tag_pattern(tag)).then(|| "can match no tag".to_owned())
        });
    }
    if let Some(rule) = &given.allowed_images {
        let at = at.field("allowedImages").field("images");
        faults.list(&rule.images, 1, MOST_PATTERNS, &at, image_fault);
    }
    if let Some(rule) = &given.only_ecr {
        let at = at.field("onlyEcr").field("except");
        faults.list(&rule.except, 0, MOST_PATTERNS, &at, image_fault);
    }
    if let Some(rule) = &given.allowed_accounts {
        let at = at.field("allowedAccounts").field("accounts");
        faults.list(&rule.accounts, 1, MOST_PATTERNS, &at, |account| {
            (!is_account(account)).then(|| "is no AWS account id of 12 digits".to_owned())
        });
    }
    if let Some(rule) = &given.allowed_regions {
        let at = at.field("allowedRegions").field("regions");
        faults.list(&rule.regions, 1, MOST_PATTERNS, &at, |region| {
            (!syntax::is_region(region)).then(|| "is no AWS region, such as eu-west-1".to_owned())
        });
    }
}

pub(super) fn exemptions(
    given: &[spec::Exemption],
    at: &Path,
    faults: &mut Faults,
) -> Vec<Exemption> {
    let mut exemptions = Vec::with_capacity(given.len());
    for (index, exemption) in given.iter().enumerate() {
        check_exemption(exemption, &at.item(index), faults);
        exemptions.push(Exemption {
            namespaces: exemption.namespaces.clone(),
            service_accounts: exemption.service_accounts.clone(),
            images: exemption.images.as_deref().map(patterns),
            reason: exemption.reason.clone(),
        });
    }
    exemptions
}

fn check_exemption(given: &spec::Exemption, at: &Path, faults: &mut Faults) {
    if given.namespaces.is_none() && given.service_accounts.is_none() && given.images.is_none() {
        faults.add(
            at,
            "an exemption must say for which namespaces, serviceAccounts or images",
        );
    }
    if let Some(names) = &given.namespaces {
        faults.list(names, 1, MOST_PATTERNS, &at.field("namespaces"), |name| {
            let fits = syntax::is_namespace_pattern(name);
            (!fits).then(|| "can match no namespace".to_owned())
        });
    }
    if let Some(names) = &given.service_accounts {
        let at = at.field("serviceAccounts");
        faults.list(names, 1, MOST_PATTERNS, &at, |name| {
            let fits = syntax::is_service_account_pattern(name);
            (!fits).then(|| "can match no ServiceAccount".to_owned())
        });
    }
    if let Some(images) = &given.images {
        faults.list(images, 1, MOST_PATTERNS, &at.field("images"), image_fault);
    }
    let length = given.reason.chars().count();
    if !(1..=256).contains(&length) {
        faults.add(
            &at.field("reason"),
            "must say why, in at most 256 characters",
        );
    }
}

fn image_fault(text: &str) -> Option<String> {
    (!syntax::is_image_pattern(text)).then(|| {
        "is no pattern of images: write a registry, a slash and a repository without tag, such as registry.k8s.io/* or \
         docker.io/library/**"
            .to_owned()
    })
}

fn patterns(texts: &[String]) -> Vec<ImagePattern> {
    texts.iter().map(|text| ImagePattern::new(text)).collect()
}
