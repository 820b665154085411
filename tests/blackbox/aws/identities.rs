//! Every way to an AWS identity that docs/aws.md describes, against a double of its endpoint, with nothing but what it
//! describes: no region, no endpoint of STS.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::SignedDuration;
use tempfile::TempDir;

use super::chain::{MINTED, MINTS, REPLACE, REPLACEMENT, in_child};
use crate::support::credentials::{CONTAINER_TOKEN, CredentialsDouble, SSO_TOKEN};
use crate::support::ecr::{Answer, EcrDouble};

fn write(home: &TempDir, below: &str, text: &str) -> String {
    let path = home.path().join(below);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn home() -> (TempDir, String) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().to_str().unwrap().to_owned();
    (home, path)
}

fn keys(ecr: &EcrDouble) -> Vec<String> {
    ecr.calls()
        .into_iter()
        .map(|call| call.access_key)
        .collect()
}

#[tokio::test]
async fn a_profile_with_keys_is_found_by_its_name() {
    let (ecr, (folder, home)) = (EcrDouble::start().await, home());
    write(
        &folder,
        ".aws/credentials",
        "[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key = secret\n\
         [ci]\naws_access_key_id = AKIDCI\naws_secret_access_key = secret\n",
    );
    for (profile, key) in [("default", "AKIDDEFAULT"), ("ci", "AKIDCI")] {
        let variables = [
            ("HOME", home.as_str()),
            ("AWS_PROFILE", profile),
            ("AWS_ENDPOINT_URL_ECR", &ecr.url),
        ];
        assert_eq!(in_child(&variables).await, MINTED);
        assert_eq!(keys(&ecr).last().unwrap(), key);
    }
}

#[tokio::test]
async fn a_profile_that_is_missing_or_broken_is_named() {
    let (folder, home) = home();
    write(
        &folder,
        ".aws/config",
        "[profile broken]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = gone\n",
    );
    for (profile, part) in [("gone", "gone"), ("broken", "gone")] {
        let result = in_child(&[("HOME", home.as_str()), ("AWS_PROFILE", profile)]).await;
        assert!(result.starts_with("warm=false no_credentials"), "{result}");
        assert!(
            result.contains(part) || result.contains("no AWS credentials were found"),
            "{result}"
        );
    }
}

#[tokio::test]
async fn a_profiles_credential_process_is_run_and_its_failure_told() {
    let (ecr, (folder, home)) = (EcrDouble::start().await, home());
    let program = write(
        &folder,
        "bin/helper",
        "#!/bin/sh\n[ \"$1\" = good ] || { echo no certificate >&2; exit 1; }\n\
         echo '{\"Version\": 1, \"AccessKeyId\": \"AKIDPROCESS\", \"SecretAccessKey\": \"secret\", \"SessionToken\": \"s\"}'\n",
    );
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    write(
        &folder,
        ".aws/config",
        &format!(
            "[profile good]\ncredential_process = {program} good\n[profile bad]\ncredential_process = {program} bad\n"
        ),
    );
    let variables = |profile| {
        [
            ("HOME", home.as_str()),
            ("PATH", "/usr/bin:/bin"),
            ("AWS_PROFILE", profile),
            ("AWS_ENDPOINT_URL_ECR", ecr.url.as_str()),
        ]
    };
    assert_eq!(in_child(&variables("good")).await, MINTED);
    assert_eq!(keys(&ecr), ["AKIDPROCESS"]);
    let result = in_child(&variables("bad")).await;
    let expected = "warm=false no_credentials AWS credentials could not be loaded: correct how this workload gets them";
    assert!(result.starts_with(expected), "{result}");
}

/// An instance profile, and a sidecar with the signing helper of IAM Roles Anywhere, which serves the same protocol.
#[tokio::test]
async fn instance_metadata_gives_credentials_past_the_proxy_and_anew_when_they_are_about_to_expire()
{
    let (ecr, metadata) = (EcrDouble::start().await, CredentialsDouble::start().await);
    // With and without a slash at the end, as the helper's own advice has it.
    for endpoint in [metadata.url.clone(), format!("{}/", metadata.url)] {
        let variables = [
            ("AWS_EC2_METADATA_DISABLED", "false"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str()),
            ("AWS_ENDPOINT_URL_ECR", &ecr.url),
            ("HTTP_PROXY", "http://127.0.0.1:9"),
        ];
        assert_eq!(in_child(&variables).await, MINTED);
    }
    assert_eq!(keys(&ecr), ["AKIDMETADATA1", "AKIDMETADATA2"]);
    // Credentials that have a minute left are replaced at each mint while the process runs.
    metadata.lives(SignedDuration::from_mins(1));
    let variables = [
        (MINTS, "3"),
        ("AWS_EC2_METADATA_DISABLED", "false"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.url.as_str()),
        ("AWS_ENDPOINT_URL_ECR", &ecr.url),
    ];
    assert_eq!(in_child(&variables).await, MINTED);
    let used = keys(&ecr).split_off(2);
    assert_eq!(used.len(), 3);
    assert!(
        used.is_sorted() && used[0] != used[1] && used[1] != used[2],
        "{used:?}"
    );
}

