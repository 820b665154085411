//! What a person reads about an image that breaks a rule.

use super::correct::{PLACEHOLDER_TAG, corrected, flaw, with_repository};
use super::shown::ShownImage;
use super::{Policy, Rule};
use crate::image::ecr::{EcrHost, Host};
use crate::image::lookalike::{registry_text, without_port};
use crate::image::malformation::malformation;

/// One sentence: what is wrong with the image and, where it can be guessed, what to write instead.
pub(super) fn sentence(policy: &Policy, image: &str, rule: Rule) -> String {
    let mut sentence = format!("image {} {}", ShownImage(image), complaint(image, rule));
    if let Some(advice) = advice(policy, image, rule) {
        sentence.push_str("; ");
        sentence.push_str(&advice);
    }
    sentence
}

/// What is wrong, as the end of a sentence that begins with the image.
fn complaint(image: &str, rule: Rule) -> String {
    let registry = registry_text(image);
    let host = without_port(registry);
    match rule {
        Rule::FullReference => "has neither a tag nor a digest".to_owned(),
        Rule::MissingRepository => "names an ECR registry but no repository in it".to_owned(),
        Rule::HostForm => {
            let form = match (
                registry == host,
                host.bytes().any(|b| b.is_ascii_uppercase()),
            ) {
                (false, false) => "a port",
                (false, true) => "upper-case letters and a port",
                (true, _) => "upper-case letters",
            };
            format!("has {form} in its registry, which no ECR credential matches")
        }
        Rule::LookalikeHost => {
            format!(
                "looks like ECR but is not: {}",
                flaw(&host.to_ascii_lowercase())
            )
        }
        Rule::ForeignRegion => match Host::classify(&host.to_ascii_lowercase()) {
            Host::ForeignRegion(foreign) => format!(
                "names region {} of AWS partition {} on a host of partition {}",
                foreign.region, foreign.region_partition, foreign.host_partition
            ),
            _ => "names a region of another AWS partition than its host".to_owned(),
        },
        Rule::MalformedReference => {
            format!("is malformed: {}", malformation(image).unwrap_or_default())
        }
        Rule::UnknownRegion => format!(
            "names AWS region {}, which this version does not know: it is new or misspelt",
            part(host, |host| host.region)
        ),
        Rule::AccountNotAllowed => format!(
            "is in AWS account {}, which is not an allowed account",
            part(host, |host| host.account)
        ),
        Rule::RegionNotAllowed => format!(
            "is in AWS region {}, which is not an allowed region",
            part(host, |host| host.region)
        ),
        // Policies say it in their own words, with their name.
        Rule::NotGranted
        | Rule::TagRequired
        | Rule::MutableTag
        | Rule::DigestRequired
        | Rule::ImageNotAllowed
        | Rule::NotEcr => "is not what a policy demands".to_owned(),
    }
}

fn part<'a>(host: &'a str, part: impl Fn(&EcrHost<'a>) -> &'a str) -> &'a str {
    EcrHost::parse(host).map_or("", |host| part(&host))
}

/// What to write instead.
fn advice(policy: &Policy, image: &str, rule: Rule) -> Option<String> {
    match rule {
        Rule::AccountNotAllowed | Rule::RegionNotAllowed | Rule::UnknownRegion => None,
        Rule::MissingRepository => {
            let guess = with_repository(policy, image)?;
            Some(format!("write \"{guess}\""))
        }
        _ => {
            let guess = corrected(policy, image)?;
            let gap = guess.ends_with(PLACEHOLDER_TAG) && !image.ends_with(PLACEHOLDER_TAG);
            let hint = if gap { " with the tag you mean" } else { "" };
            Some(format!("write \"{guess}\"{hint}"))
        }
    }
}
