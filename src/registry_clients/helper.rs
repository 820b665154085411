//! Credential helpers: programs named `docker-credential-…` that keep passwords in a place of their own.
//!
//! Source: `client.Store` of docker-credential-helpers v0.9.5: the action is the argument, the credential goes to
//! standard input as JSON, and a failure is told on standard output.

use std::io::{self, Write};
use std::process::{Command, Stdio};

use serde::Serialize;
use zeroize::Zeroizing;

/// At most this much of a helper's words is passed on.
const SAID_CHARS_MAX: usize = 300;
/// The helper of AWS, which makes its tokens itself.
const ECR_LOGIN: &str = "ecr-login";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Credential<'a> {
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a str,
}

/// Why a helper did not keep a password.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// The helper that needs no login.
    #[error(
        "docker-credential-ecr-login keeps no password, because it asks ECR itself at each pull: no login is needed; \
         take it out of credHelpers or credsStore to log in here"
    )]
    EcrLogin,
    /// Its name is no part of a program's name.
    #[error(
        "its credential helper {0:?} is no name of a program docker-credential-…: correct credHelpers or credsStore"
    )]
    Name(String),
    /// It cannot be run.
    #[error(
        "the credential helper {program} cannot be run ({cause}): install it, or take it out of credHelpers or credsStore"
    )]
    NotRun {
        /// The program.
        program: String,
        /// Why.
        cause: io::Error,
    },
    /// It ran and failed.
    #[error("the credential helper {program} refused ({said})")]
    Refused {
        /// The program.
        program: String,
        /// Its words, or how it ended.
        said: String,
    },
}

/// Has the helper keep a password. Waits for as long as it takes: it may ask its user for a passphrase.
///
/// # Errors
/// [`HelperError`], in one sentence.
pub fn store(helper: &str, host: &str, username: &str, password: &str) -> Result<(), HelperError> {
    if helper == ECR_LOGIN {
        return Err(HelperError::EcrLogin);
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if helper.is_empty() || !helper.bytes().all(is_name) {
        return Err(HelperError::Name(helper.chars().take(64).collect()));
    }
    let program = format!("docker-credential-{helper}");
    let credential = Credential {
        server_url: host,
        username,
        secret: password,
    };
    // Strings always serialise.
    let credential = Zeroizing::new(serde_json::to_vec(&credential).unwrap_or_default());
    let not_run = |cause| HelperError::NotRun {
        program: program.clone(),
        cause,
    };
    let mut child = Command::new(&program)
        .arg("store")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(not_run)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading says why by its exit code.
        let _read = stdin.write_all(&credential);
    }
    let output = child.wait_with_output().map_err(not_run)?;
    if output.status.success() {
        return Ok(());
    }
    let said = words(&output.stdout, password);
    let said = if said.is_empty() {
        output.status.to_string()
    } else {
        said
    };
    Err(HelperError::Refused { program, said })
}

/// What it said, on one line, without the password that it may repeat.
fn words(said: &[u8], password: &str) -> String {
    let said = String::from_utf8_lossy(said).replace(password, "[REDACTED]");
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    words
        .chars()
        .filter(|c| !c.is_control())
        .take(SAID_CHARS_MAX)
        .collect()
}
