//! Guesses what was meant.

use super::judge::judge_in_full;
use super::shown::Shown;
use super::{Policy, Rule};
use crate::image::ecr::{EcrHost, Host, Partition, SUFFIXES, Suffix, is_account};
use crate::image::lookalike::{registry_text, scheme_len, without_port};
use crate::image::reference::Reference;

/// What stands for a tag that is missing.
pub(super) const PLACEHOLDER_TAG: &str = ":tag";
/// The longest correction that is worth showing: the longest host, path, tag and digest.
const CORRECTED_BYTES_MAX: usize = 800;

/// The reference that was meant, when it can be guessed. It is one that the policy accepts; a missing tag is the word
/// `tag`.
pub(super) fn corrected(policy: &Policy, image: &str) -> Option<String> {
    let image = image.trim();
    if image.len() > CORRECTED_BYTES_MAX {
        return None;
    }
    let image = &image[scheme_len(image).unwrap_or(0)..];
    let (registry, rest) = image.split_once('/')?;
    let registry = registry.rsplit_once('@').map_or(registry, |(_, host)| host);
    let host = guess_host(&without_port(registry).to_ascii_lowercase())?;
    let name_end = rest.find([':', '@']).unwrap_or(rest.len());
    let (path, version) = rest.split_at(name_end);
    let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut guess = format!("{host}/{}", path.join("/").to_ascii_lowercase());
    match version.split_once('@') {
        Some((tag, digest)) => {
            guess.push_str(if tag == ":" { "" } else { tag });
            guess.push('@');
            guess.push_str(&digest.to_ascii_lowercase());
        }
        None => guess.push_str(if version == ":" { "" } else { version }),
    }
    let needs_tag = Reference::parse(&guess)
        .is_ok_and(|guess| guess.tag().is_none() && guess.digest().is_none());
    if needs_tag {
        guess.push_str(PLACEHOLDER_TAG);
    }
    accepted(policy, guess)
}

/// An image in the registry that was named without a repository: the words `repository` and `tag` fill the gaps.
pub(super) fn with_repository(policy: &Policy, image: &str) -> Option<String> {
    let host = registry_text(image).split([':', '@']).next()?;
    let host = guess_host(&host.to_ascii_lowercase())?;
    accepted(policy, format!("{host}/repository{PLACEHOLDER_TAG}"))
}

/// Only what the policy accepts is advice.
fn accepted(policy: &Policy, guess: String) -> Option<String> {
    let judged = judge_in_full(policy, &guess);
    let is_ecr = matches!(judged.registry, Host::Private(_) | Host::Public(_));
    let is_good = matches!(judged.broken, None | Some(Rule::UnknownRegion));
    (is_ecr && is_good).then_some(guess)
}

/// The exact ECR host that a lower-case host without a port was meant to be.
pub(super) fn guess_host(host: &str) -> Option<String> {
    if matches!(Host::classify(host), Host::Private(_) | Host::Public(_)) {
        return Some(host.to_owned());
    }
    let anatomy = Anatomy::of(host)?;
    if !is_account(anatomy.account) {
        return None;
    }
    let region = anatomy.region.replace('_', "-");
    let suffix = match Partition::of_region(&region) {
        Some(partition) => {
            Suffix::of(partition, anatomy.is_dual_stack()).or_else(|| Suffix::of(partition, false))
        }
        None => SUFFIXES.iter().find(|suffix| suffix.name == anatomy.tail),
    }?;
    let guess = format!(
        "{}.{}{}.{region}.{}",
        anatomy.account,
        spelling(suffix.dual_stack),
        if anatomy.fips { "-fips" } else { "" },
        suffix.name
    );
    EcrHost::parse(&guess).is_some().then_some(guess)
}

const fn spelling(dual_stack: bool) -> &'static str {
    if dual_stack { "dkr-ecr" } else { "dkr.ecr" }
}

/// What a host that looks like ECR has where an ECR host has its parts.
struct Anatomy<'a> {
    account: &'a str,
    mark: &'a str,
    fips: bool,
    /// Everything behind the mark: region and tail.
    behind: &'a str,
    region: &'a str,
    tail: &'a str,
}

impl<'a> Anatomy<'a> {
    fn of(host: &'a str) -> Option<Self> {
        let (at, mark) = ["dkr.ecr", "dkr-ecr", "dkr_ecr", "ecr"]
            .into_iter()
            .find_map(|mark| host.find(mark).map(|at| (at, mark)))?;
        let (before, after) = (&host[..at], &host[at + mark.len()..]);
        let (fips, after) = match after.strip_prefix("-fips") {
            Some(after) => (true, after),
            None => (false, after),
        };
        let behind = after.strip_prefix('.').unwrap_or(after);
        let (region, tail) = behind.split_once('.').unwrap_or((behind, ""));
        Some(Self {
            account: before.strip_suffix('.').unwrap_or(before),
            mark: &host[at..at + mark.len()],
            fips,
            behind,
            region,
            tail,
        })
    }

    fn is_dual_stack(&self) -> bool {
        self.tail == "on" || self.tail.starts_with("on.")
    }
}

/// What keeps a lower-case host that looks like ECR from being it.
pub(super) fn flaw(host: &str) -> String {
    let Some(anatomy) = Anatomy::of(host) else {
        return "no ECR registry has such a name".to_owned();
    };
    let account = anatomy.account;
    if !is_account(account) {
        return if account.is_empty() {
            "it has no account ID".to_owned()
        } else if account.bytes().all(|b| b.is_ascii_digit()) {
            format!("its account ID has {} digits instead of 12", account.len())
        } else {
            format!(
                "it has {} where the account ID of 12 digits belongs",
                Shown(account)
            )
        };
    }
    flaw_behind_account(&anatomy)
}

fn flaw_behind_account(anatomy: &Anatomy<'_>) -> String {
    let is_suffix = |tail: &str| SUFFIXES.iter().any(|suffix| suffix.name == tail);
    let spelling = spelling(anatomy.is_dual_stack());
    let suffix = Partition::of_region(anatomy.region)
        .and_then(|partition| Suffix::of(partition, anatomy.is_dual_stack()));
    match suffix {
        _ if is_suffix(anatomy.behind) => "it has no region".to_owned(),
        _ if anatomy.tail.is_empty() => "it ends behind the region".to_owned(),
        Some(suffix) if suffix.name != anatomy.tail => format!(
            "registries in {} end in {:?}, not in {}",
            Shown(anatomy.region),
            suffix.name,
            Shown(anatomy.tail)
        ),
        _ if !is_suffix(anatomy.tail) => {
            format!("no ECR registry is known to end in {}", Shown(anatomy.tail))
        }
        _ if anatomy.mark != spelling => {
            format!("it has {:?} where {spelling:?} belongs", anatomy.mark)
        }
        _ => format!("{} is no region", Shown(anatomy.region)),
    }
}
