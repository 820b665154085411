//! Who pulls: the AWS identity behind a token.

use std::fmt::{self, Write};

use sha2::{Digest, Sha256};

use super::spec::{Role, TokenLife};

/// The AWS identity that a token is made with, hence part of every token's cache key: two identities never share a
/// token, even for one registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Identity {
    /// The controller's own base credentials, from the SDK's default chain.
    Controller,
    /// A role that the controller assumes.
    Role(RoleIdentity),
}

/// A role, and all that makes a session of it another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleIdentity {
    arn: Box<str>,
    external_id: Option<Box<str>>,
    token_life: TokenLife,
    fingerprint: Box<str>,
}

impl RoleIdentity {
    /// The identity behind a role that a policy names.
    pub fn new(role: &Role) -> Self {
        let mut hash = Sha256::new();
        hash.update(&role.arn);
        hash.update([0]);
        hash.update(role.external_id.as_deref().unwrap_or_default());
        let digest = hash.finalize();
        let mark = digest[..8].iter().fold(String::new(), |mut mark, byte| {
            // Writing to a String cannot fail.
            let _ = write!(mark, "{byte:02x}");
            mark
        });
        Self {
            fingerprint: format!("{}#{mark}", role.arn).into(),
            arn: role.arn.as_str().into(),
            external_id: role.external_id.as_deref().map(Box::from),
            token_life: role.token_life,
        }
    }

    /// As [`Identity::fingerprint`].
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The role's ARN.
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// The external id that its trust policy asks for.
    pub fn external_id(&self) -> Option<&str> {
        self.external_id.as_deref()
    }

    /// How long its tokens are taken to live.
    pub fn token_life(&self) -> TokenLife {
        self.token_life
    }
}

impl Identity {
    /// What a Secret's state records of the identity that wrote an entry: stable over restarts and versions, and free
    /// of anything secret.
    pub fn fingerprint(&self) -> &str {
        match self {
            Self::Controller => "controller",
            Self::Role(role) => role.fingerprint(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Controller => f.write_str("the controller's own AWS identity"),
            Self::Role(role) => write!(f, "role {}", role.arn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_tells_sessions_apart_and_hides_the_external_id() {
        let role = |external_id: Option<&str>| {
            RoleIdentity::new(&Role {
                arn: "arn:aws:iam::123456789012:role/ecr".to_owned(),
                external_id: external_id.map(str::to_owned),
                token_life: TokenLife::Full,
            })
        };
        let (one, two) = (role(Some("tenant-a")), role(Some("tenant-b")));
        assert_ne!(one.fingerprint(), two.fingerprint());
        assert!(!one.fingerprint().contains("tenant-a"));
        insta::assert_snapshot!(role(None).fingerprint(), @"arn:aws:iam::123456789012:role/ecr#1d0d5b75c5a2bbf3");
    }
}
