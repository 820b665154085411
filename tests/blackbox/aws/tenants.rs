//! Tenants with roles of their own: what their sessions are, and what is said when they fail.

use std::sync::Arc;
use std::time::Duration;

use ecr_admission::aws::{AwsSettings, EcrTokenSource};
use ecr_admission::clock::Clock;
use ecr_admission::policy::compile::compile;
use ecr_admission::policy::spec::EcrPolicySpec;
use ecr_admission::policy::{Credential, Identity, Labels, Policy, PolicySet, decide};
use ecr_admission::token::{MintError, MintErrorKind, Token, TokenKey, TokenSource};
use jiff::SignedDuration;
use serde_json::json;

use super::{key, source};
use crate::support::ecr::{Answer, EcrDouble};
use crate::support::sts::Assume;

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const NOT_ALLOWED: &str = "User: arn:aws:iam::123456789012:user/controller is not authorized to perform: sts:AssumeRole on \
    resource: arn:aws:iam::123456789012:role/team-a";
const NO_TAGS: &str = "User: arn:aws:iam::123456789012:user/controller is not authorized to perform: sts:TagSession on \
    resource: arn:aws:iam::123456789012:role/team-a";

pub(super) fn settings(ecr: &EcrDouble) -> AwsSettings {
    AwsSettings {
        sts_endpoint: Some(ecr.url.clone()),
        mint_timeout: Duration::from_mins(1),
        ..super::to(&ecr.url)
    }
}

/// A policy of this name that grants `HOST/NAME/app` by the role of that name, of which it says `more`.
fn policy(name: &str, role: &str, more: &serde_json::Value) -> (String, EcrPolicySpec) {
    let mut of_role = json!({"arn": format!("arn:aws:iam::123456789012:role/{role}")});
    for (field, value) in more.as_object().unwrap() {
        of_role[field] = value.clone();
    }
    let spec = json!({
        "namespaces": {"names": [name]},
        "grants": [{"registries": [HOST], "repositories": [format!("{role}/app")], "role": of_role}],
    });
    (name.to_owned(), serde_json::from_value(spec).unwrap())
}

/// Who pulls `HOST/ROLE/app` in the namespace of this name, in a cluster that is called prod-eu.
fn identity(policies: &[(String, EcrPolicySpec)], namespace: &str, role: &str) -> Identity {
    let compiled = policies
        .iter()
        .map(|(name, spec)| compile(name, spec).unwrap());
    let base = Policy {
        cluster_name: "prod-eu".into(),
        ..Policy::default()
    };
    let set = PolicySet::new(base, compiled.collect(), Vec::new());
    let policy = set.in_namespace(namespace, &Labels::new());
    let image = format!("{HOST}/{role}/app:v1");
    match decide(&policy, &image).credential {
        Credential::Secret { identity, .. } => identity.clone(),
        Credential::NotNeeded => panic!("{image} is not granted to {namespace}"),
    }
}

pub(super) fn of_tenant(name: &str, more: &serde_json::Value, region: &str) -> TokenKey {
    TokenKey {
        identity: identity(&[policy(name, name, more)], name, name),
        ..key(region)
    }
}

async fn mint(source: &EcrTokenSource, more: &serde_json::Value) -> Result<Token, MintError> {
    source.mint(&of_tenant("team-a", more, "eu-west-1")).await
}

/// A field of a form, decoded.
fn field(form: &str, name: &str) -> Option<String> {
    let value = form
        .split('&')
        .find_map(|pair| pair.strip_prefix(&format!("{name}=")))?;
    let mut decoded = Vec::new();
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            decoded.push(u8::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            decoded.push(byte);
        }
    }
    Some(String::from_utf8(decoded).unwrap())
}

#[tokio::test]
async fn a_session_bears_the_cluster_and_the_policy_and_nothing_that_is_not_switched_on() {
    let ecr = EcrDouble::start().await;
    let source = source(&settings(&ecr)).await;
    mint(&source, &json!({})).await.unwrap();
    let form = &ecr.assumed()[0];
    let name = field(form, "RoleSessionName");
    assert_eq!(name.as_deref(), Some("ecr-admission@prod-eu,team-a"));
    for absent in ["Tags", "Policy=", "ExternalId", "DurationSeconds"] {
        assert!(!form.contains(absent), "{form}");
    }
}

