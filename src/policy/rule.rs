//! The rules about image references, and what breaking one looks like.

use std::fmt;

use super::Action;

/// A rule about an image reference. Ids are stable: they are SARIF rule ids and values of a metrics label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// A tag, a digest or both must be named.
    FullReference,
    /// The host must be written exactly as credentials name it.
    HostForm,
    /// A host that looks like ECR must be ECR.
    LookalikeHost,
    /// A reference to ECR must be well-formed.
    MalformedReference,
    /// Region and host must be of one partition.
    ForeignRegion,
    /// The region should be one that this version knows.
    UnknownRegion,
    /// The account must be an allowed one.
    AccountNotAllowed,
    /// The region must be an allowed one.
    RegionNotAllowed,
    /// A registry alone is no image.
    MissingRepository,
    /// A private ECR image must be granted to the namespace.
    NotGranted,
    /// A tag must be named.
    TagRequired,
    /// The tag must not be one that moves.
    MutableTag,
    /// A digest must be named.
    DigestRequired,
    /// The image must be a listed one.
    ImageNotAllowed,
    /// The image must be on ECR.
    NotEcr,
}

impl Rule {
    /// Every rule, in the order in which documentation lists them.
    pub const ALL: [Self; 15] = [
        Self::FullReference,
        Self::HostForm,
        Self::LookalikeHost,
        Self::MalformedReference,
        Self::ForeignRegion,
        Self::UnknownRegion,
        Self::AccountNotAllowed,
        Self::RegionNotAllowed,
        Self::MissingRepository,
        Self::NotGranted,
        Self::TagRequired,
        Self::MutableTag,
        Self::DigestRequired,
        Self::ImageNotAllowed,
        Self::NotEcr,
    ];

    /// The stable id, in kebab-case.
    pub const fn id(self) -> &'static str {
        match self {
            Self::FullReference => "full-reference",
            Self::HostForm => "host-form",
            Self::LookalikeHost => "lookalike-host",
            Self::MalformedReference => "malformed-reference",
            Self::ForeignRegion => "foreign-region",
            Self::UnknownRegion => "unknown-region",
            Self::AccountNotAllowed => "account-not-allowed",
            Self::RegionNotAllowed => "region-not-allowed",
            Self::MissingRepository => "missing-repository",
            Self::NotGranted => "granted",
            Self::TagRequired => "tag-required",
            Self::MutableTag => "mutable-tag",
            Self::DigestRequired => "digest-required",
            Self::ImageNotAllowed => "image-not-allowed",
            Self::NotEcr => "only-ecr",
        }
    }

    /// What the rule demands and why, in a sentence or two.
    pub const fn help(self) -> &'static str {
        match self {
            Self::FullReference => {
                "An ECR image must name a tag, a digest or both; without either the kubelet pulls whatever is tagged \
                 latest at that moment."
            }
            Self::HostForm => {
                "An ECR host must be written in lower case and without a port, because credentials are matched \
                 exactly: any other form is pulled without them and fails."
            }
            Self::LookalikeHost => {
                "A registry host that looks like ECR must be a real ECR host. A company's own mirror with such a \
                 name is listed in trustedHosts."
            }
            Self::MalformedReference => {
                "An image that names an ECR host must be a well-formed reference, as containerd and the kubelet \
                 read it."
            }
            Self::ForeignRegion => {
                "The region must belong to the AWS partition of the host's suffix; no registry answers under any \
                 other combination."
            }
            Self::UnknownRegion => {
                "The region is none that this version knows. AWS opens regions every year, so this is a warning \
                 only; it may be a typing error."
            }
            Self::AccountNotAllowed => "The registry's AWS account must be one of allowedAccounts.",
            Self::RegionNotAllowed => "The registry's region must be one of allowedRegions.",
            Self::MissingRepository => {
                "An ECR image must name a repository behind the registry host."
            }
            Self::NotGranted => {
                "A private ECR image must be one that a policy grants to the namespace, once any policy grants it \
                 something."
            }
            Self::TagRequired => "An ECR image must name a tag, where a policy demands it.",
            Self::MutableTag => {
                "An ECR image must not be known by a tag that moves, such as latest, where a policy forbids it; a \
                 digest beside the tag settles it."
            }
            Self::DigestRequired => "An ECR image must name a digest, where a policy demands it.",
            Self::ImageNotAllowed => "Every image must be one of a policy's allowedImages.",
            Self::NotEcr => {
                "Every image must be on Amazon ECR or among the exceptions, where a policy demands it."
            }
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// One image that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule that it breaks.
    pub rule: Rule,
    /// What the policy does about it.
    pub action: Action,
    /// One sentence about the image, without a final stop: what is wrong and, where it can be guessed, the corrected
    /// reference. Free of control characters and bounded in length; the caller says which container it is.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::Rule;

    #[test]
    fn ids_never_change() {
        assert_eq!(
            Rule::ALL.map(Rule::id),
            [
                "full-reference",
                "host-form",
                "lookalike-host",
                "malformed-reference",
                "foreign-region",
                "unknown-region",
                "account-not-allowed",
                "region-not-allowed",
                "missing-repository",
                "granted",
                "tag-required",
                "mutable-tag",
                "digest-required",
                "image-not-allowed",
                "only-ecr",
            ]
        );
    }
}
