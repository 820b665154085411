//! What the API server's failures mean to us, in sentences that hold nothing secret.

use std::fmt;
use std::time::Duration;

use kube::core::Status;
use kube::core::response::reason;

use super::forbidden::missing_rule;
use crate::secret::{StoreError, StoreErrorKind};

/// The longest message of a server that is passed on, in characters.
const MESSAGE_MAX: usize = 500;
/// From this length on, a run of base64 characters is taken for a credential. Longer than a DNS label (63), so that
/// names survive; far shorter than any ECR token (1,800 characters and more).
const CREDENTIAL_MIN: usize = 64;

/// What was tried; reads as "create Secret "ecr-pull-secret" in namespace "team-a"".
pub(super) struct Action<'a> {
    pub(super) verb: &'static str,
    pub(super) object: &'a str,
    /// Empty for an object that is in none.
    pub(super) namespace: &'a str,
}

impl fmt::Display for Action<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            verb,
            object,
            namespace,
        } = self;
        write!(f, "{verb} {object}")?;
        if namespace.is_empty() {
            return Ok(());
        }
        write!(f, " in namespace \"{namespace}\"")
    }
}

impl Action<'_> {
    /// Runs one call to the API server, bounded in time.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer.map_err(|error| self.failed(&error)),
            Err(_) => Err(self.error(
                StoreErrorKind::TimedOut,
                format_args!("the API server did not answer within {limit:?}"),
            )),
        }
    }

    pub(super) fn failed(&self, error: &kube::Error) -> StoreError {
        self.error(kind(error), describe(error))
    }

    pub(super) fn error(&self, kind: StoreErrorKind, cause: impl fmt::Display) -> StoreError {
        StoreError {
            kind,
            message: format!("cannot {self}: {cause}"),
        }
    }
}

fn kind(error: &kube::Error) -> StoreErrorKind {
    match error {
        kube::Error::Api(status) => status_kind(status),
        // What our own credentials (a token file, an exec plugin) could not give.
        kube::Error::Auth(_) => StoreErrorKind::Refused,
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => {
            StoreErrorKind::Unreachable
        }
        // An answer that is none of the API's.
        _ => StoreErrorKind::Unavailable,
    }
}

fn status_kind(status: &Status) -> StoreErrorKind {
    let details = status.details.as_ref();
    let caused_by = |wanted: fn(&kube::core::response::StatusCause) -> bool| {
        details.is_some_and(|details| details.causes.iter().any(wanted))
    };
    match status.code {
        // Source: apiserver NamespaceLifecycle admission, which names the namespace as what is missing.
        404 if details.is_some_and(|details| details.kind == "namespaces") => {
            StoreErrorKind::NamespaceMissing
        }
        404 if status.reason == reason::NOT_FOUND => StoreErrorKind::NotFound,
        409 if status.reason == reason::ALREADY_EXISTS => StoreErrorKind::AlreadyExists,
        409 => StoreErrorKind::Conflict,
        // The same admission's answer for a create in a namespace with a deletionTimestamp.
        403 if caused_by(|cause| cause.reason == "NamespaceTerminating") => {
            StoreErrorKind::NamespaceTerminating
        }
        403 if status.message.contains("because it is being terminated") => {
            StoreErrorKind::NamespaceTerminating
        }
        // A patch that names another uid at the current version: metadata.uid is immutable.
        422 if caused_by(|cause| cause.field == "metadata.uid") => StoreErrorKind::Conflict,
        404 | 429 | 500.. => StoreErrorKind::Unavailable,
        _ => StoreErrorKind::Refused,
    }
}

/// The cause in words for people, safe to log.
pub(super) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => {
            let message = safe(&status.message);
            if message.is_empty() {
                format!("the API server answered {} {}", status.code, status.reason)
            } else if let Some(rule) = missing_rule(&message) {
                format!("{message}: {rule}")
            } else {
                message
            }
        }
        // serde_json's own text can quote the answer, which may be a Secret.
        kube::Error::SerdeError(error) => format!(
            "the API server's answer cannot be read (line {}, column {})",
            error.line(),
            error.column()
        ),
        kube::Error::FromUtf8(_) => "the API server's answer is not UTF-8".to_owned(),
        kube::Error::Auth(error) => format!(
            "our credentials for the API server cannot be had: {}",
            root_cause(error)
        ),
        other => format!("no connection to the API server: {}", root_cause(other)),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    safe(&root.to_string())
}

