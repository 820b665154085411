//! What AWS's error codes mean, by groups that want the same done.

/// Error codes that ask to slow down. The SDK does not know `ThrottleException`, which ECR's own documentation names.
pub(super) const THROTTLED: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottleException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "LimitExceededException",
    "SlowDown",
];

/// The credentials were good once.
pub(super) const EXPIRED: &[&str] = &[
    "ExpiredToken",
    "ExpiredTokenException",
    "TokenRefreshRequired",
];

/// Nobody has that access key here.
pub(super) const UNKNOWN_KEY: &[&str] = &[
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "IncompleteSignature",
    "MissingAuthenticationToken",
];

/// The key is known, the signature is not its own, or of another time.
pub(super) const BAD_SIGNATURE: &[&str] = &[
    "SignatureDoesNotMatch",
    "InvalidSignatureException",
    "RequestExpired",
    "RequestTimeTooSkewed",
];

/// The identity may not do this.
pub(super) const DENIED: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "NotAuthorized",
    "UnauthorizedOperation",
];

/// The region is not switched on in the account.
pub(super) const REGION_OFF: &[&str] = &["OptInRequired", "SubscriptionRequiredException"];
