//! Sessions of roles, with which the tokens of tenants are made.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_sdk_sts::Client;
use aws_sdk_sts::config::retry::RetryPartition;
use aws_sdk_sts::error::BuildError;
use aws_sdk_sts::types::Tag;
use jiff::Timestamp;
use tokio::time::Instant;

use super::role_failure::{self, Refused};
use super::settings::AwsSettings;
use crate::policy::RoleIdentity;

/// STS, as far as sessions of roles need it.
#[derive(Debug)]
pub(super) struct Roles {
    client: Client,
    session_length: Option<Duration>,
}

/// A session of a role.
pub(super) struct Session {
    pub(super) credentials: Credentials,
    /// By AWS's clock.
    pub(super) ends_at: Option<Timestamp>,
}

impl Roles {
    pub(super) fn new(sdk: &SdkConfig, settings: &AwsSettings) -> Self {
        let mut config = aws_sdk_sts::config::Builder::from(sdk);
        if let Some(endpoint) = &settings.sts_endpoint {
            config = config.endpoint_url(endpoint);
        }
        Self {
            client: Client::from_conf(config.build()),
            session_length: settings.session_length,
        }
    }

    /// A new session of a role, assumed with `base`. Never one that was kept: a token starts with a whole session, because
    /// nobody knows whether ECR honours it after the session's end.
    pub(super) async fn assume(
        &self,
        base: &Credentials,
        role: &RoleIdentity,
        deadline: Instant,
    ) -> Result<Session, Refused> {
        let this_call = aws_sdk_sts::Config::builder()
            .credentials_provider(base.clone())
            // The SDK's own retry quota is one for all of STS: a role that is throttled would use up those of others.
            .retry_partition(RetryPartition::custom("one call").build());
        let seconds = self.session_length.map(|length| length.as_secs());
        let call = self
            .client
            .assume_role()
            .role_arn(role.arn())
            .role_session_name(role.session_name())
            .set_external_id(role.external_id().map(str::to_owned))
            .set_policy(role.session_policy().map(str::to_owned))
            .set_tags(tags(role).map_err(|odd| role_failure::unreadable(role, &odd))?)
            .set_duration_seconds(seconds.and_then(|seconds| i32::try_from(seconds).ok()))
            .customize()
            .config_override(this_call)
            .send();
        let answered = tokio::time::timeout_at(deadline, call).await;
        let answered = answered.map_err(|_| role_failure::slow(role))?;
        let output = answered.map_err(|error| role_failure::explain(&error, role))?;
        let given = output
            .credentials
            .ok_or_else(|| role_failure::empty(role))?;
        Ok(Session {
            ends_at: Timestamp::new(given.expiration.secs(), 0).ok(),
            credentials: Credentials::new(
                given.access_key_id,
                given.secret_access_key,
                Some(given.session_token),
                None,
                "AssumeRole",
            ),
        })
    }
}

/// None at all rather than an empty list, for which the role would have to allow sts:TagSession.
fn tags(role: &RoleIdentity) -> Result<Option<Vec<Tag>>, BuildError> {
    let tags = role
        .session_tags()
        .map(|(key, value)| Tag::builder().key(key).value(value).build());
    let tags: Vec<Tag> = tags.collect::<Result<_, _>>()?;
    Ok((!tags.is_empty()).then_some(tags))
}
