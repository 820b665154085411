//! Whether an image is what policies demand.

use std::cell::OnceCell;

use super::compile::{Demand, Exemption};
use super::shown::{Shown, ShownImage};
use super::{Action, Finding, Rule};
use crate::image::ecr::Host;
use crate::image::reference::Reference;

/// What the policies that select a namespace demand of its images. The strictest come first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Demands {
    pub(super) demanded: Vec<Demanded>,
    /// What breaking a rule about references leads to, by policies that say more than the settings.
    pub(super) references: Vec<(Action, usize)>,
    pub(super) sources: Vec<Demander>,
}

/// One demand, and the place of the policy that makes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Demanded {
    pub(super) demand: Demand,
    pub(super) action: Action,
    pub(super) source: usize,
}

/// A policy that demands something, and whom it exempts in this namespace.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Demander {
    pub(super) name: String,
    pub(super) exemptions: Vec<Exemption>,
}

/// The image that is judged, and under whose name its Pod runs.
pub(super) struct Judged<'a> {
    pub(super) service_account: &'a str,
    pub(super) image: &'a str,
    pub(super) registry: Host<'a>,
    /// Read when it is asked for: most demands are about ECR images alone.
    reference: OnceCell<Option<Reference<'a>>>,
}

impl<'a> Judged<'a> {
    /// An image, with its reference where that was read already.
    pub(super) fn new(
        service_account: &'a str,
        image: &'a str,
        registry: Host<'a>,
        reference: Option<Reference<'a>>,
    ) -> Self {
        let known = reference.map(Some).map(OnceCell::from);
        Self {
            service_account,
            image,
            registry,
            reference: known.unwrap_or_default(),
        }
    }

    /// `None` for what is no reference.
    fn reference(&self) -> Option<&Reference<'a>> {
        let reference = || Reference::parse(self.image).ok();
        self.reference.get_or_init(reference).as_ref()
    }
}

impl Demands {
    pub(super) fn is_empty(&self) -> bool {
        self.demanded.is_empty() && self.references.is_empty()
    }

    /// Puts the strictest first. Stable, so that of equals the first policy by name is the one that is told.
    pub(super) fn strictest_first(&mut self) {
        self.demanded
            .sort_by_key(|demanded| std::cmp::Reverse(demanded.action));
        self.references
            .sort_by_key(|(action, _)| std::cmp::Reverse(*action));
    }

    /// What the rules about references lead to for this image, and the policy that says so; `None` where policies say
    /// no more than `base`.
    pub(super) fn references(
        &self,
        judged: &Judged<'_>,
        base: Action,
        exempt: &mut Vec<String>,
    ) -> Option<(Action, &str)> {
        for (action, source) in &self.references {
            if *action <= base {
                break;
            }
            let demander = &self.sources[*source];
            if let Some(exemption) = demander.exempts(judged) {
                exempt.push(note("the rules about references", demander, exemption));
                continue;
            }
            return Some((*action, &demander.name));
        }
        None
    }

    /// Adds what the image breaks, each rule once, by its strictest policy.
    pub(super) fn judge(
        &self,
        judged: &Judged<'_>,
        findings: &mut Vec<Finding>,
        exempt: &mut Vec<String>,
    ) {
        for demanded in &self.demanded {
            let Some(complaint) = demanded.demand.broken_by(judged) else {
                continue;
            };
            let rule = demanded.demand.rule();
            let demander = &self.sources[demanded.source];
            if let Some(exemption) = demander.exempts(judged) {
                exempt.push(note(rule.id(), demander, exemption));
                continue;
            }
            if is_told(findings, rule, demanded.action) {
                continue;
            }
            findings.push(Finding {
                rule,
                action: demanded.action,
                message: format!(
                    "image {} {complaint} by policy {}",
                    ShownImage(judged.image),
                    Shown(&demander.name)
                ),
            });
        }
    }
}

/// Whether nothing would be learned: the same rule, or a reference without tag and digest that is refused as such.
fn is_told(findings: &[Finding], rule: Rule, action: Action) -> bool {
    let about_version = matches!(
        rule,
        Rule::TagRequired | Rule::MutableTag | Rule::DigestRequired
    );
    findings.iter().any(|finding| {
        let same = finding.rule == rule || (about_version && finding.rule == Rule::FullReference);
        same && finding.action >= action
    })
}

fn note(what: &str, demander: &Demander, exemption: &Exemption) -> String {
    format!(
        "exempt from {what} of policy {}: {}",
        Shown(&demander.name),
        Shown(&exemption.reason)
    )
}

impl Demander {
    fn exempts(&self, judged: &Judged<'_>) -> Option<&Exemption> {
        let mut exemptions = self.exemptions.iter();
        exemptions.find(|exemption| exemption.is_for(judged.service_account, judged.reference()))
    }
}

impl Demand {
    fn rule(&self) -> Rule {
        match self {
            Self::TagRequired => Rule::TagRequired,
            Self::FixedTag { .. } => Rule::MutableTag,
            Self::DigestRequired => Rule::DigestRequired,
            Self::AllowedImages(_) => Rule::ImageNotAllowed,
            Self::OnlyEcr { .. } => Rule::NotEcr,
            Self::AllowedAccounts(_) => Rule::AccountNotAllowed,
            Self::AllowedRegions(_) => Rule::RegionNotAllowed,
        }
    }

    /// What is wrong with the image, as a sentence that ends in the policy's name.
    fn broken_by(&self, judged: &Judged<'_>) -> Option<String> {
        let is_ecr = matches!(judged.registry, Host::Private(_) | Host::Public(_));
        let private = match judged.registry {
            Host::Private(host) => Some(host),
            _ => None,
        };
        let matches = |patterns: &[super::pattern::ImagePattern]| {
            let image = judged.reference();
            image.is_some_and(|image| patterns.iter().any(|pattern| pattern.matches(image)))
        };
        let ecr = || is_ecr.then(|| judged.reference()).flatten();
        match self {
            Self::TagRequired => ecr()
                .filter(|image| image.tag().is_none())
                .map(|_| "has no tag, which is demanded".to_owned()),
            Self::FixedTag { mutable } => {
                let image = ecr().filter(|image| image.digest().is_none())?;
                let tag = image.tag().unwrap_or("latest");
                super::pattern::any_name(mutable, tag).then(|| {
                    format!(
                        "has the tag {}, which moves, and no digest: that is refused",
                        Shown(tag)
                    )
                })
            }
            Self::DigestRequired => ecr()
                .filter(|image| image.digest().is_none())
                .map(|_| "has no digest, which is demanded".to_owned()),
            Self::AllowedImages(patterns) => {
                (!matches(patterns)).then(|| "is none of those allowed".to_owned())
            }
            Self::OnlyEcr { except } => (!is_ecr && !matches(except))
                .then(|| "is not on Amazon ECR, which is demanded".to_owned()),
            Self::AllowedAccounts(accounts) => {
                let account = private?.account;
                (!accounts.contains(account))
                    .then(|| format!("is in AWS account {account}, which is not allowed"))
            }
            Self::AllowedRegions(regions) => {
                let region = private?.region;
                (!regions.contains(region))
                    .then(|| format!("is in AWS region {region}, which is not allowed"))
            }
        }
    }
}
