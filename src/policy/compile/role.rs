//! The roles of a policy's grants.

use super::scope::{self, LONGEST_DOCUMENT};
use super::{Faults, Path, syntax};
use crate::image::ecr::{EcrHost, Partition};
use crate::policy::identity::RoleIdentity;
use crate::policy::spec::{self, Credentials, Scope};

/// The identity that a policy pulls with when it grants this role. All grants of the policy with one role make one
/// identity, whose sessions, where that is wanted, are limited to all that these grants cover.
pub(super) fn identity(role: &spec::Role, policy: &str, grants: &[spec::Grant]) -> RoleIdentity {
    let document = (role.scope == Scope::Repositories).then(|| document(role, grants));
    RoleIdentity::new(role, policy, document.as_deref())
}

fn document(role: &spec::Role, grants: &[spec::Grant]) -> String {
    let with_it = grants.iter().filter(|grant| has_role(grant, &role.arn));
    scope::document(&role.arn, with_it)
}

fn has_role(grant: &spec::Grant, arn: &str) -> bool {
    grant.role.as_ref().is_some_and(|role| role.arn == arn)
}

/// Checks what concerns several grants with one role.
pub(super) fn check_all(grants: &[spec::Grant], at: &Path, faults: &mut Faults) {
    for (index, grant) in grants.iter().enumerate() {
        let Some(role) = &grant.role else {
            continue;
        };
        let mut before = grants[..index].iter();
        let earlier = before.position(|earlier| has_role(earlier, &role.arn));
        let at = at.item(index).field("role");
        match earlier {
            Some(first) if grants[first].role.as_ref() != Some(role) => faults.add(
                &at,
                format!(
                    "is not that of grants[{first}]: a policy that grants one role twice must say the same of it each \
                     time, but for the repositories"
                ),
            ),
            None if role.scope == Scope::Repositories => {
                let characters = document(role, grants).len();
                if characters > LONGEST_DOCUMENT {
                    faults.add(&at.field("scope"), format!(
                        "the session policy for these repositories has {characters} characters, and AWS takes \
                         {LONGEST_DOCUMENT}: grant folders (team/**) in place of single repositories, or fewer registries \
                         and regions"
                    ));
                }
            }
            _ => {}
        }
    }
}

/// Checks one grant's role.
pub(super) fn check(grant: &spec::Grant, role: &spec::Role, at: &Path, faults: &mut Faults) {
    let of_role = at.field("role");
    if !syntax::is_role_arn(&role.arn) {
        let message = format!(
            "{:?} is no role's ARN, such as arn:aws:iam::123456789012:role/ecr-team-a",
            role.arn
        );
        faults.add(&of_role.field("arn"), message);
    }
    if let Some(id) = &role.external_id
        && !syntax::is_external_id(id)
    {
        // An external id is no secret, but nobody's business in a log either.
        faults.add(
            &of_role.field("externalId"),
            "must have 2 to 1224 letters, digits and + = , . @ : / _ -",
        );
    }
    if grant.credentials == Credentials::Skip {
        faults.add(
            at,
            "credentials: Skip means that the nodes pull by themselves, so no role can be given",
        );
    }
    if has_foreign_registry(grant, role) {
        faults.add(
            at,
            "a role can pull from registries of its own AWS partition only",
        );
    }
    let looks_like_version = |text: &String| text.starts_with("v1/") || text.starts_with("v2/");
    if grant.repositories.iter().any(looks_like_version) {
        faults.add(
            at,
            "a role cannot be given for repositories under v1/ or v2/: the kubelet takes these for API versions",
        );
    }
    if role.scope == Scope::Repositories {
        let repositories = at.field("repositories");
        for (index, text) in grant.repositories.iter().enumerate() {
            if let Some(fault) = scope::repository_fault(text) {
                faults.add(&repositories.item(index), format!("{text:?} {fault}"));
            }
        }
    }
}

fn has_foreign_registry(grant: &spec::Grant, role: &spec::Role) -> bool {
    let Some((own, _)) = syntax::partition_of_role(&role.arn) else {
        return false;
    };
    // GovCloud shares its suffixes with the commercial partition.
    let same = |theirs: Partition| {
        own == theirs.name() || (theirs == Partition::Aws && own == "aws-us-gov")
    };
    let mut registries = grant.registries.iter();
    registries.any(|registry| partition_of(registry).is_some_and(|theirs| !same(theirs)))
}

/// The partition of a host pattern's suffix; of a region that is written out, the region's.
fn partition_of(registry: &str) -> Option<Partition> {
    let host = super::grants::with_any_account(registry)?.replace('*', "x");
    EcrHost::parse(&host).map(|host| host.partition)
}