#[tokio::test]
async fn pod_identity_shows_the_pods_token_as_it_is_in_its_file_now() {
    let (ecr, agent) = (EcrDouble::start().await, CredentialsDouble::start().await);
    let (folder, _) = home();
    let endpoint = format!("{}/v1/credentials", agent.url);
    let token = write(&folder, "token", CONTAINER_TOKEN);
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint.as_str()),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token),
        ("AWS_ENDPOINT_URL_ECR", &ecr.url),
        ("HTTPS_PROXY", ""),
    ];
    assert_eq!(in_child(&variables).await, MINTED);
    assert_eq!(keys(&ecr), ["AKIDCONTAINER1"]);
    fs::write(&token, "of another").unwrap();
    let result = in_child(&variables).await;
    assert!(
        result.starts_with("warm=false no_credentials AWS credentials could not be loaded"),
        "{result}"
    );
    fs::remove_file(Path::new(&token)).unwrap();
    let result = in_child(&variables).await;
    assert!(
        result.starts_with("warm=false no_credentials AWS credentials could not be loaded"),
        "{result}"
    );
}

/// The file's name is the SHA-1 of the session's.
const SSO_CACHE: &str = ".aws/sso/cache/d033e22ae348aeb5660fc2140aec35850c4da997.json";

#[tokio::test]
async fn a_person_who_has_logged_in_by_sso_needs_nothing_else_and_one_whose_login_is_over_is_told()
{
    let (ecr, portal, (folder, home)) = (
        EcrDouble::start().await,
        CredentialsDouble::start().await,
        home(),
    );
    write(
        &folder,
        ".aws/config",
        "[profile dev]\nsso_session = admin\nsso_account_id = 123456789012\nsso_role_name = Developer\n\
         [sso-session admin]\nsso_region = eu-central-1\nsso_start_url = https://example.awsapps.com/start\n",
    );
    let login = |expires: &str| {
        format!(
            r#"{{"accessToken": "{SSO_TOKEN}", "expiresAt": "{expires}", "region": "eu-central-1",
                "startUrl": "https://example.awsapps.com/start"}}"#
        )
    };
    write(&folder, SSO_CACHE, &login("2099-01-01T00:00:00Z"));
    let variables = [
        ("HOME", home.as_str()),
        ("AWS_PROFILE", "dev"),
        ("AWS_ENDPOINT_URL_SSO", &portal.url),
        ("AWS_ENDPOINT_URL_ECR", &ecr.url),
    ];
    assert_eq!(in_child(&variables).await, MINTED);
    assert_eq!(keys(&ecr), ["AKIDSSO1"]);

    write(&folder, SSO_CACHE, &login("2020-01-01T00:00:00Z"));
    let result = in_child(&variables).await;
    let expected = "warm=false expired_credentials AWS credentials could not be loaded: ";
    assert!(
        result.starts_with(expected) && result.contains("aws sso login"),
        "{result}"
    );
    fs::remove_file(folder.path().join(SSO_CACHE)).unwrap();
    let result = in_child(&variables).await;
    assert!(
        result.starts_with("warm=false ") && result.contains("aws sso login"),
        "{result}"
    );
    write(&folder, SSO_CACHE, &login("2099-01-01T00:00:00Z"));
    portal.refuse(403, r#"{"message": "No access"}"#);
    let result = in_child(&variables).await;
    assert!(result.starts_with("warm=false "), "{result}");
}

#[tokio::test]
async fn keys_that_rotate_in_a_file_are_picked_up_when_aws_refuses_the_old_ones() {
    let (ecr, (folder, home)) = (EcrDouble::start().await, home());
    let file = |key: &str| {
        format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n")
    };
    let path = write(&folder, ".aws/credentials", &file("AKIDOLD"));
    ecr.next([Answer::Error(400, "UnrecognizedClientException", "deleted").into()]);
    let variables = [
        ("HOME", home.as_str()),
        (MINTS, "2"),
        (REPLACE, path.as_str()),
        (REPLACEMENT, &file("AKIDNEW")),
        ("AWS_ENDPOINT_URL_ECR", &ecr.url),
    ];
    assert_eq!(in_child(&variables).await, MINTED);
    assert_eq!(keys(&ecr), ["AKIDOLD", "AKIDNEW"]);
}
