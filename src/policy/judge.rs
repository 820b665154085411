//! Which rule an image breaks.

use std::collections::BTreeSet;

use super::{Policy, Rule};
use crate::image::ecr::{EcrHost, Host, PUBLIC_HOSTS};
use crate::image::lookalike::{
    looks_like_ecr, may_concern_ecr, registry_text, scheme_len, without_port,
};
use crate::image::reference::Reference;
use crate::image::split_once_at;

/// What an image names, and the first rule it breaks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Judgement<'a> {
    pub(super) registry: Host<'a>,
    pub(super) broken: Option<Rule>,
    /// The reference, where it had to be read; always for a private registry.
    pub(super) reference: Option<Reference<'a>>,
}

/// The two common kinds are told early and cheaply: a good image of an exact ECR host, and one that is none of our
/// business. `last` is the private registry of the image before.
pub(super) fn judge<'a>(
    policy: &Policy,
    last: Option<&EcrHost<'a>>,
    image: &'a str,
) -> Judgement<'a> {
    if let Some((host, behind)) = split_private(last, image)
        && let Some(reference) = Reference::in_registry(host.host, behind)
    {
        return Judgement {
            registry: Host::Private(host),
            broken: judge_private(policy, &host, &reference),
            reference: Some(reference),
        };
    }
    if may_concern_ecr(image) {
        return judge_in_full(policy, image);
    }
    Judgement {
        registry: Host::Other,
        broken: None,
        reference: None,
    }
}

/// The private registry that an image is of, and what stands behind the slash.
fn split_private<'a>(last: Option<&EcrHost<'a>>, image: &'a str) -> Option<(EcrHost<'a>, &'a str)> {
    // Most images of a Pod are of the same registry.
    if let Some(last) = last
        && let Some(behind) = image.strip_prefix(last.host)
        && let Some(behind) = behind.strip_prefix('/')
    {
        return Some((*last, behind));
    }
    let (registry, behind) = split_once_at(image, b'/')?;
    Some((EcrHost::parse(registry)?, behind))
}

/// As [`judge`], without the short ways in front.
pub(super) fn judge_in_full<'a>(policy: &Policy, image: &'a str) -> Judgement<'a> {
    let other = |broken, reference| Judgement {
        registry: Host::Other,
        broken,
        reference,
    };
    let Ok(reference) = Reference::parse(image) else {
        return other(judge_malformed(policy, image), None);
    };
    let Some((registry, _)) = split_once_at(image, b'/') else {
        return other(judge_bare_name(policy, image), Some(reference));
    };
    // Where the first part is no registry, the image is on Docker Hub, whatever its path looks like.
    if !reference.domain().is_empty() && reference.domain() != registry {
        return other(None, Some(reference));
    }
    let registry_host = Host::classify(registry);
    let broken = match registry_host {
        Host::Private(host) => judge_private(policy, &host, &reference),
        Host::Public(_) => needs_full_reference(&reference),
        Host::ForeignRegion(_) | Host::Other => judge_inexact_host(policy, registry),
    };
    Judgement {
        registry: registry_host,
        broken,
        reference: Some(reference),
    }
}

fn judge_private(policy: &Policy, host: &EcrHost<'_>, reference: &Reference<'_>) -> Option<Rule> {
    let allowed = |list: &Option<BTreeSet<String>>, item| {
        list.as_ref().is_none_or(|list| list.contains(item))
    };
    if !allowed(&policy.allowed_accounts, host.account) {
        Some(Rule::AccountNotAllowed)
    } else if !allowed(&policy.allowed_regions, host.region) {
        Some(Rule::RegionNotAllowed)
    } else if let Some(rule) = needs_full_reference(reference) {
        Some(rule)
    } else if host.known_region {
        None
    } else {
        Some(Rule::UnknownRegion)
    }
}

fn needs_full_reference(reference: &Reference<'_>) -> Option<Rule> {
    (reference.tag().is_none() && reference.digest().is_none()).then_some(Rule::FullReference)
}

/// Judges a registry that is not exactly an ECR host.
fn judge_inexact_host(policy: &Policy, registry: &str) -> Option<Rule> {
    let host = without_port(registry);
    if !(looks_like_ecr(host) || is_public_in_any_case(host)) || is_trusted(policy, registry) {
        return None;
    }
    Some(match Host::classify(&host.to_ascii_lowercase()) {
        Host::Private(_) | Host::Public(_) => Rule::HostForm,
        Host::ForeignRegion(_) => Rule::ForeignRegion,
        Host::Other => Rule::LookalikeHost,
    })
}

/// Judges a name without a slash, which is an official image of Docker Hub: nobody means that by an ECR host.
fn judge_bare_name(policy: &Policy, image: &str) -> Option<Rule> {
    let name = image.split([':', '@']).next().unwrap_or(image);
    let is_ecr = Host::classify(name) != Host::Other && !is_trusted(policy, name);
    is_ecr.then_some(Rule::MissingRepository)
}

/// Judges what is no reference at all. Only one that names ECR is our business; the kubelet refuses the others.
fn judge_malformed(policy: &Policy, image: &str) -> Option<Rule> {
    let registry = registry_text(image);
    let host = registry.split([':', '@']).next().unwrap_or(registry);
    let concerns_ecr =
        looks_like_ecr(registry) || looks_like_ecr(host) || is_public_in_any_case(host);
    if !concerns_ecr || is_trusted(policy, registry) || is_trusted(policy, host) {
        return None;
    }
    let is_ecr = Host::classify(&host.to_ascii_lowercase()) != Host::Other;
    let behind = &image[scheme_len(image).unwrap_or(0) + registry.len()..];
    let repository = behind.trim_start_matches('/');
    if is_ecr && (repository.is_empty() || repository.starts_with([':', '@'])) {
        Some(Rule::MissingRepository)
    } else {
        Some(Rule::MalformedReference)
    }
}

fn is_public_in_any_case(host: &str) -> bool {
    PUBLIC_HOSTS
        .iter()
        .any(|public| host.eq_ignore_ascii_case(public))
}

fn is_trusted(policy: &Policy, registry: &str) -> bool {
    if policy.trusted_hosts.is_empty() {
        return false;
    }
    let registry = registry.to_ascii_lowercase();
    policy.trusted_hosts.contains(&registry)
        || policy.trusted_hosts.contains(without_port(&registry))
}
