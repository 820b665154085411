//! What a policy lets its namespaces pull.

use std::sync::Arc;

use super::{Faults, Path, role, syntax};
use crate::image::ecr::{EcrHost, Partition, is_account};
use crate::policy::identity::{Identity, RoleIdentity};
use crate::policy::pattern::{Registry, Repository};
use crate::policy::spec::{self, Credentials, MOST_REGISTRIES, MOST_REPOSITORIES};

/// An account of nobody, where a pattern leaves it open.
const ANY_ACCOUNT: &str = "000000000000";

/// One grant: registries, repositories in them, and who pulls.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::policy) struct Grant {
    pub(in crate::policy) registries: Vec<Registry>,
    /// Empty for all.
    pub(in crate::policy) regions: Vec<String>,
    pub(in crate::policy) repositories: Vec<Repository>,
    pub(in crate::policy) source: Source,
}

/// Where the credential of a grant comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Source {
    /// The controller's own identity.
    Controller,
    /// A role that it assumes.
    Role(RoleIdentity),
    /// The nodes pull by themselves.
    Nodes,
}

impl Source {
    /// Whose tokens it gives; `None` where the nodes pull by themselves.
    pub(in crate::policy) fn identity(&self) -> Option<Identity> {
        match self {
            Self::Nodes => None,
            Self::Controller => Some(Identity::Controller),
            Self::Role(role) => Some(Identity::Role(role.clone())),
        }
    }
}

impl Grant {
    pub(in crate::policy) fn covers_registry(&self, host: &EcrHost<'_>) -> bool {
        let mut registries = self.registries.iter();
        (self.regions.is_empty() || self.regions.iter().any(|region| region == host.region))
            && registries.any(|registry| registry.matches(host))
    }

    /// Whether some registry may be meant by both.
    pub(in crate::policy) fn overlaps(&self, other: &Self) -> bool {
        let apart = !self.regions.is_empty()
            && !other.regions.is_empty()
            && !self
                .regions
                .iter()
                .any(|region| other.regions.contains(region));
        let mut registries = self.registries.iter();
        !apart && registries.any(|one| other.registries.iter().any(|two| one.overlaps(two)))
    }
}

/// Compiles the grants of the policy of this name.
pub(super) fn compile(
    policy: &str,
    given: &[spec::Grant],
    at: &Path,
    faults: &mut Faults,
) -> Vec<Arc<Grant>> {
    let mut grants = Vec::with_capacity(given.len());
    for (index, grant) in given.iter().enumerate() {
        check(grant, &at.item(index), faults);
        let source = match (&grant.role, grant.credentials) {
            (Some(role), Credentials::Provide) => Source::Role(role::identity(role, policy, given)),
            (None, Credentials::Provide) => Source::Controller,
            (_, Credentials::Skip) => Source::Nodes,
        };
        grants.push(Arc::new(compile_one(grant, source)));
    }
    role::check_all(given, at, faults);
    check_keys(&grants, at, faults);
    grants
}

fn check(grant: &spec::Grant, at: &Path, faults: &mut Faults) {
    faults.list(
        &grant.registries,
        1,
        MOST_REGISTRIES,
        &at.field("registries"),
        registry_fault,
    );
    if let Some(regions) = &grant.regions {
        faults.list(
            regions,
            1,
            MOST_REGISTRIES,
            &at.field("regions"),
            region_fault,
        );
    }
    faults.list(
        &grant.repositories,
        1,
        MOST_REPOSITORIES,
        &at.field("repositories"),
        |text| {
            (!syntax::is_repository_pattern(text)).then(|| {
                "is no repository: use lower-case letters, digits and . _ - between slashes, * within a segment, ** as \
                 the last one"
                    .to_owned()
            })
        },
    );
    if let Some(role) = &grant.role {
        role::check(grant, role, at, faults);
    }
}

fn compile_one(grant: &spec::Grant, source: Source) -> Grant {
    Grant {
        registries: grant
            .registries
            .iter()
            .map(|text| Registry::new(text))
            .collect(),
        regions: grant.regions.clone().unwrap_or_default(),
        repositories: grant
            .repositories
            .iter()
            .map(|text| Repository::new(text))
            .collect(),
        source,
    }
}

