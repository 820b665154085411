//! `ecr-admission token` and `ecr-admission login`, as processes, against doubles of ECR and of a credential helper.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::ecr::{Answer, EcrDouble};

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const SISTER: &str = "210987654321.dkr.ecr.eu-west-1.amazonaws.com";
const ELSEWHERE: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// A person's home, with AWS behind it.
struct Home {
    folder: TempDir,
    ecr: EcrDouble,
    /// Variables beside those that every call has.
    more: Vec<(&'static str, String)>,
}

/// What came of a call.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Home {
    async fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            ecr: EcrDouble::start().await,
            more: Vec::new(),
        }
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    fn docker(&self) -> PathBuf {
        self.path(".docker/config.json")
    }

    fn write(&self, below: &str, text: &str) -> PathBuf {
        let path = self.path(below);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A program docker-credential-test in the PATH, whose `store` runs these lines of sh.
    fn helper(&mut self, store: &str) {
        let script = format!("#!/bin/sh\n[ \"$1\" = store ] || exit 9\n{store}\n");
        let program = self.write("bin/docker-credential-test", &script);
        fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        self.more.push(("PATH", path));
    }

    async fn call(&self, args: &[&str]) -> Said {
        let child = Command::new(env!("CARGO_BIN_EXE_ecr-admission"))
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("AWS_ENDPOINT_URL_ECR", &self.ecr.url)
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "example")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(self.more.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_mins(1), child).await;
        let output = output.expect("it hangs").unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn auth(region: &str) -> String {
    BASE64_STANDARD.encode(format!("AWS:password-of-{region}"))
}

#[tokio::test]
async fn a_token_is_the_password_and_a_line_feed_for_a_pipe() {
    let home = Home::new().await;
    let said = home.call(&["token", ELSEWHERE]).await;
    assert_eq!(
        (said.code, said.out.as_str()),
        (0, "password-of-us-east-1\n")
    );
    assert_eq!(said.err, "");
    assert_eq!(home.ecr.calls_in("us-east-1"), 1);
}

#[tokio::test]
async fn what_is_no_private_ecr_host_is_refused_before_anything_is_asked_or_written() {
    let home = Home::new().await;
    let path = format!("oci://{HOST}/charts/shop");
    for (command, registry, part) in [
        ("token", path.as_str(), format!("write \"{HOST}\"")),
        ("token", "ghcr.io", "is no private ECR registry".to_owned()),
        ("login", "public.ecr.aws", "without credentials".to_owned()),
        (
            "login",
            "123456789012.dkr.ecr.cn-north-1.amazonaws.com",
            "write \"123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn\"".to_owned(),
        ),
    ] {
        let good = if command == "login" { &[HOST][..] } else { &[] };
        let said = home.call(&[&[command], good, &[registry]].concat()).await;
        assert_eq!(said.code, 2, "{}", said.err);
        assert!(said.err.contains(&part), "{part} is not in {}", said.err);
    }
    assert!(home.ecr.calls().is_empty() && !home.docker().exists());
}

#[tokio::test]
async fn a_token_that_cannot_be_had_is_one_sentence_and_nothing_on_standard_output() {
    let home = Home::new().await;
    for (answer, part) in [
        (
            Answer::Error(
                400,
                "AccessDeniedException",
                "User: arn:aws:iam::1:user/ci is not authorized",
            ),
            "arn:aws:iam::1:user/ci may not call ecr:GetAuthorizationToken in eu-west-1",
        ),
        (
            Answer::Error(400, "ExpiredTokenException", "expired"),
            "the AWS credentials have expired",
        ),
        (
            Answer::Error(400, "ThrottlingException", "Rate exceeded"),
            "asks to slow down",
        ),
    ] {
        home.ecr.always(answer);
        let said = home.call(&["token", HOST]).await;
        assert_eq!((said.code, said.out.as_str()), (1, ""));
        assert!(said.err.contains(part), "{part} is not in {}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    }
}

#[tokio::test]
async fn without_credentials_it_says_where_they_were_looked_for() {
    let mut home = Home::new().await;
    home.more.push(("AWS_ACCESS_KEY_ID", String::new()));
    let said = home.call(&["login", HOST]).await;
    assert_eq!(said.code, 1);
    let part = format!("not logged in to {HOST}: no AWS credentials were found");
    assert!(said.err.contains(&part), "{}", said.err);
    assert!(!home.docker().exists());
}

#[tokio::test]
async fn a_login_is_put_into_dockers_file_and_leaves_all_else_as_it_was() {
    let home = Home::new().await;
    let before = "{\n    \"HttpHeaders\": {\"x\":  1},\n    \"auths\": {\"ghcr.io\": {\"auth\": \"dTpw\"}},\n    \
                  \"credHelpers\": {\"gcr.io\": \"gcloud\"},\n    \"aliases\": {\"builder\": \"buildx\"}\n}\n";
    let file = home.write(".docker/config.json", before);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let said = home.call(&["login", HOST, SISTER, ELSEWHERE]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.out.lines().count(), 3, "{}", said.out);
    assert!(
        said.out
            .starts_with(&format!("Logged in to {HOST} until 20")),
        "{}",
        said.out
    );
    assert_eq!(
        home.ecr.calls_in("eu-west-1"),
        1,
        "two registries of a region share a mint"
    );
    assert_eq!(home.ecr.calls_in("us-east-1"), 1);

    let after = fs::read_to_string(&file).unwrap();
    assert!(after.contains("\"HttpHeaders\": {\"x\":  1}"), "{after}");
    let mut expected: Value = serde_json::from_str(before).unwrap();
    for (host, region) in [
        (HOST, "eu-west-1"),
        (SISTER, "eu-west-1"),
        (ELSEWHERE, "us-east-1"),
    ] {
        expected["auths"][host] = json!({"auth": auth(region)});
    }
    assert_eq!(read(&file), expected);
    let at = |key: &str| after.find(&format!("\"{key}\"")).unwrap();
    let keys = [
        "HttpHeaders",
        "auths",
        "ghcr.io",
        HOST,
        "credHelpers",
        "aliases",
    ];
    assert!(keys.map(at).is_sorted(), "{after}");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        fs::read_dir(home.path(".docker")).unwrap().count(),
        1,
        "no leftover"
    );
}

#[tokio::test]
async fn a_missing_file_is_made_and_a_link_is_followed() {
    let home = Home::new().await;
    assert_eq!(home.call(&["login", HOST]).await.code, 0);
    assert_eq!(
        read(&home.docker())["auths"][HOST]["auth"],
        auth("eu-west-1")
    );
    let folder = fs::metadata(home.path(".docker")).unwrap();
    assert_eq!(folder.mode() & 0o777, 0o700);

    fs::remove_file(home.docker()).unwrap();
    fs::create_dir(home.path("dotfiles")).unwrap();
    symlink("../dotfiles/docker.json", home.docker()).unwrap();
    for _ in 0..2 {
        assert_eq!(home.call(&["login", HOST]).await.code, 0);
        assert!(fs::symlink_metadata(home.docker()).unwrap().is_symlink());
        assert!(read(&home.path("dotfiles/docker.json"))["auths"][HOST].is_object());
    }
}

#[tokio::test]
async fn each_clients_file_is_where_its_environment_says() {
    let mut home = Home::new().await;
    let file = |name: &str| home.path(name).display().to_string();
    let variables = [
        ("DOCKER_CONFIG", file("docker")),
        ("HELM_REGISTRY_CONFIG", file("helm.json")),
        ("REGISTRY_AUTH_FILE", file("podman.json")),
    ];
    home.more.extend(variables);
    for (client, file) in [
        ("docker", "docker/config.json"),
        ("helm", "helm.json"),
        ("podman", "podman.json"),
    ] {
        assert_eq!(
            home.call(&["login", "--client", client, HOST]).await.code,
            0
        );
        assert_eq!(
            read(&home.path(file))["auths"][HOST]["auth"],
            auth("eu-west-1")
        );
    }
    // Now docker's is not the first that they read.
    let said = home.call(&["login", HOST]).await;
    for client in ["helm", "podman"] {
        let advice = format!("ecr-admission login --client {client} {HOST}");
        assert!(said.err.contains(&advice), "{}", said.err);
    }
    assert_eq!(said.code, 0);
    let said = home
        .call(&["login", "--config-file", "mine.json", HOST])
        .await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert!(home.path("mine.json").exists());
}

#[tokio::test]
async fn a_credential_helper_is_given_the_password_and_the_file_none() {
    let mut home = Home::new().await;
    home.helper("cat > \"$HOME/stored\"");
    for configuration in [
        json!({"credsStore": "test", "auths": {HOST: {"auth": "b2xk"}}}),
        json!({"credsStore": "missing", "credHelpers": {HOST: "test"}}),
    ] {
        let file = home.write(".docker/config.json", &configuration.to_string());
        let said = home.call(&["login", HOST]).await;
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(
            said.out.contains("(docker-credential-test)"),
            "{}",
            said.out
        );
        let stored =
            json!({"ServerURL": HOST, "Username": "AWS", "Secret": "password-of-eu-west-1"});
        assert_eq!(read(&home.path("stored")), stored);
        let mut expected = configuration;
        expected["auths"][HOST] = json!({});
        assert_eq!(read(&file), expected);
    }
}

#[tokio::test]
async fn a_helper_that_fails_is_named_and_the_file_stays_as_it_was() {
    let mut home = Home::new().await;
    home.helper("cat; echo; echo is locked; exit 1");
    for (helper, part) in [
        ("test", "docker-credential-test refused ("),
        ("absent", "docker-credential-absent cannot be run"),
        ("ecr-login", "no login is needed"),
        ("../evil", "is no name of a program"),
    ] {
        let before = json!({"credsStore": helper}).to_string();
        let file = home.write(".docker/config.json", &before);
        let said = home.call(&["login", HOST]).await;
        assert_eq!((said.code, said.out.as_str()), (1, ""));
        assert!(said.err.contains(part), "{part} is not in {}", said.err);
        assert!(!said.err.contains("password-of"), "{}", said.err);
        assert_eq!(fs::read_to_string(file).unwrap(), before);
    }
    // podman knows no credsStore.
    home.more
        .push(("REGISTRY_AUTH_FILE", home.docker().display().to_string()));
    let said = home.call(&["login", "--client", "podman", HOST]).await;
    assert_eq!(said.code, 0, "{}", said.err);
}

#[tokio::test]
async fn one_registry_that_fails_is_named_and_the_others_are_logged_in() {
    let home = Home::new().await;
    home.ecr
        .next([Answer::Error(400, "AccessDeniedException", "no").into()]);
    // One region after the other would do as well: which of the two is refused does not matter.
    let said = home.call(&["login", HOST, ELSEWHERE]).await;
    assert_eq!(said.code, 1);
    assert_eq!(said.out.lines().count(), 1, "{}", said.out);
    assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    assert_eq!(read(&home.docker())["auths"].as_object().unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_that_is_no_configuration_is_refused_and_kept() {
    let home = Home::new().await;
    for (text, part) in [
        ("{\"auths\": ", "is no JSON object: correct or remove it"),
        (
            "{\"auths\": [\"hunter2\"]}",
            "has \"auths\" that are no JSON object",
        ),
    ] {
        let file = home.write(".docker/config.json", text);
        let said = home.call(&["login", HOST]).await;
        assert_eq!(said.code, 1);
        assert!(
            said.err.contains(part) && !said.err.contains("hunter2"),
            "{}",
            said.err
        );
        assert_eq!(fs::read_to_string(file).unwrap(), text);
    }
}
