//! moto: an AWS of several accounts, that was not written by us.

use std::path::Path;
use std::process::Command;

use super::component::Component;
use super::control_plane::from_run;
use super::eventually;

/// A running moto, killed when dropped. It lets everybody in; a role's session belongs to the role's account, and so do
/// the tokens that it makes: `ACCOUNT-auth-token`.
pub(crate) struct Moto {
    _process: Component,
    /// For `AWS_ENDPOINT_URL_ECR` and `AWS_ENDPOINT_URL_STS`.
    pub(crate) url: String,
}

impl Moto {
    /// Starts one that logs into this folder.
    pub(crate) async fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let mut server = Command::new("python3");
        server
            .args(["-s", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONPATH", from_run("CLUSTER_MOTO"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("PYTHONUNBUFFERED", "1")
            .env("HOME", folder);
        let process = Component::start(&server, &folder.join("moto.log"));
        eventually("moto serves", async || {
            process.must_run();
            url(&process.log()).is_some()
        })
        .await;
        let url = url(&process.log()).unwrap();
        Self {
            _process: process,
            url,
        }
    }
}

/// What it says when it serves.
fn url(log: &str) -> Option<String> {
    let mut words = log.split_whitespace();
    let url = words.find(|word| word.starts_with("http://127.0.0.1:"))?;
    Some(url.to_owned())
}
