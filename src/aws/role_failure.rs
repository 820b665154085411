//! Why a role that a policy names could not be assumed, in a sentence that names the role and says whose turn it is.

use aws_sdk_sts::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::codes::{BAD_SIGNATURE, DENIED, EXPIRED, THROTTLED, UNKNOWN_KEY};
use super::failure::{error, quote};
use super::transport::{self, words};
use crate::policy::RoleIdentity;
use crate::token::{MintError, MintErrorKind as Kind};

/// What one call of AssumeRole ends with when it fails.
type CallError = SdkError<AssumeRoleError, HttpResponse>;

/// Why there is no session, or no token.
pub(super) struct Refused {
    pub(super) error: MintError,
    /// Whether AWS refused the credentials that the call was made with, so that others should be loaded.
    pub(super) blames_credentials: bool,
}

impl From<MintError> for Refused {
    fn from(error: MintError) -> Self {
        Self {
            error,
            blames_credentials: false,
        }
    }
}

/// STS did not answer in the mint's time.
pub(super) fn slow(role: &RoleIdentity) -> Refused {
    let message = format!(
        "role {}: STS did not answer in time: it is slow, or a firewall drops the packets; check the egress rules, and \
         set HTTPS_PROXY where a proxy is needed",
        role.arn()
    );
    error(Kind::TimedOut, message).into()
}

/// STS answered without credentials.
pub(super) fn empty(role: &RoleIdentity) -> Refused {
    let message = format!(
        "role {}: the answer of STS holds no credentials: check AWS_ENDPOINT_URL_STS and AWS_ENDPOINT_URL, if set",
        role.arn()
    );
    error(Kind::Service, message).into()
}

/// The call cannot be written.
pub(super) fn unreadable(role: &RoleIdentity, odd: &BuildError) -> Refused {
    error(Kind::Service, format!("role {}: {odd}", role.arn())).into()
}

/// The failure of ECR in a session of this role, by the role's name.
pub(super) fn named(failed: &MintError, role: &RoleIdentity) -> MintError {
    error(
        failed.kind,
        format!("role {}: {}", role.arn(), failed.message),
    )
}

/// Why the call failed.
pub(super) fn explain(cause: &CallError, role: &RoleIdentity) -> Refused {
    match cause {
        SdkError::TimeoutError(_) => return slow(role),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => return slow(role),
        SdkError::ServiceError(_) => return service(cause, role),
        _ => {}
    }
    let arn = role.arn();
    if let Some((kind, sentence)) = transport::explain(cause, "STS", None) {
        return error(kind, format!("role {arn}: {sentence}")).into();
    }
    let said = quote(&words(cause));
    let message =
        format!("role {arn}: no session came from STS, whose answer makes no sense ({said})");
    error(Kind::Service, message).into()
}

/// STS refused, with an error code.
fn service(cause: &CallError, role: &RoleIdentity) -> Refused {
    let arn = role.arn();
    let code = cause.code().unwrap_or_default();
    let status = cause.raw_response().map_or(0, |raw| raw.status().as_u16());
    let said = cause.message().unwrap_or_default();
    let is = |codes: &[&str]| codes.contains(&code);
    let (kind, sentence) = if is(THROTTLED) || status == 429 {
        let sentence = format!("STS asks to slow down ({code}); this heals by itself");
        (Kind::Throttled, sentence)
    } else if is(EXPIRED) {
        let sentence = "STS says that the AWS credentials of ecr-admission itself have expired: renew the session, or \
                        see why they are not renewed";
        (Kind::ExpiredCredentials, sentence.to_owned())
    } else if is(UNKNOWN_KEY) {
        let sentence = format!(
            "STS does not know the AWS access key of ecr-admission itself ({code}): it was deleted, or belongs to \
             another partition than the role"
        );
        (Kind::Denied, sentence)
    } else if is(BAD_SIGNATURE) {
        // Never AWS's own words here: they quote the signed request, session token included.
        let sentence = format!(
            "STS refuses the signature ({code}): check this machine's clock and the AWS secret key"
        );
        (Kind::Denied, sentence)
    } else if is(DENIED) || (code.is_empty() && status == 403) {
        (Kind::Denied, denied(said, role))
    } else {
        by_code(code, status, said)
    };
    Refused {
        blames_credentials: is(EXPIRED) || is(UNKNOWN_KEY),
        error: error(kind, format!("role {arn}: {sentence}")),
    }
}

fn denied(said: &str, role: &RoleIdentity) -> String {
    let quoted = quote(said);
    if said.contains("sts:TagSession") {
        return format!(
            "it may not be assumed with session tags: its trust policy must allow sts:TagSession beside \
             sts:AssumeRole, or the policy must leave out sessionTags ({quoted})"
        );
    }
    let external_id = if role.external_id().is_some() {
        "that asks for just this policy's externalId"
    } else {
        "that asks for no external id, because the policy gives none"
    };
    format!(
        "it may not be assumed: it must exist, its trust policy must let ecr-admission do so in a statement \
         {external_id}, and ecr-admission's own identity must be allowed sts:AssumeRole on it ({quoted})"
    )
}

/// What only a person can mend, or STS itself.
fn by_code(code: &str, status: u16, said: &str) -> (Kind, String) {
    let quoted = quote(said);
    let mend = |sentence: &str| (Kind::Denied, format!("{sentence} ({quoted})"));
    match code {
        "PackedPolicyTooLarge" | "PackedPolicyTooLargeException" => mend(
            "its session policy and tags are too large in the form that STS packs them into: grant folders (team/**) in \
             place of single repositories, or leave out scope or sessionTags",
        ),
        "MalformedPolicyDocument" | "MalformedPolicyDocumentException" => mend(
            "STS does not take the session policy that scope: Repositories makes; leave out scope",
        ),
        "RegionDisabledException" | "RegionDisabled" => mend(
            "STS is switched off in the region that is asked: set AWS_REGION to another, or switch it on in the \
             account's settings",
        ),
        "ValidationError" => mend("STS does not take what the policy says of it"),
        "" => (
            Kind::Service,
            format!(
                "what answers for STS (HTTP {status}) does not speak like it: check AWS_ENDPOINT_URL_STS and \
                 AWS_ENDPOINT_URL, if set, and proxies on the way"
            ),
        ),
        _ => (
            Kind::Service,
            format!("STS failed ({code}, HTTP {status}): {quoted}"),
        ),
    }
}
