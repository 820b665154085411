//! ECR authorization tokens: what one is, and where they come from.

mod cache;
mod metrics;
mod pace;
mod slot;

use std::fmt;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use crate::image::ecr::Partition;
use crate::policy::Identity;
pub use crate::pull_secret::docker_config::USERNAME;
pub use cache::TokenCache;
pub use metrics::Metrics;
pub use slot::Urgency;

/// What a token is good for. One token serves every registry (account) of a region that its identity may pull from,
/// and never one of another region, so this triple is the cache key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenKey {
    /// Who pulls.
    pub identity: Identity,
    /// The partition that the region lies in.
    pub partition: Partition,
    /// The registry's region, such as `eu-west-1`.
    pub region: Arc<str>,
}

/// An ECR authorization token. `Debug` never shows the password.
#[derive(Clone)]
pub struct Token {
    password: SecretString,
    /// When AWS made it, by AWS's clock.
    pub issued_at: Timestamp,
    /// When it stops working, by AWS's clock.
    pub expires_at: Timestamp,
}

impl Token {
    /// A token that lives from `issued_at` to `expires_at`.
    pub fn new(password: SecretString, issued_at: Timestamp, expires_at: Timestamp) -> Self {
        Self {
            password,
            issued_at,
            expires_at,
        }
    }

    /// The password that goes with [`USERNAME`]. Only a Secret's `data` may hold it.
    pub fn password(&self) -> &str {
        self.password.expose_secret()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("password", &"[REDACTED]")
            .field("issued_at", &self.issued_at)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// Where tokens come from: AWS in `serve`, a double in tests and `demo`.
pub trait TokenSource: Send + Sync + 'static {
    /// Makes a new token. Does not cache, retry or limit: the cache in front does. An implementation bounds its own
    /// waiting (a connect and a read time-out).
    fn mint<'a>(&'a self, key: &'a TokenKey) -> BoxFuture<'a, Result<Token, MintError>>;
}

/// Why no token could be made. Its text is for people and free of secrets.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct MintError {
    /// What kind of failure; decides the back-off and labels the metric.
    pub kind: MintErrorKind,
    /// One sentence: what happened, where, and what to do.
    pub message: String,
}

/// The kinds of failure that call for different actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MintErrorKind {
    /// The credential chain found nothing.
    NoCredentials,
    /// Credentials were found but have expired.
    ExpiredCredentials,
    /// The identity may not call ecr:GetAuthorizationToken.
    Denied,
    /// AWS asked us to slow down.
    Throttled,
    /// No endpoint of that region exists or answers, or AWS does not know the region.
    UnknownRegion,
    /// No connection, or none that TLS accepts.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// AWS answered with a failure of its own, or something that is no token.
    Service,
}

impl MintErrorKind {
    /// The value of the `result` label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::ExpiredCredentials => "expired_credentials",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::UnknownRegion => "unknown_region",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Service => "service_error",
        }
    }
}
