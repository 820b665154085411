//! Sessions of roles, with which the tokens of tenants are made.

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;

use super::failure;
use crate::policy::RoleIdentity;
use crate::token::MintError;

/// What CloudTrail calls our sessions.
const SESSION_NAME: &str = "ecr-admission";

/// A new session of a role, assumed with `base`. Never one that was kept: a token starts with a whole session, because
/// nobody knows whether ECR honours it after the session's end.
pub(super) async fn assume(
    sdk: &SdkConfig,
    base: Credentials,
    role: &RoleIdentity,
) -> Result<Credentials, MintError> {
    let mut builder = AssumeRoleProvider::builder(role.arn())
        .configure(sdk)
        .session_name(SESSION_NAME);
    if let Some(id) = role.external_id() {
        builder = builder.external_id(id);
    }
    let provider = builder.build_from_provider(base).await;
    let session = provider.provide_credentials().await;
    session.map_err(|error| failure::role(&error, role.arn()))
}
