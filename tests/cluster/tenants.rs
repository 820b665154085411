//! Tenants with roles in accounts of their own, against moto's AssumeRole.

use aws_credential_types::Credentials;
use ecr_admission::aws::{AwsSettings, EcrTokenSource};
use ecr_admission::clock::Clock;
use ecr_admission::image::ecr::Partition;
use ecr_admission::policy::{Identity, RoleIdentity};
use ecr_admission::token::{TokenKey, TokenSource};
use serde_json::json;

use crate::ecr::EcrDouble;
use crate::harness::control_plane::{ControlPlane, from_run};
use crate::harness::install::{Target, apply, install_permissions, manifest, register};
use crate::harness::moto::Moto;
use crate::harness::namespace::Namespace;
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::{eventually, run};

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

/// The policy of a tenant: the registry of its account, by a role in it.
async fn grant(plane: &ControlPlane, tenant: &str, account: &str) {
    let role = json!({
        "arn": format!("arn:aws:iam::{account}:role/ecr-{tenant}"),
        "sessionTags": true,
        "scope": "Repositories",
    });
    let policy = json!({
        "apiVersion": "ecr-admission.dev/v1alpha1",
        "kind": "EcrPolicy",
        "metadata": {"name": tenant},
        "spec": {
            "namespaces": {"names": [tenant]},
            "grants": [{"registries": [account], "repositories": ["app"], "role": role}],
        },
    });
    let policy = policy.to_string();
    // Right after its definition, a kind is not known everywhere yet.
    eventually("the policy is taken", async || {
        plane.kubectl(&["apply", "-f", "-"], &policy).await.ok
    })
    .await;
}

#[test]
fn each_tenants_namespace_gets_a_secret_with_a_token_of_its_own_account() {
    run(async {
        let plane = ControlPlane::start("policies-tenants").await;
        install_permissions(&plane).await;
        for file in ["crd.yaml", "policies.yaml"] {
            apply(&plane, manifest(file)).await;
        }
        for (tenant, account) in ACCOUNTS {
            grant(&plane, tenant, account).await;
        }
        let moto = Moto::start(&plane.folder).await;
        let unasked = EcrDouble::start().await;
        let chosen = ["--policy-source", "Cluster", "--cluster-name", "prod-eu"];
        let settings = Settings::files(&plane.folder)
            .with_aws(&moto.url)
            .with(chosen.map(Into::into));
        let webhook = Webhook::start_with(&plane, &unasked, "tenants", settings).await;
        register(&plane, Target::Url(webhook.address)).await;
        let host = |account: &str| format!("{account}.dkr.ecr.eu-west-1.amazonaws.com");
        for (tenant, account) in ACCOUNTS {
            let namespace = Namespace::create(&plane, tenant).await;
            let image = format!("{}/app:v1", host(account));
            namespace.run("app", &image).await;
            let expected = [(host(account), format!("{account}-auth-token"))];
            eventually("the Secret has the token of the account", async || {
                namespace.passwords().await == expected.clone().into()
            })
            .await;
        }
        // The other tenant's registry is nobody's to use.
        for (tenant, (_, foreign)) in ["team-b", "team-a"].into_iter().zip(ACCOUNTS) {
            let namespace = Namespace::existing(&plane, tenant);
            let image = format!("{}/app:v1", host(foreign));
            let spec = crate::harness::namespace::one_container(&image);
            let refused = namespace.create_pod("foreign", &spec).await.unwrap_err();
            assert!(
                refused.message.contains("is not granted"),
                "{}",
                refused.message
            );
            assert_eq!(namespace.passwords().await.len(), 1);
        }
        assert!(unasked.calls().is_empty(), "the double was asked");
    });
}
