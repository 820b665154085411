//! What may be pulled, and with whose identity.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::role::Role;

/// The most registries or regions of one grant.
pub(in crate::policy) const MOST_REGISTRIES: usize = 32;
/// The most repositories of one grant.
pub(in crate::policy) const MOST_REPOSITORIES: usize = 16;

/// `*`, an account id, or a host of the one form that ECR has.
pub(super) const REGISTRY_PATTERN: &str = concat!(
    r"^(\*|[0-9]{12}|([0-9]{12}|\*)\.dkr(",
    r"\.ecr(-fips)?\.[a-z0-9*]([a-z0-9*-]{0,61}[a-z0-9*])?\.(amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|c2s\.ic\.gov|sc2s\.sgov\.gov|",
    r"cloud\.adc-e\.uk|csp\.hci\.ic\.gov)|",
    r"-ecr(-fips)?\.[a-z0-9*]([a-z0-9*-]{0,61}[a-z0-9*])?\.(on\.aws|on\.amazonwebservices\.com\.cn)))$"
);
pub(super) const REGION_PATTERN: &str = r"^[a-z]{2,5}(-[a-z]+){1,2}-[0-9]{1,2}$";
/// Segments in which `*` stands for any run of characters; `**` as the last one for everything below.
pub(super) const REPOSITORY_PATTERN: &str = concat!(
    r"^((\*|\*?[a-z0-9._-]+(\*[a-z0-9._-]+)*\*?)/)*",
    r"(\*\*|\*|\*?[a-z0-9._-]+(\*[a-z0-9._-]+)*\*?)$"
);
/// Of two grants with different identities on one registry, none may name exactly the repository that is the other's
/// folder.
pub(super) const NO_EXACT_BESIDE_FOLDER: &str = "self.all(a, self.all(b, \
    (has(a.role) ? a.role.arn : '') == (has(b.role) ? b.role.arn : '') || \
    a.credentials == 'Skip' || b.credentials == 'Skip' || \
    !a.registries.exists(r, r in b.registries) || \
    a.repositories.all(r, r.contains('*') || b.repositories.all(s, !s.startsWith(r + '/')))))";

/// Two grants with different identities on one registry need folders of their own: a folder is what comes before the
/// first star, up to its last slash.
pub(super) const ONE_IDENTITY_A_FOLDER: &str = "self.all(a, self.all(b, \
    (has(a.role) ? a.role.arn : '') == (has(b.role) ? b.role.arn : '') || \
    a.credentials == 'Skip' || b.credentials == 'Skip' || \
    !a.registries.exists(r, r in b.registries) || \
    a.repositories.all(r, b.repositories.all(s, r.find('^[^*]*/') != s.find('^[^*]*/')))))";

/// One role of one policy is one identity: CEL, here and in the rules above, tells identities apart by their roles' ARNs.
pub(super) const ONE_SESSION_A_ROLE: &str = "self.all(a, self.all(b, \
    !has(a.role) || !has(b.role) || a.role.arn != b.role.arn || a.role == b.role))";

/// In AWS's patterns a star reaches across slashes.
const SCOPE_OF_WHOLE_FOLDERS: &str = "!has(self.role) || self.role.scope != 'Repositories' || \
    self.repositories.all(r, r.matches('^[^*]*([*][*])?$'))";

/// What surely does not fit into a session policy; the exact limit is one of characters, which `compile` counts.
const SCOPE_OF_LIMITED_SIZE: &str = "!has(self.role) || self.role.scope != 'Repositories' || \
    size(self.registries) * size(self.repositories) <= 58";

/// The hosts whose region cannot be theirs: each suffix has regions of its own.
const NO_FOREIGN_REGION: &str = "self.all(r, !r.contains('.dkr') || r.matches('[.]dkr[.-]ecr(-fips)?[.][^.]*[*]') || \
    (r.endsWith('.cn') == r.matches('ecr(-fips)?[.]cn-') && \
    r.endsWith('.eu') == r.matches('ecr(-fips)?[.]eusc-') && \
    (r.endsWith('.ic.gov') || r.endsWith('.sgov.gov') || r.endsWith('.uk')) == \
    r.matches('ecr(-fips)?[.](us-iso|us-isob|us-isof|eu-isoe)-')))";

/// The hosts of another partition than the role's.
const OWN_PARTITION: &str = "!has(self.role) || self.registries.all(r, !r.contains('.dkr') || \
    (r.endsWith('.cn') == self.role.arn.startsWith('arn:aws-cn:') && \
    r.endsWith('.eu') == self.role.arn.startsWith('arn:aws-eusc:') && \
    (r.endsWith('.ic.gov') || r.endsWith('.sgov.gov') || r.endsWith('.uk')) == \
    self.role.arn.startsWith('arn:aws-iso')))";

/// What may be pulled, and with whose identity.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("!has(self.role) || self.credentials != 'Skip'")
    .message("credentials: Skip means that the nodes pull by themselves, so no role can be given"))]
#[x_kube(validation = Rule::new(OWN_PARTITION)
    .message("a role can pull from registries of its own AWS partition only"))]
#[x_kube(validation = Rule::new(
    "!has(self.role) || self.repositories.all(r, !r.startsWith('v1/') && !r.startsWith('v2/'))")
    .message("a role cannot be given for repositories under v1/ or v2/: the kubelet takes these for API versions"))]
#[x_kube(validation = Rule::new(SCOPE_OF_WHOLE_FOLDERS)
    .message("scope: Repositories takes names, and folders that end in /**: in AWS any other star would reach below a slash"))]
#[x_kube(validation = Rule::new(SCOPE_OF_LIMITED_SIZE)
    .message("scope: Repositories takes fewer registries and repositories: a session policy has at most 2048 characters"))]
pub struct Grant {
    /// The registries: account ids of 12 digits, or hosts such as 123456789012.dkr.ecr.eu-west-1.amazonaws.com, in which
    /// `*` may stand for the account and for any run of characters in the region; or `*` for every private registry.
    #[schemars(
        length(min = 1, max = MOST_REGISTRIES),
        inner(length(max = 100), regex(pattern = REGISTRY_PATTERN))
    )]
    #[x_kube(validation = Rule::new(NO_FOREIGN_REGION)
        .message("no registry has such a host: its region belongs to another AWS partition than its suffix"))]
    pub registries: Vec<String>,

    /// The regions that this is limited to; without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = MOST_REGISTRIES),
        inner(length(max = 40), regex(pattern = REGION_PATTERN))
    )]
    pub regions: Option<Vec<String>>,

    /// The repositories: paths in which `*` stands for any run of characters within one segment, and `**` as the last
    /// segment for everything below.
    #[serde(default = "every_repository")]
    #[schemars(
        length(min = 1, max = MOST_REPOSITORIES),
        inner(length(max = 256), regex(pattern = REPOSITORY_PATTERN))
    )]
    pub repositories: Vec<String>,

    /// Whether the pull Secret gets a credential for them.
    #[serde(default)]
    pub credentials: Credentials,

    /// The AWS role that pulls; without it, the identity of ecr-admission itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

fn every_repository() -> Vec<String> {
    vec!["**".to_owned()]
}

/// Whether the pull Secret gets a credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credentials {
    /// A credential is put into the pull Secret.
    #[default]
    Provide,
    /// None: the nodes can pull by themselves (instance profile, Fargate role).
    Skip,
}

schema_of_words!(
    Credentials,
    "Credentials",
    ["Provide", "Skip"],
    "Provide puts a credential into the pull Secret; Skip does not, for what the nodes pull by themselves (instance profile, Fargate Pod execution role)."
);
