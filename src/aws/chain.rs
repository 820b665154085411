//! The SDK's default chain of credential providers, as often as credentials are needed.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, ConfigLoader, Region};
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, future};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::http::SharedHttpClient;

use super::http;
use super::settings::{AwsSettings, SetupError};
use super::time::SdkTime;
use crate::clock::Clock;

/// To connect, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For one attempt; leaves time for the second within [`AwsSettings::mint_timeout`].
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2500);
/// One retry, for what is over at once. The cache in front does the rest.
const ATTEMPTS_MAX: u32 = 2;
const RETRY_PAUSE: Duration = Duration::from_millis(100);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);

/// What every client and every credential provider of the SDK is built with.
#[derive(Clone, Debug)]
pub(super) struct Basis {
    http: SharedHttpClient,
    clock: Clock,
    fallback_region: String,
}

impl Basis {
    /// Reads the CA bundle and the machine's certificates; no network.
    pub(super) async fn new(settings: &AwsSettings, clock: &Clock) -> Result<Self, SetupError> {
        Ok(Self {
            http: http::client(settings).await?,
            clock: clock.clone(),
            fallback_region: settings.fallback_region.clone(),
        })
    }

    /// A loader of the SDK's configuration, in which the credentials are still open.
    pub(super) async fn loader(&self) -> ConfigLoader {
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(self.http.clone())
            .time_source(SdkTime(self.clock.clone()))
            .sleep_impl(TokioSleep::new())
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(ATTEMPTS_MAX)
                    .with_initial_backoff(RETRY_PAUSE)
                    .with_max_backoff(RETRY_PAUSE_MAX),
            )
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .operation_attempt_timeout(ATTEMPT_TIMEOUT)
                    .build(),
            )
            .region(self.home_region().await);
        match AppName::new(env!("CARGO_PKG_NAME")) {
            Ok(name) => loader.app_name(name),
            Err(_) => loader,
        }
    }

    /// Where STS is asked for base credentials: as the SDK finds it, but without instance metadata, which takes seconds
    /// where there is none, and with a fallback, for registries name their own region and nobody need set one.
    async fn home_region(&self) -> Option<Region> {
        RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new())
            .or_else(Region::new(self.fallback_region.clone()))
            .region()
            .await
    }
}

/// The default chain: environment, profile, web identity (IRSA), container (EKS Pod Identity, ECS), instance metadata. It
/// is built anew for each load, because the SDK's own reads a profile's file once and never again: keys in a mounted
/// Secret would rotate unseen.
#[derive(Debug)]
pub(super) struct DefaultChain(pub(super) Basis);

impl DefaultChain {
    async fn load(&self) -> provider::Result {
        let sdk = self.0.loader().await.load().await;
        // The loader always sets a provider.
        let provider = sdk.credentials_provider();
        let provider = provider.ok_or_else(CredentialsError::not_loaded_no_source)?;
        provider.provide_credentials().await
    }
}

impl ProvideCredentials for DefaultChain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}
