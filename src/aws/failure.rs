//! From the SDK's errors to one sentence that says what happened, where, and what to do: what all such sentences share, and
//! those about credentials.

use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;

use super::codes::{DENIED, EXPIRED, THROTTLED};
use super::transport::{self, words};
use crate::token::{MintError, MintErrorKind as Kind};

/// At most this much of somebody else's words is passed on.
const QUOTE_CHARS_MAX: usize = 300;

/// A failure, by what it is and what to say about it.
pub(super) fn error(kind: Kind, message: impl Into<String>) -> MintError {
    MintError {
        kind,
        message: message.into(),
    }
}

/// The mint's time ended before credentials were there.
pub(super) fn slow_credentials(limit: Duration) -> MintError {
    error(
        Kind::TimedOut,
        format!(
            "AWS credentials did not arrive within {limit:?} (loading goes on in the background): check that what \
             gives them, STS, the EKS Pod Identity agent or instance metadata, can be reached"
        ),
    )
}

/// Why a provider of credentials gave none; `role` is what a web identity was to assume, if it was.
pub(super) fn credentials(cause: &CredentialsError, role: Option<&str>) -> MintError {
    match cause {
        CredentialsError::CredentialsNotLoaded(_) => {
            return error(
                Kind::NoCredentials,
                "no AWS credentials were found in the environment, a profile, a web identity token (IRSA), a \
                 container endpoint (EKS Pod Identity) or instance metadata: give this workload an IAM role, mount \
                 credentials, or name a profile that exists (AWS_PROFILE)",
            );
        }
        CredentialsError::ProviderTimedOut(timeout) => {
            return slow_credentials(timeout.timeout_duration());
        }
        _ => {}
    }
    if let Some((kind, sentence)) = transport::explain(cause, "what gives AWS credentials", None) {
        return error(kind, sentence);
    }
    let said = words(cause);
    let has = |codes: &[&str]| codes.iter().any(|code| said.contains(code));
    let (kind, advice) = if has(&["SSO token"]) {
        (Kind::ExpiredCredentials, "run `aws sso login` again")
    } else if has(EXPIRED) {
        let advice = "renew the session or the web identity token";
        (Kind::ExpiredCredentials, advice)
    } else if has(THROTTLED) {
        (
            Kind::Throttled,
            "AWS asks to slow down; this heals by itself",
        )
    } else if has(DENIED) || has(&["InvalidIdentityToken"]) {
        return refused_role(role, &said);
    } else if has(&["timeout", "timed out"]) {
        (Kind::TimedOut, "check the way to what gives them")
    } else {
        (Kind::NoCredentials, "correct how this workload gets them")
    };
    let said = quote(&said);
    error(
        kind,
        format!("AWS credentials could not be loaded: {advice} ({said})"),
    )
}

/// STS does not say which role it was.
fn refused_role(role: Option<&str>, said: &str) -> MintError {
    let role = role.map_or_else(|| "the role".to_owned(), quote);
    let said = quote(said);
    error(
        Kind::Denied,
        format!(
            "AWS credentials could not be loaded: check the trust policy of {role}, which must let this workload \
             assume it ({said})"
        ),
    )
}

/// The first line of somebody else's words, cut, without control characters, and none of it where it might quote a
/// signed request.
pub(super) fn quote(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    if line.to_ascii_lowercase().contains("x-amz-") {
        return "details withheld".to_owned();
    }
    line.chars()
        .filter(|char| !char.is_control())
        .take(QUOTE_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_one_short_line_that_shows_no_signed_request() {
        assert_eq!(quote("one\u{7} line\nand another"), "one line");
        assert_eq!(quote(&"x".repeat(1000)).len(), QUOTE_CHARS_MAX);
        assert_eq!(quote("got X-Amz-Security-Token:IQoJ"), "details withheld");
        assert_eq!(quote(""), "");
    }
}
