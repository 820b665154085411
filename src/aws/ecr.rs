//! Mints tokens: `ecr:GetAuthorizationToken`, in the registry's region.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::Region;
use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_ecr::Client;
use aws_sdk_ecr::config::retry::RetryPartition;
use aws_sdk_ecr::operation::get_authorization_token::GetAuthorizationTokenOutput;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeSerializationInterceptorContextRef,
};
use aws_smithy_runtime_api::client::orchestrator::SensitiveOutput;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use aws_smithy_types::date_time::{DateTime, Format};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use jiff::Timestamp;
use tokio::time::Instant;

use super::TokenLife;
use super::answer;
use super::chain::{Basis, DefaultChain};
use super::credentials::SharedCredentials;
use super::ecr_failure::{self, CallError, Place};
use super::failure;
use super::role::Roles;
use super::role_failure::{self, Refused};
use super::settings::{AwsSettings, SetupError};
use crate::clock::Clock;
use crate::policy::spec;
use crate::policy::{Identity, RoleIdentity};
use crate::token::{MintError, Token, TokenKey, TokenSource};

/// Of how many regions it is remembered that their tokens' expiry cannot be believed.
const DOUBTED_REGIONS_MAX: usize = 64;

/// Tokens from Amazon ECR. One SDK client for all regions: the region is given anew with each call, so nothing is
/// kept for a region that a user invented.
#[derive(Debug)]
pub struct EcrTokenSource {
    client: Client,
    roles: Roles,
    credentials: SharedCredentials,
    clock: Clock,
    life: TokenLife,
    mint_timeout: Duration,
    /// The role that a web identity assumes, for messages.
    role: Option<String>,
    /// Regions that were warned about, so that each is only once.
    doubted: Mutex<HashSet<Arc<str>>>,
}

impl EcrTokenSource {
    /// With credentials of the SDK's default chain: environment, profile, web identity (IRSA), container (EKS Pod
    /// Identity, ECS), instance metadata. Reads files, but asks no network: see [`EcrTokenSource::warm_up`].
    pub async fn load(settings: &AwsSettings, clock: &Clock) -> Result<Self, SetupError> {
        let basis = Basis::new(settings, clock).await?;
        let chain = SharedCredentialsProvider::new(DefaultChain(basis.clone()));
        Ok(Self::build(settings, clock, &basis, chain).await)
    }

    /// With the credentials of `provider`, which is asked seldom: what it gives is cached.
    pub async fn with_credentials(
        settings: &AwsSettings,
        clock: &Clock,
        provider: impl ProvideCredentials + 'static,
    ) -> Result<Self, SetupError> {
        let basis = Basis::new(settings, clock).await?;
        let provider = SharedCredentialsProvider::new(provider);
        Ok(Self::build(settings, clock, &basis, provider).await)
    }

    async fn build(
        settings: &AwsSettings,
        clock: &Clock,
        basis: &Basis,
        provider: SharedCredentialsProvider,
    ) -> Self {
        let loader = basis.loader().await;
        let sdk = loader.credentials_provider(provider.clone()).load().await;
        let mut config = aws_sdk_ecr::config::Builder::from(&sdk);
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Self {
            client: Client::from_conf(config.build()),
            roles: Roles::new(&sdk, settings),
            credentials: SharedCredentials::new(provider, clock.clone()),
            clock: clock.clone(),
            life: settings.token_life,
            mint_timeout: settings.mint_timeout,
            role: settings.role.clone(),
            doubted: Mutex::default(),
        }
    }

    /// Loads the credentials, so that the first admission need not wait for STS or instance metadata. An error is
    /// worth a log line, no more: the next mint tries again.
    pub async fn warm_up(&self) -> Result<(), MintError> {
        match self.credentials.get().await {
            Ok(_) => Ok(()),
            Err(error) => Err(failure::credentials(&error, self.role.as_deref())),
        }
    }

    async fn mint_with_base_credentials(&self, key: &TokenKey) -> Result<Token, MintError> {
        let deadline = self.clock.monotonic() + self.mint_timeout;
        let base = self.by(deadline, self.base()).await?;
        let minted = self.mint_with(key, &base, deadline).await;
        minted.map_err(|refused| self.blame(&base, refused))
    }

    /// A token that is made in a new session of a role, and when that session ends.
    ///
    /// # Errors
    /// As [`TokenSource::mint`].
    pub async fn mint_in_session(
        &self,
        key: &TokenKey,
        role: &RoleIdentity,
    ) -> Result<(Token, Option<Timestamp>), MintError> {
        let deadline = self.clock.monotonic() + self.mint_timeout;
        let base = self.by(deadline, self.base()).await?;
        // Large, and only on this way.
        let session = self.roles.assume(&base, role, deadline).boxed().await;
        let session = session.map_err(|refused| self.blame(&base, refused))?;
        let minted = self.mint_with(key, &session.credentials, deadline).await;
        let mut token = minted.map_err(|refused| role_failure::named(&refused.error, role))?;
        if role.token_life() == spec::TokenLife::Session
            && let Some(end) = session.ends_at
        {
            token.expires_at = token.expires_at.min(end);
        }
        Ok((token, session.ends_at))
    }

