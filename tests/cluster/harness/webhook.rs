//! `ecr-admission serve` as a local process, as the account that it runs as in a cluster.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::component::Component;
use super::control_plane::ControlPlane;
use super::eventually;
use crate::ecr::EcrDouble;

/// What the measurements are of, or what cargo has built beside the tests.
fn program() -> OsString {
    let built = || env!("CARGO_BIN_EXE_ecr-admission").into();
    std::env::var_os("PROGRAM_UNDER_TEST").unwrap_or_else(built)
}

/// How one is started.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    kubeconfig: Option<PathBuf>,
    /// What it logs, if not everything.
    level: Option<&'static str>,
}

impl Settings {
    /// With self-managed certificates.
    pub(crate) fn self_managed() -> Self {
        Self::default()
    }

    /// With the certificate in a folder's `tls.crt` and `tls.key`.
    pub(crate) fn files(folder: &Path) -> Self {
        let (cert, key) = (folder.join("tls.crt"), folder.join("tls.key"));
        Self::default().with([
            "--tls-cert".into(),
            cert.into(),
            "--tls-key".into(),
            key.into(),
        ])
    }

    /// With more arguments.
    pub(crate) fn with(mut self, more: impl IntoIterator<Item = OsString>) -> Self {
        self.arguments.extend(more);
        self
    }

    /// With fewer log lines.
    pub(crate) fn logging(self, level: &'static str) -> Self {
        Self {
            level: Some(level),
            ..self
        }
    }

    /// With another way to the API server, as another account.
    pub(crate) fn connecting_by(self, kubeconfig: PathBuf) -> Self {
        Self {
            kubeconfig: Some(kubeconfig),
            ..self
        }
    }

    /// With roles assumed at a double.
    pub(crate) fn with_roles(mut self, ecr: &EcrDouble) -> Self {
        let url = ecr.url.clone().into();
        self.environment.push(("AWS_ENDPOINT_URL_STS", url));
        let region = "eu-west-1".into();
        self.environment.push(("AWS_REGION", region));
        self
    }

    /// With another AWS than the double, at this URL.
    pub(crate) fn with_aws(mut self, url: &str) -> Self {
        for name in ["AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL_STS"] {
            self.environment.push((name, url.into()));
        }
        self
    }

    /// With a wall clock that is wrong by so many seconds.
    pub(crate) fn with_clock_off(mut self, clock: &Path, seconds: i64) -> Self {
        self.environment.push(("LD_PRELOAD", clock.into()));
        let seconds = seconds.to_string().into();
        self.environment.push(("CLOCK_OFF_SECONDS", seconds));
        self
    }
}

/// A running webhook, killed when dropped.
pub(crate) struct Webhook {
    pub(crate) process: Component,
    /// Where it serves.
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
}

impl Webhook {
    /// Starts one with the control plane's certificate and waits until it is ready. Several in one control plane need
    /// different names.
    pub(crate) async fn start(plane: &ControlPlane, ecr: &EcrDouble, name: &str) -> Self {
        Self::start_with(plane, ecr, name, Settings::files(&plane.folder)).await
    }

    /// Starts one in another way and waits until it is ready.
    pub(crate) async fn start_with(
        plane: &ControlPlane,
        ecr: &EcrDouble,
        name: &str,
        settings: Settings,
    ) -> Self {
        let kubeconfig = match settings.kubeconfig {
            Some(kubeconfig) => kubeconfig,
            None => plane.kubeconfig(name, &plane.token().await),
        };
        let mut serve = Command::new(program());
        serve
            .args(["serve", "--namespace", "ecr-admission"])
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--log-format", "json"])
            .args(["--log", settings.level.unwrap_or("debug")])
            .args(settings.arguments)
            .env("KUBECONFIG", kubeconfig)
            .env("AWS_ENDPOINT_URL_ECR", &ecr.url)
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "example")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(settings.environment);
        let process = Component::start(&serve, &plane.folder.join(format!("{name}.log")));
        eventually("the webhook serves", async || {
            process.must_run();
            serving(&process).is_some()
        })
        .await;
        let serving = serving(&process).unwrap();
        let address = |field: &str| serving[field].as_str().unwrap().parse().unwrap();
        let webhook = Self {
            address: address("listen"),
            admin: address("admin"),
            process,
        };
        eventually("the webhook is ready", async || webhook.is_ready().await).await;
        webhook
    }

    /// Asks the admin port.
    pub(crate) async fn admin(&self, path: &str) -> (StatusCode, String) {
        ask(self.admin, path).await
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.admin("/readyz").await.0 == StatusCode::OK
    }

    /// Whether it is ready and calls a condition degraded.
    pub(crate) async fn is_degraded(&self, condition: &str) -> bool {
        let (status, page) = self.admin("/readyz?verbose").await;
        status == StatusCode::OK && page.contains(&format!("{condition}: degraded"))
    }

    /// The sum of the counters whose line starts with `series`: a name, or a name and its first labels.
    pub(crate) async fn counted(&self, series: &str) -> u64 {
        counted(self.admin, series).await
    }
}

/// Asks an admin port.
async fn ask(admin: SocketAddr, path: &str) -> (StatusCode, String) {
    let tcp = TcpStream::connect(admin).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "localhost");
    let request = request.body(Full::new(Bytes::new())).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// The sum of the counters behind an admin port whose line starts with `series`.
pub(crate) async fn counted(admin: SocketAddr, series: &str) -> u64 {
    let (_, page) = ask(admin, "/metrics").await;
    let values = page.lines().filter(|line| line.starts_with(series));
    let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    values.sum()
}

/// The log line that says where it serves.
fn serving(process: &Component) -> Option<Value> {
    process.log().lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["message"] == "serving").then_some(line)
    })
}
