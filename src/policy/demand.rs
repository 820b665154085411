//! Whether an image is what policies demand.

use std::cell::OnceCell;
use std::cmp::Reverse;
use std::sync::Arc;

use super::compile::{Demand, Exemption, Rules};
use super::pattern::ImagePattern;
use super::shown::{Shown, ShownImage};
use super::{Action, Finding, Rule};
use crate::image::ecr::Host;
use crate::image::reference::Reference;

/// What the policies that select a namespace demand of its images. The strictest come first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Demands {
    /// Every demand once, however many policies make it.
    demanded: Vec<Demanded>,
    /// What breaking a rule about references leads to, by policies that say more than the settings.
    references: Vec<(Action, usize)>,
    sources: Vec<Demander>,
}

/// One demand, and who makes it.
#[derive(Clone, Debug, PartialEq)]
struct Demanded {
    demand: Arc<Demand>,
    by: Vec<Made>,
}

/// That a policy makes a demand.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Made {
    action: Action,
    /// The place of the policy.
    source: usize,
    /// The place among all that is demanded, the strictest first; of equals the first policy by name.
    rank: usize,
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

    /// All that policies demand, which come in the order of their names, each with those whom it exempts in the namespace.
    pub(super) fn of<'a>(policies: impl Iterator<Item = (&'a Rules, Demander)>) -> Self {
        let mut demands = Self::default();
        let mut made = Vec::new();
        for (source, (rules, demander)) in policies.enumerate() {
            demands.sources.push(demander);
            let references = rules.references.map(|action| (action, source));
            demands.references.extend(references);
            let own = rules.demands.iter();
            made.extend(own.map(|(demand, action)| (demand, *action, source)));
        }
        // Stable, so that of equals the first policy by name is the one that is told.
        made.sort_by_key(|(_, action, _)| Reverse(*action));
        demands
            .references
            .sort_by_key(|(action, _)| Reverse(*action));
        for (rank, (demand, action, source)) in made.into_iter().enumerate() {
            let made = Made {
                action,
                source,
                rank,
            };
            let mut known = demands.demanded.iter_mut();
            match known.find(|known| known.demand == *demand) {
                Some(known) => known.by.push(made),
                None => demands.demanded.push(Demanded {
                    demand: Arc::clone(demand),
                    by: vec![made],
                }),
            }
        }
        demands
    }

    /// What the strictest of all leads to.
    pub(super) fn strictest(&self) -> Option<Action> {
        let demanded = self.demanded.iter().flat_map(|demanded| &demanded.by);
        let demanded = demanded.map(|made| made.action);
        let references = self.references.iter().map(|(action, _)| *action);
        demanded.chain(references).max()
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
        let broken = self.demanded.iter().filter_map(|demanded| {
            let complaint = demanded.demand.broken_by(judged)?;
            Some((demanded, complaint))
        });
        let broken: Vec<(&Demanded, String)> = broken.collect();
        let made = broken.iter().flat_map(|(demanded, complaint)| {
            let rule = demanded.demand.rule();
            demanded.by.iter().map(move |made| (made, rule, complaint))
        });
        let mut made: Vec<_> = made.collect();
        made.sort_by_key(|(made, _, _)| made.rank);
        for (made, rule, complaint) in made {
            let demander = &self.sources[made.source];
            if let Some(exemption) = demander.exempts(judged) {
                exempt.push(note(rule.id(), demander, exemption));
                continue;
            }
            if is_told(findings, rule, made.action) {
                continue;
            }
            findings.push(Finding {
                rule,
                action: made.action,
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
        let matches = |patterns: &[ImagePattern]| {
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
                let moves = mutable.iter().any(|pattern| pattern.matches(tag, b'/'));
                moves.then(|| {
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