    /// Has base credentials loaded anew that AWS has refused.
    fn blame(&self, base: &Credentials, refused: Refused) -> MintError {
        if refused.blames_credentials {
            self.credentials.refused(base);
        }
        refused.error
    }

    async fn base(&self) -> Result<Credentials, MintError> {
        let loaded = self.credentials.get().await;
        loaded.map_err(|error| failure::credentials(&error, self.role.as_deref()))
    }

    async fn by<T>(
        &self,
        deadline: Instant,
        credentials: impl Future<Output = Result<T, MintError>>,
    ) -> Result<T, MintError> {
        let loaded = tokio::time::timeout_at(deadline, credentials).await;
        loaded.unwrap_or_else(|_| Err(failure::slow_credentials(self.mint_timeout)))
    }

    async fn mint_with(
        &self,
        key: &TokenKey,
        credentials: &Credentials,
        deadline: Instant,
    ) -> Result<Token, Refused> {
        let date = DateHeader::default();
        let call = self.call(key, credentials.clone(), date.clone());
        let place = |date: &DateHeader| Place {
            region: &key.region,
            clock_ahead: date.get().map(|aws| self.clock.now().duration_since(aws)),
        };
        let output = match tokio::time::timeout_at(deadline, call).await {
            Err(_) => return Err(ecr_failure::slow(&place(&date)).into()),
            Ok(Err(error)) => {
                return Err(Refused {
                    blames_credentials: ecr_failure::blames_credentials(&error),
                    error: ecr_failure::explain(&error, &place(&date)),
                });
            }
            Ok(Ok(output)) => output,
        };
        let issued_at = date.get().unwrap_or_else(|| self.clock.now());
        let answer = answer::read(output, issued_at, self.life)
            .map_err(|malformed| ecr_failure::malformed(malformed, &place(&date)))?;
        if answer.expiry_assumed {
            self.warn_of_expiry(&key.region);
        }
        Ok(answer.token)
    }

    async fn call(
        &self,
        key: &TokenKey,
        credentials: Credentials,
        date: DateHeader,
    ) -> Result<GetAuthorizationTokenOutput, CallError> {
        let this_call = aws_sdk_ecr::Config::builder()
            .region(Region::new(key.region.to_string()))
            .credentials_provider(credentials)
            // The SDK's own retry quotas are global, one a region, and never dropped: regions come from users.
            .retry_partition(RetryPartition::custom("one call").build());
        self.client
            .get_authorization_token()
            .customize()
            .interceptor(date)
            .config_override(this_call)
            .send()
            .await
    }

    fn warn_of_expiry(&self, region: &Arc<str>) {
        let mut doubted = self.doubted.lock().unwrap_or_else(PoisonError::into_inner);
        if doubted.len() < DOUBTED_REGIONS_MAX && doubted.insert(Arc::clone(region)) {
            tracing::warn!(
                %region,
                assumed_life_seconds = self.life.when_past.as_secs(),
                "ECR's answer has no expiry or one that is past; the token is taken to live for a fixed time"
            );
        }
    }
}

impl TokenSource for EcrTokenSource {
    fn mint<'a>(&'a self, key: &'a TokenKey) -> BoxFuture<'a, Result<Token, MintError>> {
        match &key.identity {
            Identity::Controller => self.mint_with_base_credentials(key).boxed(),
            Identity::Role(role) => {
                let minted = self.mint_in_session(key, role);
                minted.map_ok(|(token, _)| token).boxed()
            }
        }
    }
}

/// AWS's clock, from the last response to one call.
#[derive(Clone, Debug, Default)]
struct DateHeader(Arc<Mutex<Option<Timestamp>>>);

impl DateHeader {
    fn get(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for DateHeader {
    fn name(&self) -> &'static str {
        "DateHeader"
    }

    fn read_before_serialization(
        &self,
        _context: &BeforeSerializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // ECR's model does not mark the token as sensitive, so the SDK would trace the response's body.
        bag.interceptor_state().store_put(SensitiveOutput);
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let header = context.response().headers().get("date");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = header
            .and_then(|date| DateTime::from_str(date, Format::HttpDate).ok())
            .and_then(|date| Timestamp::from_second(date.secs()).ok());
        Ok(())
    }
}
