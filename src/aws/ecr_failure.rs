//! Why ECR gave no token, in a sentence that names the region and says what to do.

use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ecr::operation::get_authorization_token::GetAuthorizationTokenError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use jiff::SignedDuration;

use super::answer::Malformed;
use super::codes::{BAD_SIGNATURE, DENIED, EXPIRED, REGION_OFF, THROTTLED, UNKNOWN_KEY};
use super::failure::{error, quote};
use super::transport::{self, words};
use crate::token::{MintError, MintErrorKind as Kind};

/// What one call to ECR ends with when it fails.
pub(super) type CallError = SdkError<GetAuthorizationTokenError, HttpResponse>;

/// A clock that is off by more than this is worth a word; SigV4 allows five minutes.
const SKEW_WORTH_SAYING: SignedDuration = SignedDuration::from_mins(2);

/// What a sentence needs to know of the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The registry's region.
    pub(super) region: &'a str,
    /// How far this machine's clock is ahead of AWS's, when AWS answered.
    pub(super) clock_ahead: Option<SignedDuration>,
}

/// ECR did not answer.
pub(super) fn slow(place: &Place<'_>) -> MintError {
    error(
        Kind::TimedOut,
        format!(
            "ECR in {} did not answer in time: it is slow, or a firewall drops the packets; check the egress rules, \
             and set HTTPS_PROXY where a proxy is needed",
            place.region
        ),
    )
}

/// An answer that holds no usable token.
pub(super) fn malformed(malformed: Malformed, place: &Place<'_>) -> MintError {
    error(
        Kind::Service,
        format!(
            "the answer of ECR in {} {}: check AWS_ENDPOINT_URL_ECR and AWS_ENDPOINT_URL, if set",
            place.region, malformed.0
        ),
    )
}

/// Whether the credentials themselves are what AWS refused, so that others should be loaded.
pub(super) fn blames_credentials(cause: &CallError) -> bool {
    let code = cause.code().unwrap_or_default();
    EXPIRED.contains(&code) || UNKNOWN_KEY.contains(&code)
}

/// Why a call to ECR failed.
pub(super) fn explain(cause: &CallError, place: &Place<'_>) -> MintError {
    let region = place.region;
    let status = cause.raw_response().map(|raw| raw.status().as_u16());
    match (cause, status) {
        (SdkError::TimeoutError(_), _) => return slow(place),
        (SdkError::DispatchFailure(failure), _) if failure.is_timeout() => {
            return slow(place);
        }
        (SdkError::ServiceError(_), Some(status)) => return service(cause, status, place),
        _ => {}
    }
    let who = format!("ECR in {region}");
    if let Some((kind, sentence)) = transport::explain(cause, &who, Some(region)) {
        return error(kind, sentence);
    }
    if let Some(status) = status {
        return stranger(status, place);
    }
    let said = quote(&words(cause));
    if let SdkError::DispatchFailure(_) = cause {
        let message = format!("the connection to {who} broke before an answer came ({said})");
        return error(Kind::Unreachable, message);
    }
    error(
        Kind::UnknownRegion,
        format!(
            "no call to ECR in {region:?} could be made: check that this is an AWS region ({said})"
        ),
    )
}

/// ECR refused, with an error code or only with an HTTP status.
fn service(cause: &CallError, status: u16, place: &Place<'_>) -> MintError {
    let region = place.region;
    let code = cause.code().unwrap_or_default();
    let said = cause.message().unwrap_or_default();
    let is = |codes: &[&str]| codes.contains(&code);
    if is(THROTTLED) || status == 429 || (code.is_empty() && status == 503) {
        let message = format!(
            "ECR in {region} asks to slow down ({code}, HTTP {status}); this heals by itself"
        );
        return error(Kind::Throttled, message);
    }
    if is(EXPIRED) {
        let message = format!(
            "ECR in {region} says that the AWS credentials have expired: renew the session, or see why they are not \
             renewed{}",
            clock_hint(place)
        );
        return error(Kind::ExpiredCredentials, message);
    }
    if is(UNKNOWN_KEY) {
        let message = format!(
            "ECR in {region} does not know the AWS access key ({code}): it was deleted, belongs to another partition, \
             or the region is not enabled in its account{}",
            clock_hint(place)
        );
        return error(Kind::Denied, message);
    }
    if is(BAD_SIGNATURE) {
        // Never AWS's own words here: they quote the signed request, session token included.
        let message = format!(
            "ECR in {region} refuses the signature ({code}): check this machine's clock and the AWS secret key{}",
            clock_hint(place)
        );
        return error(Kind::Denied, message);
    }
    if is(REGION_OFF) {
        let message = format!(
            "the AWS account has not enabled the region {region} ({code}): enable it, or use another"
        );
        return error(Kind::Denied, message);
    }
    if is(DENIED) || (code.is_empty() && status == 403) {
        return denied(said, place);
    }
    if code.is_empty() {
        return stranger(status, place);
    }
    let said = quote(said);
    error(
        Kind::Service,
        format!("ECR in {region} failed ({code}, HTTP {status}): {said}"),
    )
}

/// An HTTP answer that ECR does not give.
fn stranger(status: u16, place: &Place<'_>) -> MintError {
    error(
        Kind::Service,
        format!(
            "what answers for ECR in {} (HTTP {status}) does not speak like ECR: check AWS_ENDPOINT_URL_ECR and \
             AWS_ENDPOINT_URL, if set, and proxies on the way",
            place.region
        ),
    )
}

/// Names the identity where AWS names it, and the one action that is missing.
fn denied(said: &str, place: &Place<'_>) -> MintError {
    let region = place.region;
    let arn = said
        .split_whitespace()
        .find(|word| word.starts_with("arn:"));
    let who = arn.unwrap_or("the AWS identity in use");
    let why = if said.contains("explicit deny") {
        "an explicit deny in a policy forbids it; see"
    } else {
        "attach a policy that allows this action on Resource \"*\" to it; or see"
    };
    error(
        Kind::Denied,
        format!(
            "{who} may not call ecr:GetAuthorizationToken in {region}: {why} service control policies and the VPC \
             endpoint's policy{}",
            clock_hint(place)
        ),
    )
}

fn clock_hint(place: &Place<'_>) -> String {
    match place.clock_ahead {
        Some(ahead) if ahead.abs() > SKEW_WORTH_SAYING => {
            let direction = if ahead.is_positive() {
                "ahead of"
            } else {
                "behind"
            };
            let seconds = ahead.abs().as_secs();
            format!("; this machine's clock is {seconds} s {direction} AWS's")
        }
        _ => String::new(),
    }
}
