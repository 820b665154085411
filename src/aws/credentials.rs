//! Base credentials: one cache under all calls to AWS, so that no region and no role loads its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use jiff::Timestamp;
use tokio::time::Instant;

use crate::clock::{self, Clock};

/// Credentials are loaded anew this long before they expire.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_mins(5);
/// Credentials without an expiry (keys in a file or a variable) are read again after this long: a file may change.
const RENEW_UNDATED: Duration = Duration::from_mins(15);
/// A load goes on in the background when the call that wanted it has given up; this ends it.
const LOAD_TIMEOUT: Duration = Duration::from_secs(15);

/// What loading gave, shared by all who waited for it.
pub(super) type Loaded = Result<Credentials, Arc<CredentialsError>>;

/// A provider with a cache: one load at a time, whoever asks; credentials that have not expired outlive a provider
/// that fails.
#[derive(Clone, Debug)]
pub(super) struct SharedCredentials(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    provider: SharedCredentialsProvider,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cached: Option<Cached>,
    loading: Option<Shared<BoxFuture<'static, Loaded>>>,
}

#[derive(Debug)]
struct Cached {
    credentials: Credentials,
    loaded_at: Instant,
}

impl SharedCredentials {
    pub(super) fn new(provider: SharedCredentialsProvider, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            provider,
            clock,
            state: Mutex::default(),
        }))
    }

    /// Credentials that are good for minutes. Dropping the future does not stop a load that others, or the next call,
    /// can use.
    pub(super) async fn get(&self) -> Loaded {
        let loading = {
            let mut state = self.0.lock();
            if let Some(cached) = &state.cached
                && self.0.is_fresh(cached)
            {
                return Ok(cached.credentials.clone());
            }
            match &state.loading {
                Some(running) if running.peek().is_none() => running.clone(),
                _ => state.loading.insert(self.start()).clone(),
            }
        };
        loading.await
    }

    /// Forgets credentials that AWS has refused, so that the next call loads new ones.
    pub(super) fn refused(&self, credentials: &Credentials) {
        let mut state = self.0.lock();
        state.cached.take_if(|cached| {
            cached.credentials.access_key_id() == credentials.access_key_id()
                && cached.credentials.session_token() == credentials.session_token()
        });
    }

    fn start(&self) -> Shared<BoxFuture<'static, Loaded>> {
        let inner = Arc::clone(&self.0);
        let load = tokio::spawn(async move { inner.load().await });
        let outcome = async move {
            load.await
                .unwrap_or_else(|died| Err(Arc::new(CredentialsError::unhandled(died))))
        };
        outcome.boxed().shared()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self) -> Loaded {
        let asked = tokio::time::timeout(LOAD_TIMEOUT, self.provider.provide_credentials()).await;
        let outcome =
            asked.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(LOAD_TIMEOUT)));
        let mut state = self.lock();
        state.loading = None;
        match outcome {
            Ok(credentials) => {
                state.cached = Some(Cached {
                    credentials: credentials.clone(),
                    loaded_at: self.clock.monotonic(),
                });
                Ok(credentials)
            }
            Err(error) => {
                let unexpired = state.cached.as_ref().filter(|cached| {
                    expiry(&cached.credentials).is_some_and(|at| at > self.clock.now())
                });
                let Some(cached) = unexpired else {
                    return Err(Arc::new(error));
                };
                tracing::warn!(
                    %error,
                    "AWS credentials cannot be renewed; those at hand have not expired and stay in use"
                );
                Ok(cached.credentials.clone())
            }
        }
    }

    fn is_fresh(&self, cached: &Cached) -> bool {
        match expiry(&cached.credentials) {
            Some(at) => at > clock::add(self.clock.now(), RENEW_BEFORE_EXPIRY),
            None => self.clock.monotonic() < cached.loaded_at + RENEW_UNDATED,
        }
    }
}

fn expiry(credentials: &Credentials) -> Option<Timestamp> {
    credentials
        .expiry()
        .and_then(|at| Timestamp::try_from(at).ok())
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use aws_credential_types::provider::future;
    use jiff::SignedDuration;

    use super::*;

    const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

    /// Gives what it was told to, in order, after a second each.
    #[derive(Debug, Default)]
    struct Script(Mutex<VecDeque<Option<Credentials>>>);

    impl ProvideCredentials for Script {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::new(async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let next = self.0.lock().unwrap().pop_front();
                next.flatten()
                    .ok_or_else(|| CredentialsError::not_loaded("the script has ended"))
            })
        }
    }

    fn key(id: &str, expires_in: Option<SignedDuration>) -> Credentials {
        let expiry = expires_in.map(|by| (START + by).into());
        Credentials::new(id, "secret", None, expiry, "test")
    }

    fn scripted(script: impl IntoIterator<Item = Option<Credentials>>) -> SharedCredentials {
        let script = Script(Mutex::new(script.into_iter().collect()));
        SharedCredentials::new(
            SharedCredentialsProvider::new(script),
            Clock::simulated(START, 1),
        )
    }

    async fn id(credentials: &SharedCredentials) -> String {
        match credentials.get().await {
            Ok(loaded) => loaded.access_key_id().to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_at_once_share_one_load_that_outlives_its_callers() {
        let credentials = scripted([Some(key("a", None))]);
        let gave_up = tokio::time::timeout(Duration::from_millis(10), credentials.get()).await;
        assert!(gave_up.is_err());
        let asked = futures_util::future::join_all((0..100).map(|_| id(&credentials))).await;
        assert!(asked.iter().all(|id| id == "a"));
    }

    #[tokio::test(start_paused = true)]
    async fn dated_credentials_are_renewed_before_they_expire_and_serve_until_then() {
        let hour = Some(SignedDuration::from_hours(1));
        let credentials = scripted([Some(key("a", hour)), None, Some(key("b", None))]);
        assert_eq!(id(&credentials).await, "a");
        tokio::time::advance(Duration::from_mins(54)).await;
        assert_eq!(id(&credentials).await, "a");
        tokio::time::advance(Duration::from_mins(2)).await;
        assert_eq!(
            id(&credentials).await,
            "a",
            "the provider failed, the old ones live"
        );
        assert_eq!(id(&credentials).await, "b");
    }

    #[tokio::test(start_paused = true)]
    async fn undated_or_refused_credentials_are_read_again() {
        let credentials = scripted(["a", "b", "c"].map(|id| Some(key(id, None))));
        assert_eq!(id(&credentials).await, "a");
        tokio::time::advance(RENEW_UNDATED).await;
        assert_eq!(id(&credentials).await, "b");
        let [other, used] = ["a", "b"].map(|id| key(id, None));
        credentials.refused(&other);
        assert_eq!(id(&credentials).await, "b");
        credentials.refused(&used);
        assert_eq!(id(&credentials).await, "c");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_load_is_tried_again_by_the_next_call() {
        let credentials = scripted([None, Some(key("a", None))]);
        assert_eq!(
            id(&credentials).await,
            "the credential provider was not enabled"
        );
        assert_eq!(id(&credentials).await, "a");
    }
}
