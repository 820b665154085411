//! The grammar of image references: exactly that of distribution/reference v0.6.0 `ParseNormalizedNamed`, which
//! containerd and the kubelet use, oddities included. Refusing an oddity is a matter of policy, not of grammar.
//!
//! ```text
//! reference  = name [ ":" tag ] [ "@" digest ]
//! name       = [ domain "/" ] path
//! domain     = host [ ":" digits ]          host: DNS labels of letters, digits, hyphens; or "[" IPv6 "]"
//! path       = component { "/" component }
//! component  = alnum { separator alnum }    alnum: lower-case letters, digits; separator: "." "_" "__" or hyphens
//! tag        = word { word | "." | "-" }    at most 128
//! digest     = algorithm ":" hex
//! ```

use std::borrow::Cow;
use std::fmt;

use super::grammar::{
    has_uppercase, is_all_lower_hex, is_component, is_digest_shaped, is_domain, is_identifier,
    is_path, is_tag, lower_case,
};
use super::split_once_at;

/// The longest path, in bytes; the domain does not count.
const PATH_BYTES_MAX: usize = 255;
/// The domain of a name that has none.
const DEFAULT_DOMAIN: &str = "docker.io";
/// What Docker Hub was called once; means the same.
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
/// Where the official images of Docker Hub are.
const OFFICIAL_PREFIX: &str = "library/";

/// A well-formed reference, borrowed from its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reference<'a> {
    domain: &'a str,
    /// The path without the `library/` that normalisation puts in front when `official`.
    repository: &'a str,
    official: bool,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

/// Why a text is no reference, in the distinctions of distribution/reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The text is an image identifier.
    #[error("64 hexadecimal digits are an image's identifier, not its name")]
    Identifier,
    /// The repository has an upper-case letter.
    #[error("the repository must be in lower case")]
    UppercaseRepository,
    /// The text does not have the form of a reference.
    #[error("it does not have the form registry/repository:tag")]
    InvalidFormat,
    /// The path is longer than 255 bytes.
    #[error("the repository has more than {PATH_BYTES_MAX} characters")]
    PathTooLong,
    /// The digest's algorithm is none of sha256, sha384 and sha512.
    #[error("the digest's algorithm is none of sha256, sha384 and sha512")]
    UnsupportedDigest,
    /// The digest has an upper-case letter.
    #[error("the digest must be in lower case")]
    InvalidDigest,
    /// The digest has too few or too many digits for its algorithm.
    #[error("the digest has the wrong length for its algorithm")]
    InvalidDigestLength,
}

impl<'a> Reference<'a> {
    /// Reads and normalises a reference: `nginx` is `docker.io/library/nginx`.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        if is_identifier(text) {
            return Err(ParseError::Identifier);
        }
        let (domain, remainder) = split_domain(text);
        match Parts::split(domain, remainder) {
            // What has a path and no digest has no upper-case letter before its first colon: most need no second look.
            Some(parts) if parts.digest.is_none() => parts.check(text),
            Some(parts) if !has_uppercase(before_colon(remainder)) => parts.check(text),
            None if !has_uppercase(before_colon(remainder))
                && !is_well_formed_in_lower_case(domain, remainder) =>
            {
                Err(ParseError::InvalidFormat)
            }
            _ => Err(ParseError::UppercaseRepository),
        }
    }

    /// Reads what stands behind `registry` and a slash. The registry must be a host with a dot, known to be well-formed.
    /// `None` when it is no reference; [`Self::parse`] says why.
    pub(crate) fn in_registry(registry: &'a str, behind: &'a str) -> Option<Self> {
        let parts = Parts::of_remainder(registry, behind)?;
        let odd = parts.digest.is_some() && has_uppercase(before_colon(behind));
        // The whole text is asked for only where the registry is no domain.
        (!odd).then(|| parts.check("").ok())?
    }

    /// The registry's host, perhaps with a port; empty for an oddity such as `foo_ba.c/m`, whose first part is no host
    /// and hence part of the path.
    pub fn domain(&self) -> &'a str {
        self.domain
    }

    /// The repository's path, normalised. Allocates only where `library/` has to be put in front.
    pub fn path(&self) -> Cow<'a, str> {
        if self.official {
            Cow::Owned(format!("{OFFICIAL_PREFIX}{}", self.repository))
        } else {
            Cow::Borrowed(self.repository)
        }
    }

    /// The tag.
    pub fn tag(&self) -> Option<&'a str> {
        self.tag
    }

    /// The digest, `algorithm:hex`.
    pub fn digest(&self) -> Option<&'a str> {
        self.digest
    }
}

