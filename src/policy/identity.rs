//! Who pulls: the AWS identity behind a token.

use std::cmp::Ordering;
use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::session::{self, CLUSTER_TAG, POLICY_TAG};
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

/// A role, and all that makes a session of it another one: external id, tags, session policy. The session's name is not
/// part of it: policies that say the same of a role share a token, whose session bears the name of the first of them.
#[derive(Clone, Debug)]
pub struct RoleIdentity {
    session: Arc<Session>,
    session_name: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Session {
    arn: Box<str>,
    external_id: Option<Box<str>>,
    token_life: TokenLife,
    tags: Option<Tags>,
    policy: Option<Box<str>>,
    fingerprint: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Tags {
    cluster: Box<str>,
    policy: Box<str>,
}

impl RoleIdentity {
    /// The identity behind a role that a policy of this name grants, with the session policy that limits it, if any; in
    /// a cluster without a name.
    pub fn new(role: &Role, policy: &str, session_policy: Option<&str>) -> Self {
        let tags = role.session_tags.then(|| Tags {
            cluster: Box::default(),
            policy: policy.into(),
        });
        let session = Session {
            fingerprint: Box::default(),
            arn: role.arn.as_str().into(),
            external_id: role.external_id.as_deref().map(Box::from),
            token_life: role.token_life,
            tags,
            policy: session_policy.map(Box::from),
        };
        Self {
            session: Arc::new(session.marked()),
            session_name: session::name("", policy).into(),
        }
    }

    /// The same in a cluster of this name, which tags tell.
    pub(super) fn in_cluster(&self, cluster: &str) -> Self {
        let mut session = Session::clone(&self.session);
        if let Some(tags) = &mut session.tags {
            tags.cluster = cluster.into();
        }
        Self {
            session: Arc::new(session.marked()),
            session_name: Arc::clone(&self.session_name),
        }
    }

    /// The same, called after a policy in a cluster.
    pub(super) fn named(&self, cluster: &str, policy: &str) -> Self {
        Self {
            session: Arc::clone(&self.session),
            session_name: session::name(cluster, policy).into(),
        }
    }

    /// As [`Identity::fingerprint`].
    pub fn fingerprint(&self) -> &str {
        &self.session.fingerprint
    }

    /// The role's ARN.
    pub fn arn(&self) -> &str {
        &self.session.arn
    }

    /// The external id that its trust policy asks for.
    pub fn external_id(&self) -> Option<&str> {
        self.session.external_id.as_deref()
    }

    /// How long its tokens are taken to live.
    pub fn token_life(&self) -> TokenLife {
        self.session.token_life
    }

    /// What its sessions are called.
    pub fn session_name(&self) -> &str {
        &self.session_name
    }

    /// What its sessions are tagged with: keys and values.
    pub fn session_tags(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let tags = self.session.tags.iter();
        let pairs =
            tags.flat_map(|tags| [(CLUSTER_TAG, &*tags.cluster), (POLICY_TAG, &*tags.policy)]);
        // A cluster without a name has no such tag.
        pairs.filter(|(_, value)| !value.is_empty())
    }

    /// The session policy that limits its sessions, as JSON.
    pub fn session_policy(&self) -> Option<&str> {
        self.session.policy.as_deref()
    }
}

impl PartialEq for RoleIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.session == other.session
    }
}

impl Eq for RoleIdentity {}

impl Hash for RoleIdentity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.session.hash(state);
    }
}

impl PartialOrd for RoleIdentity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RoleIdentity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.session.cmp(&other.session)
    }
}

impl Session {
    /// With the fingerprint of what it is.
    fn marked(mut self) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.arn.as_bytes());
        hash.update([0]);
        hash.update(self.external_id.as_deref().unwrap_or_default().as_bytes());
        // Neither holds a NUL, and a session policy begins with a brace.
        if let Some(tags) = &self.tags {
            for part in [&tags.cluster, &tags.policy] {
                hash.update([0]);
                hash.update(part.as_bytes());
            }
        }
        if let Some(policy) = &self.policy {
            hash.update([0]);
            hash.update(policy.as_bytes());
        }
        let digest = hash.finalize();
        let mark = digest[..8].iter().fold(String::new(), |mut mark, byte| {
            // Writing to a String cannot fail.
            let _ = write!(mark, "{byte:02x}");
            mark
        });
        self.fingerprint = format!("{}#{mark}", self.arn).into();
        self
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
            Self::Role(role) => write!(f, "role {}", role.arn()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::policy::spec::Scope;

    fn role(external_id: Option<&str>, session_tags: bool) -> Role {
        Role {
            arn: "arn:aws:iam::123456789012:role/ecr".to_owned(),
            external_id: external_id.map(str::to_owned),
            token_life: TokenLife::Full,
            session_tags,
            scope: Scope::Role,
        }
    }

    #[test]
    fn the_fingerprint_tells_sessions_apart_and_hides_the_external_id() {
        let plain = |id| RoleIdentity::new(&role(id, false), "p", None);
        let tagged = |policy| RoleIdentity::new(&role(None, true), policy, None);
        let limited = |document| RoleIdentity::new(&role(None, false), "p", Some(document));
        let all = [
            plain(None),
            plain(Some("tenant-a")),
            plain(Some("tenant-b")),
            tagged("one"),
            tagged("two"),
            tagged("one").in_cluster("c"),
            limited("{}"),
            limited("{1}"),
        ];
        let marks: HashSet<&str> = all.iter().map(RoleIdentity::fingerprint).collect();
        assert_eq!(marks.len(), all.len());
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert!(marks.iter().all(|mark| !mark.contains("tenant-a")));
        insta::assert_snapshot!(plain(None).fingerprint(), @"arn:aws:iam::123456789012:role/ecr#1d0d5b75c5a2bbf3");
    }

    #[test]
    fn a_sessions_name_makes_no_other_identity_and_an_untagged_one_knows_no_cluster() {
        let identity = RoleIdentity::new(&role(None, false), "one", None);
        let elsewhere = identity.in_cluster("prod").named("prod", "two");
        assert_eq!(identity, elsewhere);
        assert_eq!(identity.fingerprint(), elsewhere.fingerprint());
        assert_eq!(elsewhere.session_name(), "ecr-admission@prod,two");
        assert_eq!(elsewhere.session_tags().count(), 0);
    }

    #[test]
    fn tags_say_cluster_and_policy_and_nothing_empty() {
        let identity = RoleIdentity::new(&role(None, true), "one", None);
        let tags = |identity: &RoleIdentity| -> Vec<String> {
            let tags = identity.session_tags();
            tags.map(|(key, value)| format!("{key}={value}")).collect()
        };
        assert_eq!(tags(&identity), ["ecr-admission-policy=one"]);
        assert_eq!(
            tags(&identity.in_cluster("prod")),
            ["ecr-admission-cluster=prod", "ecr-admission-policy=one"]
        );
    }
}
