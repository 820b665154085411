//! Tokens made with a role that is assumed: one tenant's identity.

use super::chain::{ROLE, in_child};
use crate::support::ecr::EcrDouble;

const TENANT: &str =
    r#"{"arn": "arn:aws:iam::123456789012:role/tenants/team-a", "externalId": "cluster-1:team-a"}"#;
const SHORT: &str = r#"{"arn": "arn:aws:iam::123456789012:role/team-b", "tokenLife": "Session"}"#;

async fn mint(ecr: &EcrDouble, role: &str) -> String {
    in_child(&[
        ("AWS_ACCESS_KEY_ID", "AKIDBASE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_ENDPOINT_URL_STS", &ecr.url),
        ("AWS_ENDPOINT_URL_ECR", &ecr.url),
        (ROLE, role),
    ])
    .await
}

#[tokio::test]
async fn a_role_is_assumed_with_our_credentials_and_asks_ecr_with_its_own() {
    let ecr = EcrDouble::start().await;
    let minted = mint(&ecr, TENANT).await;
    assert_eq!(minted, "warm=true password-of-eu-west-1 for 12 h");
    assert_eq!(ecr.calls()[0].access_key, "AKIDteam-a");
    let forms = ecr.assumed();
    assert_eq!(forms.len(), 1);
    for part in [
        "Action=AssumeRole&",
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Ftenants%2Fteam-a",
        "ExternalId=cluster-1%3Ateam-a",
        "RoleSessionName=ecr-admission%2Cteam",
    ] {
        assert!(forms[0].contains(part), "{part} is not in {}", forms[0]);
    }
}

#[tokio::test]
async fn a_token_may_be_counted_as_no_longer_lived_than_the_session_that_made_it() {
    let ecr = EcrDouble::start().await;
    let minted = mint(&ecr, SHORT).await;
    assert_eq!(minted, "warm=true password-of-eu-west-1 for 1 h");
    assert!(!ecr.assumed()[0].contains("ExternalId"));
}

#[tokio::test]
async fn a_role_that_cannot_be_assumed_is_named_with_what_to_check() {
    let ecr = EcrDouble::start().await;
    ecr.refuse_roles("AccessDenied", "not authorized to perform sts:AssumeRole");
    let refused = mint(&ecr, TENANT).await;
    let expected = "warm=true denied role arn:aws:iam::123456789012:role/tenants/team-a: it may not be assumed: ";
    assert!(refused.starts_with(expected), "{refused}");
    assert!(!refused.contains("cluster-1"), "{refused}");
    assert!(ecr.calls().is_empty());
}