/// The normalised text.
impl fmt::Display for Reference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.domain.is_empty() {
            write!(f, "{}/", self.domain)?;
        }
        if self.official {
            f.write_str(OFFICIAL_PREFIX)?;
        }
        f.write_str(self.repository)?;
        if let Some(tag) = self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Tells the domain from the rest by looks alone; neither is checked yet.
/// Source: `splitDockerDomain` in normalize.go.
fn split_domain(text: &str) -> (&str, &str) {
    match split_once_at(text, b'/') {
        Some((LEGACY_DEFAULT_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost"
                || first.bytes().any(|b| matches!(b, b'.' | b':'))
                || has_uppercase(first) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    }
}

/// What distribution/reference takes for the repository when it looks for upper-case letters: with a digest and no tag,
/// that includes the digest's algorithm.
fn before_colon(remainder: &str) -> &str {
    split_once_at(remainder, b':').map_or(remainder, |(name, _)| name)
}

/// What the separators make of a reference whose parts have the right alphabet. Lengths and digest are not checked.
struct Parts<'a> {
    /// Empty when the first part is no host.
    domain: &'a str,
    /// Everything behind the domain, up to tag and digest.
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn split(domain: &'a str, remainder: &'a str) -> Option<Self> {
        let parts = Self::of_remainder(domain, remainder)?;
        if is_domain(domain) {
            Some(parts)
        } else if is_component(domain) {
            Some(Self {
                domain: "",
                ..parts
            })
        } else {
            None
        }
    }

    /// The same for a domain that needs no check.
    fn of_remainder(domain: &'a str, remainder: &'a str) -> Option<Self> {
        // Neither path nor tag can hold an @, and the path no colon: no choice is left.
        let (named, digest) = match split_once_at(remainder, b'@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (remainder, None),
        };
        let (path, tag) = match split_once_at(named, b':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (named, None),
        };
        let well_formed =
            is_path(path) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest_shaped);
        well_formed.then_some(Self {
            domain,
            path,
            tag,
            digest,
        })
    }

    fn check(self, text: &'a str) -> Result<Reference<'a>, ParseError> {
        let official = self.domain == DEFAULT_DOMAIN && !self.path.contains('/');
        let repository = if self.domain.is_empty() {
            let path_at = text.find('/').map_or(0, |slash| slash + 1);
            &text[..path_at + self.path.len()]
        } else {
            self.path
        };
        let added = if official { OFFICIAL_PREFIX.len() } else { 0 };
        if repository.len() + added > PATH_BYTES_MAX {
            return Err(ParseError::PathTooLong);
        }
        self.digest.map_or(Ok(()), check_digest)?;
        Ok(Reference {
            domain: self.domain,
            repository,
            official,
            tag: self.tag,
            digest: self.digest,
        })
    }
}

/// Whether only the case of a letter stands between the text and a reference.
/// Source: `Parse` in reference.go, which matches once more in lower case.
fn is_well_formed_in_lower_case(domain: &str, remainder: &str) -> bool {
    let lower = |text: &str| text.chars().map(lower_case).collect::<String>();
    Parts::split(&lower(domain), &lower(remainder)).is_some()
}

/// Checks a digest that has the outer form.
/// Source: `Validate` in digest.go and algorithm.go of go-digest v1.0.0, with the three algorithms that the kubelet
/// registers.
fn check_digest(text: &str) -> Result<(), ParseError> {
    let (algorithm, hex) = split_once_at(text, b':').unwrap_or((text, ""));
    let digits = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        other if has_uppercase(other) => return Err(ParseError::InvalidDigest),
        _ => return Err(ParseError::UnsupportedDigest),
    };
    if hex.len() != digits {
        return Err(ParseError::InvalidDigestLength);
    }
    if is_all_lower_hex(hex) {
        Ok(())
    } else {
        Err(ParseError::InvalidDigest)
    }
}
