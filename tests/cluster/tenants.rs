//! Tenants with roles in accounts of their own, against moto's AssumeRole.

use aws_credential_types::Credentials;
use ecr_admission::aws::{AwsSettings, EcrTokenSource};
use ecr_admission::clock::Clock;
use ecr_admission::image::ecr::Partition;
use ecr_admission::policy::{Identity, RoleIdentity};
use ecr_admission::token::{TokenKey, TokenSource};
use serde_json::json;

use crate::harness::control_plane::from_run;
use crate::harness::moto::Moto;
use crate::harness::run;

const ACCOUNTS: [(&str, &str); 2] = [("team-a", "111111111111"), ("team-b", "222222222222")];

/// As a policy of the tenant's name would have it.
fn identity(tenant: &str, account: &str) -> Identity {
    let role = json!({
        "arn": format!("arn:aws:iam::{account}:role/ecr-{tenant}"),
        "externalId": tenant,
        "sessionTags": true,
    });
    let role = serde_json::from_value(role).unwrap();
    let limits = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ecr:*","Resource":"*"}]}"#;
    Identity::Role(RoleIdentity::new(&role, tenant, Some(limits)))
}

#[test]
fn a_token_is_of_the_account_of_the_role_that_made_it() {
    run(async {
        let folder = std::path::PathBuf::from(from_run("CLUSTER_FOLDER")).join("moto-alone");
        let moto = Moto::start(&folder).await;
        let settings = AwsSettings {
            endpoint: Some(moto.url.clone()),
            sts_endpoint: Some(moto.url.clone()),
            mint_timeout: std::time::Duration::from_mins(1),
            ..AwsSettings::default()
        };
        let keys = Credentials::new("AKIDEXAMPLE", "example", None, None, "test");
        let source = EcrTokenSource::with_credentials(&settings, &Clock::system(), keys)
            .await
            .unwrap();
        // Twice, so that neither has the other's session.
        for (tenant, account) in ACCOUNTS.into_iter().chain(ACCOUNTS) {
            let key = TokenKey {
                identity: identity(tenant, account),
                partition: Partition::Aws,
                region: "eu-west-1".into(),
            };
            let token = source.mint(&key).await.unwrap();
            assert_eq!(token.password(), format!("{account}-auth-token"));
        }
    });
}
