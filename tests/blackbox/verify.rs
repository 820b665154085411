//! `ecr-admission verify`, as a process, against doubles of STS, ECR and a registry whose tokens die, or live, or do not
//! care for session policies.

use std::process::Stdio;
use std::time::Duration;

use jiff::SignedDuration;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::ecr::{Answer, EcrDouble};
use crate::support::pki::TestCa;
use crate::support::proxy::ConnectProxy;
use crate::support::registry::RegistryDouble;
use crate::support::sts::Assume;

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const ROLE: &str = "arn:aws:iam::123456789012:role/ecr-team-a";
const OWN: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a/app:v1";
const OTHER: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-b/app:v1";

/// An account with a role, and its registry.
struct Account {
    ecr: EcrDouble,
    _registry: RegistryDouble,
    proxy: ConnectProxy,
    home: TempDir,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Account {
    /// Sessions are over after a second. The password of a token says how many tokens there were before it.
    async fn new(judge: impl FnMut(&str, &str) -> u16 + Send + 'static) -> Self {
        let ca = TestCa::new();
        let registry = RegistryDouble::start(ca.server(HOST), judge).await;
        let proxy = ConnectProxy::start(&[(HOST, registry.address)], None).await;
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("ca.pem"), ca.pem()).unwrap();
        let ecr = EcrDouble::start().await;
        ecr.role("ecr-team-a", Assume::Session(SignedDuration::from_secs(1)));
        let life = SignedDuration::from_hours(12);
        ecr.next((0..3).map(|n| Answer::Token(format!("token-{n}"), life).into()));
        Self {
            ecr,
            _registry: registry,
            proxy,
            home,
        }
    }

    async fn verify(&self, args: &[&str]) -> Said {
        let child = Command::new(env!("CARGO_BIN_EXE_ecr-admission"))
            .arg("verify")
            .args(args)
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("AWS_ENDPOINT_URL_ECR", &self.ecr.url)
            .env("AWS_ENDPOINT_URL_STS", &self.ecr.url)
            .env("AWS_ACCESS_KEY_ID", "AKIDPERSON")
            .env("AWS_SECRET_ACCESS_KEY", "example")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CA_BUNDLE", self.home.path().join("ca.pem"))
            .env("HTTPS_PROXY", format!("http://{}", self.proxy.address))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_mins(2), child).await;
        let output = output.expect("it hangs").unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let said = Said {
            code: output.status.code().unwrap(),
            out: text(output.stdout),
            err: text(output.stderr),
        };
        assert!(!format!("{}{}", said.out, said.err).contains("token-"));
        said
    }

    async fn token_life(&self) -> Said {
        self.verify(&["token-life", "--role", ROLE, "--margin", "1s", OWN])
            .await
    }

    async fn scope(&self) -> Said {
        self.verify(&["scope", "--role", ROLE, "--granted", OWN, "--denied", OTHER])
            .await
    }
}

fn last_line(said: &Said) -> &str {
    said.out.lines().last().unwrap_or_default()
}

/// Takes the token that was first made so often, and later ones always.
fn dying(mut uses: u8) -> impl FnMut(&str, &str) -> u16 + Send {
    move |_, password| {
        if password != "token-0" {
            return 200;
        }
        uses = uses.saturating_sub(1);
        if uses == 0 { 401 } else { 200 }
    }
}

#[tokio::test]
async fn a_token_that_outlives_its_session_is_told_to_be_full() {
    let account = Account::new(|_, _| 200).await;
    let said = account.token_life().await;
    assert_eq!(said.code, 0, "{}", said.err);
    insta::assert_snapshot!(last_line(&said), @"The token still opens 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a/app:v1 1s after the end of its session: tokenLife: Full is right.");
    let form = &account.ecr.assumed()[0];
    assert!(form.contains("DurationSeconds=900"), "{form}");
    assert!(
        form.contains("RoleSessionName=ecr-admission%2Cverify"),
        "{form}"
    );
    assert!(!form.contains("Policy="), "{form}");
}

#[tokio::test]
async fn a_token_that_dies_with_its_session_is_told_to_be_the_sessions() {
    let account = Account::new(dying(2)).await;
    let said = account.token_life().await;
    assert_eq!(said.code, 0, "{}", said.err);
    insta::assert_snapshot!(last_line(&said), @"The token of the ended session is refused (HTTP 401) and a new one is not: tokenLife: Session is right.");
}

#[tokio::test]
async fn a_registry_that_refuses_new_tokens_too_shows_nothing() {
    let mut calls = 0;
    let account = Account::new(move |_, _| {
        calls += 1;
        if calls == 1 { 200 } else { 403 }
    })
    .await;
    let said = account.token_life().await;
    assert_eq!(said.code, 1);
    insta::assert_snapshot!(said.err.trim_end(), @"ecr-admission: nothing can be told: the registry refuses 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a/app:v1 (HTTP 403): so is a new token, so it is not the old one's age; has something else changed?");
}

