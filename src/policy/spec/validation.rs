//! Which images may run.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::grant::REGION_PATTERN;
use super::selector::NAME_PATTERN;
use crate::policy::Action;

/// The most patterns of one rule.
pub(in crate::policy) const MOST_PATTERNS: usize = 64;

/// A registry host (in which `*` stands for any run of characters within one part), a slash, and a repository pattern.
pub(super) const IMAGE_PATTERN: &str = concat!(
    r"^[a-z0-9*]([a-z0-9.*-]*[a-z0-9*])?(:[0-9]{1,5})?/",
    r"((\*|\*?[a-z0-9._-]+(\*[a-z0-9._-]+)*\*?)/)*",
    r"(\*\*|\*|\*?[a-z0-9._-]+(\*[a-z0-9._-]+)*\*?)$"
);
pub(super) const TAG_PATTERN: &str = r"^[A-Za-z0-9_*][A-Za-z0-9_.*-]{0,127}$";
pub(super) const SERVICE_ACCOUNT_PATTERN: &str = r"^[a-z0-9*]([-.a-z0-9*]{0,251}[a-z0-9*])?$";

/// Rules about images. A rule that is not given demands nothing.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new(
    "has(self.references) || has(self.tagRequired) || has(self.mutableTags) || has(self.digestRequired) || \
     has(self.allowedImages) || has(self.onlyEcr) || has(self.allowedAccounts) || has(self.allowedRegions) || \
     has(self.granted)")
    .message("validation must hold at least one rule"))]
pub struct Validation {
    /// The rules about ECR references themselves: full references, real hosts, no lookalikes. The settings of
    /// ecr-admission demand them already; a policy can only make them stricter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<Plain>,
    /// An ECR image must name a tag, with or without a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_required: Option<Plain>,
    /// An ECR image must not be known by a tag that moves, unless it names a digest too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutable_tags: Option<MutableTags>,
    /// An ECR image must name a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_required: Option<Plain>,
    /// Every image must be one of those listed, ECR or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_images: Option<AllowedImages>,
    /// Every image must be on ECR, private or public, but for those excepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_ecr: Option<OnlyEcr>,
    /// A private ECR image must be in one of these AWS accounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_accounts: Option<AllowedAccounts>,
    /// A private ECR image must be in one of these AWS regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_regions: Option<AllowedRegions>,
    /// What becomes of a private ECR image that no grant covers. It never gets a credential. Enforce, unless every
    /// policy with grants that selects the namespace says less here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Plain>,
}

/// A rule that has nothing to set but its action.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plain {
    /// What breaking it leads to; without it, the policy's own action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

/// Tags that move.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MutableTags {
    /// The tags, in which `*` stands for any run of characters.
    #[serde(default = "latest")]
    #[schemars(
        length(min = 1, max = MOST_PATTERNS),
        inner(length(max = 128), regex(pattern = TAG_PATTERN))
    )]
    pub tags: Vec<String>,
    /// What breaking the rule leads to; without it, the policy's own action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

fn latest() -> Vec<String> {
    vec!["latest".to_owned()]
}

/// The only images that may run.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedImages {
    /// Registry and repository, without tag, such as `registry.k8s.io/*` or
    /// `123456789012.dkr.ecr.*.amazonaws.com/base/**`: `*` stands for any run of characters within one part of the host or
    /// one segment of the path, `**` as the last segment for everything below. Images of Docker Hub are `docker.io/library/nginx` and `docker.io/grafana/grafana`.
    #[schemars(
        length(min = 1, max = MOST_PATTERNS),
        inner(length(max = 511), regex(pattern = IMAGE_PATTERN))
    )]
    pub images: Vec<String>,
    /// What breaking the rule leads to; without it, the policy's own action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

/// Every image on ECR.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OnlyEcr {
    /// Images elsewhere that are allowed all the same, written as under `allowedImages`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = MOST_PATTERNS),
        inner(length(max = 511), regex(pattern = IMAGE_PATTERN))
    )]
    pub except: Vec<String>,
    /// What breaking the rule leads to; without it, the policy's own action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

/// The only AWS accounts.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedAccounts {
    /// Account ids of 12 digits.
    #[schemars(
        length(min = 1, max = MOST_PATTERNS),
        inner(length(max = 12), regex(pattern = "^[0-9]{12}$"))
    )]
    pub accounts: Vec<String>,
    /// What breaking the rule leads to; without it, the policy's own action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

/// The only AWS regions.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedRegions {
    /// Regions such as `eu-west-1`.
    #[schemars(
        length(min = 1, max = MOST_PATTERNS),
        inner(length(max = 40), regex(pattern = REGION_PATTERN))
    )]
    pub regions: Vec<String>,
    /// What breaking the rule leads to; without it, the policy's own action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<Action>,
}

/// Images to which the rules of this policy do not apply: those for which all that is given holds.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.namespaces) || has(self.serviceAccounts) || has(self.images)")
    .message("an exemption must say for which namespaces, serviceAccounts or images"))]
pub struct Exemption {
    /// Names of namespaces, in which `*` stands for any run of characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = MOST_PATTERNS),
        inner(length(max = 63), regex(pattern = NAME_PATTERN))
    )]
    pub namespaces: Option<Vec<String>>,
    /// Names of the Pods' ServiceAccounts, in which `*` stands for any run of characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = MOST_PATTERNS),
        inner(length(max = 253), regex(pattern = SERVICE_ACCOUNT_PATTERN))
    )]
    pub service_accounts: Option<Vec<String>>,
    /// Images, written as under `allowedImages`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = MOST_PATTERNS),
        inner(length(max = 511), regex(pattern = IMAGE_PATTERN))
    )]
    pub images: Option<Vec<String>>,
    /// Why, for whoever reads the audit log.
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,
}
