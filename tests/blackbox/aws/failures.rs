//! Each failure of ECR becomes its kind, and a sentence that says what to do.

use ecr_admission::token::MintErrorKind;
use ecr_admission::token::MintErrorKind::{
    Denied, ExpiredCredentials, Service, Throttled, UnknownRegion,
};
use jiff::SignedDuration;

use super::{mint, to};
use crate::support::ecr::{Answer, EcrDouble, Reply};

const ROLE: &str = "arn:aws:sts::123456789012:assumed-role/puller/session";
const NOT_ALLOWED: &str = "User: arn:aws:sts::123456789012:assumed-role/puller/session is not authorized to \
    perform: ecr:GetAuthorizationToken on resource: * because no identity-based policy allows the \
    ecr:GetAuthorizationToken action";

/// HTTP status, code and message of ECR; what they become, and a part of the sentence.
const ERRORS: &[(u16, &str, &str, MintErrorKind, &str)] = &[
    (
        400,
        "ThrottlingException",
        "Rate exceeded",
        Throttled,
        "slow down",
    ),
    (
        400,
        "ThrottleException",
        "Rate exceeded",
        Throttled,
        "slow down",
    ),
    (400, "TooManyRequestsException", "", Throttled, "slow down"),
    (400, "RequestLimitExceeded", "", Throttled, "slow down"),
    (429, "Odd", "", Throttled, "HTTP 429"),
    (
        400,
        "ExpiredTokenException",
        "",
        ExpiredCredentials,
        "have expired",
    ),
    (400, "ExpiredToken", "", ExpiredCredentials, "have expired"),
    (400, "AccessDeniedException", NOT_ALLOWED, Denied, ROLE),
    (
        400,
        "AccessDeniedException",
        NOT_ALLOWED,
        Denied,
        "ecr:GetAuthorizationToken",
    ),
    (
        400,
        "AccessDeniedException",
        NOT_ALLOWED,
        Denied,
        "attach a policy",
    ),
    (
        403,
        "AccessDeniedException",
        "with an explicit deny",
        Denied,
        "explicit deny",
    ),
    (
        400,
        "UnrecognizedClientException",
        "",
        Denied,
        "does not know the AWS access key",
    ),
    (
        403,
        "InvalidClientTokenId",
        "",
        Denied,
        "does not know the AWS access key",
    ),
    (
        400,
        "InvalidSignatureException",
        "",
        Denied,
        "clock and the AWS secret key",
    ),
    (
        403,
        "SignatureDoesNotMatch",
        "",
        Denied,
        "clock and the AWS secret key",
    ),
    (
        400,
        "RequestExpired",
        "",
        Denied,
        "clock and the AWS secret key",
    ),
    (
        403,
        "OptInRequired",
        "",
        Denied,
        "has not enabled the region",
    ),
    (
        500,
        "ServerException",
        "ouch",
        Service,
        "(ServerException, HTTP 500): ouch",
    ),
    (
        400,
        "InvalidParameterException",
        "odd",
        Service,
        "InvalidParameterException",
    ),
];

#[tokio::test]
async fn an_error_code_of_aws_becomes_its_kind_with_advice() {
    let ecr = EcrDouble::start().await;
    for &(status, code, said, kind, advice) in ERRORS {
        ecr.always(Answer::Error(status, code, said));
        let error = mint(&to(&ecr.url), "eu-west-1").await.unwrap_err();
        assert_eq!(error.kind, kind, "{code}: {error}");
        assert!(error.message.contains(advice), "{code}: {error}");
        assert!(error.message.contains("eu-west-1"), "{code}: {error}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_ecrs_is_named_as_such() {
    let ecr = EcrDouble::start().await;
    let data =
        |token: &str| format!(r#"{{"authorizationData":[{{"authorizationToken":"{token}"}}]}}"#);
    for (status, body, kind, advice) in [
        (200, "<html>".to_owned(), Service, "AWS_ENDPOINT_URL"),
        (200, "{".to_owned(), Service, "AWS_ENDPOINT_URL"),
        (200, "{}".to_owned(), Service, "no authorization data"),
        (
            200,
            r#"{"authorizationData":[]}"#.to_owned(),
            Service,
            "no authorization data",
        ),
        (200, data(""), Service, "holds no token"),
        (200, data("!"), Service, "not base64"),
        (200, data("QVdTOg=="), Service, "empty password"),
        (200, data("eDp5"), Service, "does not begin with"),
        (200, data("QVdTOmEKYg=="), Service, "cannot be printed"),
        (404, "<html>".to_owned(), Service, "404"),
        (502, "<html>".to_owned(), Service, "502"),
        (503, String::new(), Throttled, "503"),
        (403, String::new(), Denied, "ecr:GetAuthorizationToken"),
    ] {
        ecr.always(Answer::Raw(status, body.clone()));
        let error = mint(&to(&ecr.url), "eu-west-1").await.unwrap_err();
        assert_eq!(error.kind, kind, "{status} {body}: {error}");
        assert!(error.message.contains(advice), "{status} {body}: {error}");
        assert!(
            error.message.contains("eu-west-1"),
            "{status} {body}: {error}"
        );
    }
}

#[tokio::test]
async fn a_wrong_clock_is_measured_and_a_quoted_request_is_not_passed_on() {
    let ecr = EcrDouble::start().await;
    let said = "The Canonical String should have been 'POST\nx-amz-security-token:IQoJtoken'";
    for code in ["InvalidSignatureException", "SignatureDoesNotMatch", "Odd"] {
        let mut reply = Reply::from(Answer::Error(400, code, said));
        reply.ahead = SignedDuration::from_hours(-2);
        ecr.always(reply);
        let error = mint(&to(&ecr.url), "eu-west-1").await.unwrap_err();
        assert!(!error.message.contains("IQoJ"), "{error}");
        if code != "Odd" {
            assert!(error.message.contains("s ahead of AWS's"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_region_that_can_be_no_host_name_is_an_unknown_region() {
    let settings = ecr_admission::aws::AwsSettings::default();
    for region in ["not/a region", "-", ""] {
        let error = mint(&settings, region).await.unwrap_err();
        assert_eq!(error.kind, UnknownRegion, "{region:?}: {error}");
    }
}
