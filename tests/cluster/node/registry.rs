//! A registry whose password changes as that of ECR does.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::SignedDuration;
use serde_json::json;

use super::machine::{DOUBLES, binary};
use crate::ecr::{Answer, EcrDouble};
use crate::harness::component::Component;
use crate::harness::control_plane::{ControlPlane, from_run};
use crate::harness::eventually;

/// Where every registry host of the nodes leads to, but [`OPEN_HOST`].
pub(crate) const CLOSED: &str = "10.0.0.1:5000";
/// The same images without a password: for what the nodes would have from elsewhere.
pub(crate) const OPEN: &str = "10.0.0.1:5001";
/// What images of [`OPEN`] are named after.
pub(crate) const OPEN_HOST: &str = "open.registry.test";

/// ECR's passwords, one after the other, each with its bcrypt hash (`htpasswd -nbB AWS PASSWORD`): fixed, so that nothing
/// here needs to make such hashes.
#[derive(Clone, Copy)]
pub(crate) enum Password {
    First,
    Second,
}

impl Password {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::First => "password-1",
            Self::Second => "password-2",
        }
    }

    fn hash(self) -> &'static str {
        match self {
            Self::First => "$2b$05$ecradmissionnodetiersOwkH0aV0jUxDRpfKdPEJQWG6jhlQiMkq",
            Self::Second => "$2b$05$ecradmissionnodetiersOL25J5fnGPZHtyg2HeiDz8FyZ0Znsr56",
        }
    }

    /// Makes it the one that a registry with its htpasswd in this folder takes. The registry looks at the file's time of
    /// change when it is asked.
    pub(crate) fn write(self, folder: &Path) {
        // Whole at once, because it may be read at any time.
        let new = folder.join("htpasswd.new");
        std::fs::write(&new, format!("AWS:{}\n", self.hash())).unwrap();
        std::fs::rename(new, folder.join("htpasswd")).unwrap();
    }
}

/// A running registry.
pub(crate) struct Registry {
    folder: PathBuf,
    closed: Component,
    _open: Component,
}

impl Registry {
    pub(crate) async fn start(plane: &ControlPlane) -> Self {
        let folder = plane.folder.join("registry");
        std::fs::create_dir_all(&folder).unwrap();
        Password::First.write(&folder);
        let registry = Self {
            closed: serve(plane, &folder, "registry", CLOSED, true),
            _open: serve(plane, &folder, "open-registry", OPEN, false),
            folder,
        };
        for address in [CLOSED, OPEN] {
            eventually("the registry listens", async || {
                registry.closed.must_run();
                tokio::net::TcpStream::connect(address).await.is_ok()
            })
            .await;
        }
        registry
    }

    /// From now on AWS hands out this password, with this life, and the registry takes no other.
    pub(crate) fn rotate(&self, ecr: &EcrDouble, password: Password, life: SignedDuration) {
        ecr.always(Answer::Token(password.text().to_owned(), life));
        password.write(&self.folder);
    }

    /// Whether somebody who knows this password gets in.
    pub(crate) async fn takes(&self, password: Password) -> bool {
        let folder = self.folder.join(password.text());
        std::fs::create_dir_all(&folder).unwrap();
        let auth = BASE64_STANDARD.encode(format!("AWS:{}", password.text()));
        let config = json!({"auths": {CLOSED: {"auth": auth}}});
        std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let mut crane = self.crane(&["catalog", CLOSED]);
        let status = crane.env("DOCKER_CONFIG", folder).status().await;
        status.unwrap().success()
    }

    /// Pushes an OCI layout that `image/build` or `image/pack` made.
    pub(crate) async fn push(&self, layout: &str, name: &str) {
        let layout = Path::new(&from_run("CLUSTER_IMAGES")).join(layout);
        let name = format!("{OPEN}/{name}");
        self.must(&["push", "--index", layout.to_str().unwrap(), &name])
            .await;
    }

    /// Makes an image that no node has yet: `from`, which was pushed, with a label of its own.
    pub(crate) async fn vary(&self, from: &str, name: &str) {
        let (from, label) = (format!("{OPEN}/{from}"), format!("name={name}"));
        let name = format!("{OPEN}/{name}");
        let platform = ["--platform", "linux/amd64"];
        self.must(
            &[
                &["mutate", &from, "--label", &label, "--tag", &name],
                &platform[..],
            ]
            .concat(),
        )
        .await;
    }

    /// Runs crane, which must succeed.
    pub(crate) async fn must(&self, arguments: &[&str]) {
        let output = self.crane(arguments).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "crane {arguments:?}: {said}");
    }

    fn crane(&self, arguments: &[&str]) -> tokio::process::Command {
        let mut crane = tokio::process::Command::new(binary("crane"));
        crane
            .args(arguments)
            .env_clear()
            .env("HOME", &self.folder)
            .env("SSL_CERT_FILE", self.folder.join("../ca.crt"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        crane
    }
}

fn serve(
    plane: &ControlPlane,
    folder: &Path,
    name: &str,
    address: &str,
    closed: bool,
) -> Component {
    let file = |name: &str| plane.folder.join(name);
    let mut config = json!({
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": folder.join("storage")}},
        "http": {
            "addr": address,
            "secret": "nobody uploads to two of them",
            "tls": {"certificate": file("tls.crt"), "key": file("tls.key")},
        },
    });
    if closed {
        config["auth"] = json!({"htpasswd": {"realm": DOUBLES, "path": folder.join("htpasswd")}});
    }
    let path = folder.join(format!("{name}.json"));
    // JSON is YAML.
    std::fs::write(&path, config.to_string()).unwrap();
    let mut registry = Command::new(binary("registry"));
    registry.arg("serve").arg(path);
    registry.env("OTEL_TRACES_EXPORTER", "none");
    Component::start(&registry, &file(&format!("{name}.log")))
}
