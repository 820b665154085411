//! What `demo` has instead of a cluster and an AWS account.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use secrecy::SecretString;

use crate::clock::{Clock, add};
use crate::namespace::Namespace;
use crate::policy::PolicyVersion;
use crate::rulebook::{LiveReads, PolicyVersions};
use crate::secret::{PodImages, PodPage, StoreError};
use crate::token::{MintError, Token, TokenKey, TokenSource};

/// As long as a real one.
const LIFE: Duration = Duration::from_hours(12);
/// About as long as a real one, in hexadecimal digits.
const DIGITS: usize = 1_800;

/// Makes tokens of random digits that open nothing.
pub(super) struct BuiltInTokens(pub(super) Clock);

impl TokenSource for BuiltInTokens {
    fn mint<'a>(&'a self, _key: &'a TokenKey) -> BoxFuture<'a, Result<Token, MintError>> {
        let mut rng = fastrand::Rng::new();
        let digits = std::iter::repeat_with(|| rng.digit(16));
        let password: String = digits.take(DIGITS).collect();
        let now = self.0.now();
        let token = Token::new(SecretString::from(password), now, add(now, LIFE));
        ready(Ok(token)).boxed()
    }
}

/// The namespaces of the demo have no labels, and its policies are what they are.
pub(super) struct NoLabels;

impl LiveReads for NoLabels {
    fn namespace<'a>(&'a self, _name: &'a str) -> BoxFuture<'a, Result<Namespace, StoreError>> {
        ready(Ok(Namespace::default())).boxed()
    }

    fn policy<'a>(
        &'a self,
        _name: &'a str,
    ) -> BoxFuture<'a, Result<Option<PolicyVersion>, StoreError>> {
        ready(Ok(None)).boxed()
    }

    fn policies(&self) -> BoxFuture<'_, Result<Option<PolicyVersions>, StoreError>> {
        ready(Ok(None)).boxed()
    }
}

/// No Pod runs in the demo.
pub(super) struct NoPods;

impl PodImages for NoPods {
    fn images<'a>(&'a self, _namespace: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        ready(Ok(Vec::new())).boxed()
    }

    fn page<'a>(
        &'a self,
        _namespace: Option<&'a str>,
        _next: Option<&'a str>,
    ) -> BoxFuture<'a, Result<PodPage, StoreError>> {
        ready(Ok(PodPage::default())).boxed()
    }
}