/// One line of bounded length in which nothing is left that could be a credential.
pub(super) fn safe(message: &str) -> String {
    let mut safe = String::with_capacity(message.len().min(MESSAGE_MAX));
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=_-".contains(c);
    for part in message.split_inclusive(|c| !is_base64(c)) {
        let run = part.trim_end_matches(|c| !is_base64(c));
        if run.len() >= CREDENTIAL_MIN {
            safe.push_str("[REDACTED]");
            safe.push_str(&part[run.len()..]);
        } else {
            safe.push_str(part);
        }
    }
    let mut chars = safe
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = chars.by_ref().take(MESSAGE_MAX).collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(json: &str) -> Status {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn each_refusal_of_the_api_server_has_its_kind() {
        for (expected, json) in [
            (
                StoreErrorKind::NamespaceMissing,
                r#"{"status":"Failure","message":"namespaces \"a\" not found","reason":"NotFound",
                    "details":{"name":"a","kind":"namespaces"},"code":404}"#,
            ),
            (
                StoreErrorKind::NotFound,
                r#"{"status":"Failure","message":"secrets \"s\" not found","reason":"NotFound",
                    "details":{"name":"s","kind":"secrets"},"code":404}"#,
            ),
            (
                StoreErrorKind::NamespaceTerminating,
                r#"{"status":"Failure","message":"secrets \"s\" is forbidden: unable to create new content in namespace a because it is being terminated",
                    "reason":"Forbidden","details":{"name":"s","kind":"secrets","causes":[{"reason":"NamespaceTerminating",
                    "message":"namespace a is being terminated","field":"metadata.namespace"}]},"code":403}"#,
            ),
            (
                StoreErrorKind::Refused,
                r#"{"status":"Failure","message":"secrets \"s\" is forbidden: exceeded quota: q, requested: secrets=1, used: secrets=3, limited: secrets=3",
                    "reason":"Forbidden","details":{"name":"s","kind":"secrets"},"code":403}"#,
            ),
            (
                StoreErrorKind::Refused,
                r#"{"status":"Failure","message":"Secret \"s\" is invalid: data: Forbidden: field is immutable when `immutable` is set",
                    "reason":"Invalid","details":{"name":"s","kind":"Secret","causes":[{"reason":"FieldValueForbidden","field":"data"}]},"code":422}"#,
            ),
            (
                StoreErrorKind::Conflict,
                r#"{"status":"Failure","message":"Secret \"s\" is invalid: metadata.uid: Invalid value: \"1\": field is immutable",
                    "reason":"Invalid","details":{"name":"s","kind":"Secret","causes":[{"reason":"FieldValueInvalid","field":"metadata.uid"}]},"code":422}"#,
            ),
            (
                StoreErrorKind::Conflict,
                r#"{"status":"Failure","message":"Operation cannot be fulfilled","reason":"Conflict","code":409}"#,
            ),
            (
                StoreErrorKind::AlreadyExists,
                r#"{"status":"Failure","message":"secrets \"s\" already exists","reason":"AlreadyExists","code":409}"#,
            ),
            (
                StoreErrorKind::Unavailable,
                r#"{"status":"Failure","message":"too many requests","reason":"TooManyRequests","code":429}"#,
            ),
            (
                StoreErrorKind::Unavailable,
                r#"{"status":"Failure","message":"Internal error occurred: failed calling webhook","reason":"InternalError","code":500}"#,
            ),
            (
                StoreErrorKind::Unavailable,
                r#"{"status":"Failure","message":"404 page not found","reason":"Failed to parse error data","code":404}"#,
            ),
        ] {
            assert_eq!(status_kind(&status(json)), expected, "{json}");
        }
    }

    #[test]
    fn a_message_is_passed_on_without_anything_that_could_be_a_token() {
        let name = "a".repeat(63);
        let token = "QVdTOmV5SndZWGxzYjJGa0lqb2lhRzlzWVE9".repeat(3);
        let message =
            format!("admission webhook \"x.{name}\" denied:\n{{\"auth\":\"{token}\"}} is too long");
        assert_eq!(
            safe(&message),
            format!(
                "admission webhook \"x.{name}\" denied: {{\"auth\":\"[REDACTED]\"}} is too long"
            )
        );
        assert!(safe(&"word ".repeat(1000)).chars().count() <= MESSAGE_MAX + 1);
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_quoted() {
        let error = serde_json::from_str::<u32>("\"hunter2\"").unwrap_err();
        assert!(error.to_string().contains("hunter2"));
        let error = kube::Error::SerdeError(error);
        assert!(!describe(&error).contains("hunter2"));
        assert_eq!(kind(&error), StoreErrorKind::Unavailable);
    }
}