#[tokio::test]
async fn tags_and_the_session_policy_are_sent_when_a_policy_wants_them() {
    let ecr = EcrDouble::start().await;
    let source = source(&settings(&ecr)).await;
    let more = json!({"sessionTags": true, "scope": "Repositories"});
    mint(&source, &more).await.unwrap();
    let form = &ecr.assumed()[0];
    let tag = |n: u8, part: &str| field(form, &format!("Tags.member.{n}.{part}")).unwrap();
    assert_eq!(
        [
            tag(1, "Key"),
            tag(1, "Value"),
            tag(2, "Key"),
            tag(2, "Value")
        ],
        [
            "ecr-admission-cluster",
            "prod-eu",
            "ecr-admission-policy",
            "team-a"
        ]
    );
    insta::assert_snapshot!(field(form, "Policy").unwrap(), @r#"{"Statement":[{"Action":"ecr:GetAuthorizationToken","Effect":"Allow","Resource":"*"},{"Action":["ecr:BatchCheckLayerAvailability","ecr:BatchGetImage","ecr:GetDownloadUrlForLayer"],"Effect":"Allow","Resource":["arn:aws:ecr:eu-west-1:123456789012:repository/team-a/app"]}],"Version":"2012-10-17"}"#);
}

#[test]
fn policies_that_say_the_same_of_a_role_share_its_identity_and_the_first_names_the_session() {
    let plain = json!({});
    let both = [policy("b", "shared", &plain), policy("a", "shared", &plain)];
    let [a, b] = ["a", "b"].map(|namespace| identity(&both, namespace, "shared"));
    assert_eq!(a, b);
    for identity in [a, b] {
        let Identity::Role(role) = identity else {
            panic!("no role");
        };
        assert_eq!(role.session_name(), "ecr-admission@prod-eu,a");
    }
}

#[test]
fn tags_and_scopes_make_identities_of_their_own() {
    let tagged = json!({"sessionTags": true});
    let both = [
        policy("a", "shared", &tagged),
        policy("b", "shared", &tagged),
    ];
    assert_ne!(
        identity(&both, "a", "shared"),
        identity(&both, "b", "shared")
    );
    let scoped = json!({"scope": "Repositories"});
    let mut both = [
        policy("a", "shared", &scoped),
        policy("b", "shared", &scoped),
    ];
    assert_eq!(
        identity(&both, "a", "shared"),
        identity(&both, "b", "shared")
    );
    both[1].1.grants[0].repositories.push("more".to_owned());
    let (a, b) = (
        identity(&both, "a", "shared"),
        identity(&both, "b", "shared"),
    );
    assert_ne!(a, b);
    assert_ne!(a.fingerprint(), b.fingerprint());
    assert_ne!(a.fingerprint(), Identity::Controller.fingerprint());
}

/// STS's status, code and message; what becomes of them, and a part of the sentence beside the role's ARN.
const REFUSALS: &[(u16, &str, &str, MintErrorKind, &str)] = &[
    (
        403,
        "AccessDenied",
        NOT_ALLOWED,
        MintErrorKind::Denied,
        "must let ecr-admission do so in a statement that asks for no external id",
    ),
    (
        403,
        "AccessDenied",
        NO_TAGS,
        MintErrorKind::Denied,
        "must allow sts:TagSession",
    ),
    (
        400,
        "Throttling",
        "Rate exceeded",
        MintErrorKind::Throttled,
        "STS asks to slow down (Throttling)",
    ),
    (
        403,
        "ExpiredToken",
        "The security token included in the request is expired",
        MintErrorKind::ExpiredCredentials,
        "the AWS credentials of ecr-admission itself have expired",
    ),
    (
        403,
        "InvalidClientTokenId",
        "",
        MintErrorKind::Denied,
        "does not know the AWS access key of ecr-admission itself",
    ),
    (
        403,
        "SignatureDoesNotMatch",
        "x-amz-security-token:IQoJ",
        MintErrorKind::Denied,
        "refuses the signature (SignatureDoesNotMatch)",
    ),
    (
        400,
        "PackedPolicyTooLarge",
        "Packed policy consumes 112% of allotted space",
        MintErrorKind::Denied,
        "(Packed policy consumes 112% of allotted space)",
    ),
    (
        400,
        "MalformedPolicyDocument",
        "",
        MintErrorKind::Denied,
        "leave out scope",
    ),
    (
        403,
        "RegionDisabledException",
        "",
        MintErrorKind::Denied,
        "set AWS_REGION to another",
    ),
    (
        500,
        "InternalFailure",
        "oops",
        MintErrorKind::Service,
        "STS failed (InternalFailure, HTTP 500): oops",
    ),
];

#[tokio::test]
async fn each_refusal_of_sts_is_told_with_the_role_and_what_to_do() {
    let ecr = EcrDouble::start().await;
    let source = source(&settings(&ecr)).await;
    for (status, code, message, kind, part) in REFUSALS {
        ecr.role("team-a", Assume::Refuse(*status, code, message));
        let error = mint(&source, &json!({})).await.unwrap_err();
        assert_eq!(error.kind, *kind, "{code}: {error}");
        let whose = "role arn:aws:iam::123456789012:role/team-a: ";
        assert!(error.message.starts_with(whose), "{error}");
        assert!(error.message.contains(part), "{error}");
        assert!(!error.message.contains("IQoJ"), "{error}");
    }
    assert!(ecr.calls().is_empty(), "ECR was asked without a session");
}

#[tokio::test]
async fn an_external_id_is_spoken_of_but_not_told() {
    let ecr = EcrDouble::start().await;
    ecr.role("team-a", Assume::Refuse(403, "AccessDenied", NOT_ALLOWED));
    let source = source(&settings(&ecr)).await;
    let given = mint(&source, &json!({"externalId": "of-team-a"})).await;
    let error = given.unwrap_err().message;
    assert!(
        error.contains("that asks for just this policy's externalId"),
        "{error}"
    );
    assert!(!error.contains("of-team-a"), "{error}");
}

#[tokio::test]
async fn what_ecr_refuses_a_session_is_told_with_the_role_and_the_next_mint_has_a_new_session() {
    let ecr = EcrDouble::start().await;
    let source = source(&settings(&ecr)).await;
    ecr.next([Answer::Error(400, "ExpiredTokenException", "expired").into()]);
    let error = mint(&source, &json!({})).await.unwrap_err();
    insta::assert_snapshot!(error, @"role arn:aws:iam::123456789012:role/team-a: ECR in eu-west-1 says that the AWS credentials have expired: renew the session, or see why they are not renewed");
    mint(&source, &json!({})).await.unwrap();
    assert_eq!(ecr.assumed().len(), 2);
}

#[tokio::test]
async fn a_silent_sts_ends_a_mint_in_time() {
    let ecr = EcrDouble::start().await;
    ecr.role("team-a", Assume::Hang);
    let settings = AwsSettings {
        mint_timeout: Duration::from_millis(300),
        ..settings(&ecr)
    };
    let error = mint(&source(&settings).await, &json!({}))
        .await
        .unwrap_err();
    assert_eq!(error.kind, MintErrorKind::TimedOut);
    insta::assert_snapshot!(error, @"role arn:aws:iam::123456789012:role/team-a: STS did not answer in time: it is slow, or a firewall drops the packets; check the egress rules, and set HTTPS_PROXY where a proxy is needed");
}

#[tokio::test]
async fn credentials_that_sts_calls_expired_are_loaded_anew_by_the_next_mint() {
    let ecr = EcrDouble::start().await;
    let loads = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    let provider = aws_credential_types::credential_fn::provide_credentials_fn(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async {
            Ok(aws_credential_types::Credentials::new(
                "AKIDBASE", "s", None, None, "test",
            ))
        }
    });
    let source = EcrTokenSource::with_credentials(&settings(&ecr), &Clock::system(), provider)
        .await
        .unwrap();
    ecr.role("team-a", Assume::Refuse(403, "ExpiredToken", "expired"));
    mint(&source, &json!({})).await.unwrap_err();
    ecr.role("team-a", Assume::Session(SignedDuration::from_hours(1)));
    mint(&source, &json!({})).await.unwrap();
    assert_eq!(loads.load(std::sync::atomic::Ordering::Relaxed), 2);
}
