//! `ecr-admission serve` as a process of its own, over the doubles.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecr_admission::certificate::development::DevelopmentCa;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::api_server::ApiServer;
use super::ecr::EcrDouble;
use super::https::{Client, LONG, development_ca, request};

/// The program: what Cargo has just built, or the file that `PROGRAM_UNDER_TEST` names, such as the one that is shipped.
pub(crate) fn program() -> OsString {
    let built = || env!("CARGO_BIN_EXE_ecr-admission").into();
    std::env::var_os("PROGRAM_UNDER_TEST").unwrap_or_else(built)
}

/// A running `serve`, killed when dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) folder: TempDir,
    pub(crate) client: Client,
    admin: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts it and waits until it says that it serves (it may still be unready).
    pub(crate) async fn start(api: &ApiServer, ecr: &EcrDouble, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_pair(&folder, &development_ca());
        let mut command = Self::command(api, ecr, &folder);
        command.args(["--tls-cert", "tls.crt", "--tls-key", "tls.key"]);
        command.args(more);
        Self::follow(command, folder).await
    }

    /// Starts a command that was made with [`Process::command`] in `folder`.
    pub(crate) async fn follow(mut command: Command, folder: TempDir) -> Self {
        let mut child = command.spawn().unwrap();
        let log = follow(&mut child);
        let serving = wait_for(&log, "serving").await;
        let address = |field: &str| serving[field].as_str().unwrap().parse().unwrap();
        let ca = std::fs::read_to_string(folder.path().join("ca.crt")).unwrap();
        Self {
            client: Client::trusting(&[&ca], address("listen")),
            admin: address("admin"),
            child,
            folder,
            log,
        }
    }

    /// The command, in a folder of its own and with no environment but what the doubles need.
    pub(crate) fn command(api: &ApiServer, ecr: &EcrDouble, folder: &TempDir) -> Command {
        let mut command = Command::new(program());
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .current_dir(folder.path())
            .env_clear()
            .env("HOME", folder.path())
            .env("ECR_ADMISSION_LOG_FORMAT", "json")
            .env("ECR_ADMISSION_LOG", "debug")
            .env("KUBECONFIG", api.write_kubeconfig(folder.path()))
            .env("AWS_ENDPOINT_URL_ECR", &ecr.url)
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "example")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Posts a review to `/mutate` on a new connection and returns the answer's `response`.
    pub(crate) async fn admit(&self, review: &Value) -> Value {
        let mut connection = self.client.http1().await;
        let mut request = request("POST", "/mutate?timeout=5s", review.to_string());
        let json = "application/json".parse().unwrap();
        request.headers_mut().insert("content-type", json);
        let response = connection.sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let mut answer: Value = serde_json::from_slice(&body).unwrap();
        answer["response"].take()
    }

    /// Asks the admin port.
    pub(crate) async fn admin(&self, path: &str) -> (StatusCode, String) {
        let tcp = TcpStream::connect(self.admin).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp))
            .await
            .unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request("GET", path, "")).await.unwrap();
        let status = response.status();
        (status, super::https::text(response).await)
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.admin("/readyz").await.0 == StatusCode::OK
    }

    pub(crate) async fn ready(&self) {
        eventually(|| self.is_ready()).await;
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.id();
        let sent = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{name} {id}"))
            .status();
        assert!(sent.await.unwrap().success());
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(LONG, self.child.wait()).await;
        ended.expect("it goes on").unwrap()
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }
}

/// Writes `ca.crt`, `tls.crt` and `tls.key`.
pub(crate) fn write_pair(folder: &TempDir, ca: &DevelopmentCa) {
    std::fs::write(folder.path().join("ca.crt"), &ca.ca_pem).unwrap();
    std::fs::write(folder.path().join("tls.crt"), &ca.cert_pem).unwrap();
    std::fs::write(folder.path().join("tls.key"), ca.key_pem.expose_secret()).unwrap();
}

/// Waits until `holds` does.
pub(crate) async fn eventually<F: Future<Output = bool>>(holds: impl Fn() -> F) {
    let waiting = async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, waiting).await.expect("it never came true");
}

fn follow(child: &mut Child) -> Arc<Mutex<Vec<String>>> {
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let written = Arc::clone(&log);
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            written.lock().unwrap().push(line);
        }
    });
    log
}

async fn wait_for(log: &Mutex<Vec<String>>, message: &str) -> Value {
    let found = async {
        loop {
            let line = log.lock().unwrap().iter().find_map(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["message"] == message).then_some(line)
            });
            if let Some(line) = line {
                return line;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let found = timeout(LONG, found).await;
    found.unwrap_or_else(|_| panic!("no {message:?} in\n{}", log.lock().unwrap().join("\n")))
}