#[tokio::test]
async fn what_cannot_be_tried_is_told_at_once() {
    let account = Account::new(|_, _| 403).await;
    let said = account.token_life().await;
    assert_eq!(said.code, 1);
    insta::assert_snapshot!(said.err.trim_end(), @"ecr-admission: nothing can be told: the registry refuses 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a/app:v1 (HTTP 403): the role must be allowed ecr:BatchGetImage on it, by its own policies and by the repository's");

    let account = Account::new(|_, _| 404).await;
    let said = account.token_life().await;
    assert_eq!(said.code, 1);
    insta::assert_snapshot!(said.err.trim_end(), @"ecr-admission: nothing can be told: 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a/app, v1, does not exist (HTTP 404): name an image that does");

    account
        .ecr
        .role("ecr-team-a", Assume::Refuse(403, "AccessDenied", "no"));
    let said = account.token_life().await;
    assert_eq!(said.code, 1);
    let expected =
        format!("ecr-admission: nothing can be told: role {ROLE}: it may not be assumed");
    assert!(said.err.starts_with(&expected), "{}", said.err);
}

/// Whether a token is that of the limited session: `scope` makes it second.
fn is_limited(password: &str) -> bool {
    password == "token-1"
}

#[tokio::test]
async fn a_scope_that_holds_is_told_so() {
    let account = Account::new(|image, password| {
        let closed = is_limited(password) && image != "team-a/app:v1";
        if closed { 403 } else { 200 }
    })
    .await;
    let said = account.scope().await;
    assert_eq!(said.code, 0, "{}", said.err);
    insta::assert_snapshot!(last_line(&said), @"The limited token opens 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a/app:v1 and not 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-b/app:v1 (HTTP 403): scope: Repositories holds.");
    let forms = account.ecr.assumed();
    assert_eq!(forms.len(), 2);
    assert!(!forms[0].contains("Policy="), "{}", forms[0]);
    let arn = "arn%3Aaws%3Aecr%3Aeu-west-1%3A123456789012%3Arepository%2Fteam-a%2Fapp%22";
    assert!(forms[1].contains(arn), "{}", forms[1]);
}

#[tokio::test]
async fn a_scope_that_ecr_does_not_keep_to_or_that_breaks_pulls_fails() {
    let account = Account::new(|_, _| 200).await;
    let said = account.scope().await;
    assert_eq!(said.code, 1);
    insta::assert_snapshot!(last_line(&said), @"The limited token opens 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-b/app:v1 all the same: scope: Repositories does not hold; give each tenant a role of its own.");

    let account = Account::new(|_, password| if is_limited(password) { 401 } else { 200 }).await;
    let said = account.scope().await;
    assert_eq!(said.code, 1);
    insta::assert_snapshot!(last_line(&said), @"The limited token does not open 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a/app:v1 either (HTTP 401): do not use scope: Repositories, pulls would fail.");
}

#[tokio::test]
async fn a_role_that_may_not_pull_the_denied_image_anyway_proves_nothing() {
    let account = Account::new(|image, _| if image == "team-b/app:v1" { 403 } else { 200 }).await;
    let said = account.scope().await;
    assert_eq!(said.code, 1);
    insta::assert_snapshot!(said.err.trim_end(), @"ecr-admission: nothing can be told: the registry refuses 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-b/app:v1 (HTTP 403): the role must be allowed to pull both images, or a refusal would prove nothing");
}

#[tokio::test]
async fn an_experiment_that_makes_no_sense_is_refused_before_anything_is_asked() {
    let account = Account::new(|_, _| 200).await;
    let elsewhere = OTHER.replace("eu-west-1", "us-east-1");
    let untagged = OWN.trim_end_matches(":v1");
    for (args, part) in [
        (
            vec!["scope", "--role", ROLE, "--granted", OWN, "--denied", OWN],
            "are of one repository",
        ),
        (
            vec![
                "scope",
                "--role",
                ROLE,
                "--granted",
                OWN,
                "--denied",
                &elsewhere,
            ],
            "must lie in one region",
        ),
        (
            vec!["token-life", "--role", ROLE, untagged],
            "it has neither a tag nor a digest",
        ),
        (
            vec!["token-life", "--role", ROLE, "nginx:1"],
            "it is not on a private ECR registry",
        ),
        (
            vec!["token-life", "--role", "ecr-team-a", OWN],
            "\"ecr-team-a\" is no role's ARN",
        ),
        (
            vec!["token-life", "--role", ROLE, "--session-length", "1m", OWN],
            "must lie between 15m and 12h",
        ),
    ] {
        let said = account.verify(&args).await;
        assert_eq!(said.code, 2, "{args:?}: {}", said.err);
        assert!(said.err.contains(part), "{args:?}: {}", said.err);
    }
    assert!(account.ecr.assumed().is_empty());
}