pub(super) fn with_any_account(registry: &str) -> Option<String> {
    let (account, rest) = registry.split_once('.')?;
    let account = if account == "*" { ANY_ACCOUNT } else { account };
    is_account(account).then(|| format!("{account}.{rest}"))
}

fn registry_fault(text: &str) -> Option<String> {
    if text == "*" || is_account(text) {
        return None;
    }
    let general = || {
        Some(
            "is no private ECR registry: write an account id of 12 digits, or a lower-case host such as \
             123456789012.dkr.ecr.eu-west-1.amazonaws.com, in which * may stand for the account and in the region"
                .to_owned(),
        )
    };
    let Some(host) = with_any_account(text) else {
        return general();
    };
    // In `dkr.ecr.REGION` and `dkr-ecr.REGION`.
    let mut parts: Vec<&str> = host.split('.').collect();
    let at = if parts[1].starts_with("dkr-") { 2 } else { 3 };
    if let Some(region) = parts.get_mut(at).filter(|region| region.contains('*')) {
        *region = "x";
        let fits = EcrHost::parse(&parts.join(".")).is_some();
        return if fits { None } else { general() };
    }
    match crate::image::ecr::Host::classify(&host) {
        crate::image::ecr::Host::Private(private) if own_region(&private) => None,
        crate::image::ecr::Host::Private(_) | crate::image::ecr::Host::ForeignRegion(_) => Some(
            "is no registry's host: its region belongs to another AWS partition than its suffix"
                .to_owned(),
        ),
        _ => general(),
    }
}

/// Whether a region is named as its partition names regions, known or not.
fn own_region(host: &EcrHost<'_>) -> bool {
    let prefix = match host.partition {
        Partition::Aws | Partition::AwsUsGov => return true,
        Partition::AwsCn => "cn-",
        Partition::AwsEusc => "eusc-",
        Partition::AwsIso => "us-iso-",
        Partition::AwsIsoB => "us-isob-",
        Partition::AwsIsoE => "eu-isoe-",
        Partition::AwsIsoF => "us-isof-",
    };
    host.region.starts_with(prefix)
}

fn region_fault(text: &str) -> Option<String> {
    (!syntax::is_region(text)).then(|| "is no AWS region, such as eu-west-1".to_owned())
}

/// The kubelet finds credentials by host and path prefix: what no such key can tell apart cannot have two identities.
fn check_keys(grants: &[Arc<Grant>], at: &Path, faults: &mut Faults) {
    for (i, one) in grants.iter().enumerate() {
        for (j, two) in grants.iter().enumerate() {
            let apart = one.source == two.source
                || one.source == Source::Nodes
                || two.source == Source::Nodes
                || !one.overlaps(two);
            if apart {
                continue;
            }
            let at = at.item(i).field("repositories");
            for (repository, other) in pairs(one, two) {
                if repository.is_exact() && is_folder_of(repository, other) {
                    faults.add(&at, format!(
                        "{:?} cannot have another identity than {:?} in grants[{j}]: the kubelet has no key for exactly \
                         one repository that leaves out the folder of that name",
                        repository.text(), other.text()
                    ));
                }
                if i < j && repository.folder() == other.folder() {
                    faults.add(&at, format!(
                        "{:?} cannot have another identity than {:?} in grants[{j}]: the kubelet finds both by one \
                         key, {}; give one of them a folder of its own",
                        repository.text(), other.text(), key_name(repository.folder())
                    ));
                }
            }
        }
    }
}

fn pairs<'a>(
    one: &'a Grant,
    two: &'a Grant,
) -> impl Iterator<Item = (&'a Repository, &'a Repository)> {
    let repositories = one.repositories.iter();
    repositories.flat_map(|one| two.repositories.iter().map(move |two| (one, two)))
}

fn is_folder_of(exact: &Repository, other: &Repository) -> bool {
    let below = other.text().strip_prefix(exact.text());
    below.is_some_and(|below| below.starts_with('/'))
}

fn key_name(folder: &str) -> String {
    if folder.is_empty() {
        "that of the registry".to_owned()
    } else {
        format!("that of the folder {folder:?}")
    }
}
