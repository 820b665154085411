//! The AWS role that pulls, and how its sessions are made.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

pub(super) const ROLE_ARN_PATTERN: &str = concat!(
    r"^arn:(aws|aws-us-gov|aws-cn|aws-eusc|aws-iso|aws-iso-b|aws-iso-e|aws-iso-f):iam::[0-9]{12}:role/",
    r"([!-~]{1,510}/)?[A-Za-z0-9+=,.@_-]{1,64}$"
);
pub(super) const EXTERNAL_ID_PATTERN: &str = r"^[A-Za-z0-9+=,.@:/_-]+$";

/// An AWS role that is assumed to make tokens.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Role {
    /// The role's ARN, such as `arn:aws:iam::123456789012:role/ecr-team-a`.
    #[schemars(length(max = 640), regex(pattern = ROLE_ARN_PATTERN))]
    pub arn: String,

    /// The external id that the role's trust policy asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224), regex(pattern = EXTERNAL_ID_PATTERN))]
    pub external_id: Option<String>,

    /// How long a token is taken to live: as long as ECR says, or no longer than the role's session.
    #[serde(default)]
    pub token_life: TokenLife,

    /// Whether sessions carry the tags `ecr-admission-cluster` (the setting cluster-name, where there is one) and
    /// `ecr-admission-policy` (this policy's name). The role's trust policy must then allow sts:TagSession.
    #[serde(default)]
    pub session_tags: bool,

    /// Whether sessions may do all that the role may, or only pull what this policy grants with it.
    #[serde(default)]
    pub scope: Scope,
}

/// How long a token of an assumed role is taken to live.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub enum TokenLife {
    /// As long as ECR says, twelve hours.
    #[default]
    Full,
    /// No longer than the session of the role that made it.
    Session,
}

schema_of_words!(
    TokenLife,
    "TokenLife",
    ["Full", "Session"],
    "Full believes ECR that the token lives for twelve hours; Session counts it as dead when the role's session ends, for accounts in which that turns out to be so (`ecr-admission verify token-life` tells)."
);

/// What a session of a role may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// All that the role may.
    #[default]
    Role,
    /// No more than pull the repositories that the policy grants with this role.
    Repositories,
}

schema_of_words!(
    Scope,
    "Scope",
    ["Role", "Repositories"],
    "Role leaves sessions all that the role may do; Repositories limits them, by a session policy, to pulling what this policy grants with the role. Whether ECR holds a token to that is not documented: `ecr-admission verify scope` tells."
);
