//! etcd, kube-apiserver and kube-controller-manager on loopback.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ecr_admission::certificate::development::DevelopmentCa;
use ecr_admission::clock::Clock;
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::io::AsyncWriteExt;

use super::api::Api;
use super::component::Component;
use super::eventually;
use crate::pki::TestCa;

const ADMIN_TOKEN: &str = "token-of-the-administrator";

/// What the tests need controllers for.
const CONTROLLERS: &str = "serviceaccount-controller,namespace-controller,garbage-collector-controller,\
    deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller,job-controller,\
    cronjob-controller";

/// Where a control plane listens, and what it does beyond keeping objects.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) address: &'static str,
    /// A free one unless given.
    pub(crate) port: Option<u16>,
    /// What the API server's certificate names, beside loopback and the Service of ecr-admission.
    pub(crate) names: &'static [&'static str],
    pub(crate) api_server: &'static [&'static str],
    /// Beside [`CONTROLLERS`]; each with a comma before it.
    pub(crate) controllers: &'static str,
    /// The bearer tokens of others than the administrator, as lines of the API server's token file.
    pub(crate) tokens: &'static str,
}

/// On loopback, without a node.
const ALONE: Setting = Setting {
    address: "127.0.0.1",
    port: None,
    names: &[],
    api_server: &["--bind-address=127.0.0.1"],
    controllers: "",
    tokens: "",
};

/// A running control plane, stopped when dropped.
pub(crate) struct ControlPlane {
    /// Everything that it writes is here, until `run` removes it.
    pub(crate) folder: PathBuf,
    /// Where the API server listens.
    pub(crate) url: String,
    /// The administrator's client.
    pub(crate) api: Api,
    /// Signed the certificate of the API server, which serves webhooks on loopback as well.
    pub(crate) ca: DevelopmentCa,
    /// Signed the certificate that the API server shows to the webhook of our Service on `authenticated_port`, and to no
    /// other.
    pub(crate) client_ca: TestCa,
    pub(crate) authenticated_port: u16,
    pub(crate) etcd: Component,
    setting: Setting,
    api_server: Option<Component>,
    _controllers: Component,
}

impl ControlPlane {
    /// Starts one, with its files in a folder called `name`, and waits until it is ready.
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_in(name, ALONE).await
    }

    /// Starts one as `setting` says.
    pub(crate) async fn start_in(name: &str, setting: Setting) -> Self {
        let folder = PathBuf::from(from_run("CLUSTER_FOLDER")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let (ca, client_ca) = (authority(setting.names), TestCa::new());
        let [etcd_port, peer_port, port, authenticated_port] = free_ports();
        let port = setting.port.unwrap_or(port);
        write_secrets(&folder, &ca, setting.tokens);
        write_client(&folder, &client_ca, authenticated_port);
        let etcd = start_etcd(&folder, etcd_port, peer_port);
        let api_server = start_api_server(&folder, setting, etcd_port, port);
        let url = format!("https://{}:{port}", setting.address);
        let kubeconfig = write_kubeconfig(&folder, "admin", &url, ADMIN_TOKEN);
        let api = Api::connect(&kubeconfig).await;
        ready(&api, &api_server).await;
        let controllers = start_controllers(&folder, setting, &kubeconfig);
        Self {
            setting,
            _controllers: controllers,
            etcd,
            api_server: Some(api_server),
            folder,
            url,
            api,
            ca,
            client_ca,
            authenticated_port,
        }
    }

    /// The API server, which must run.
    pub(crate) fn api_server(&self) -> &Component {
        self.api_server.as_ref().unwrap()
    }

    /// Kills the API server.
    pub(crate) fn kill_api_server(&mut self) {
        self.api_server = None;
    }

    /// Starts the API server again, at the same address, and waits until it is ready.
    pub(crate) async fn restart_api_server(&mut self) {
        let etcd = std::fs::read_to_string(self.folder.join("etcd-url")).unwrap();
        let etcd_port = etcd.rsplit(':').next().unwrap().parse().unwrap();
        let port = self.address().port();
        let api_server = start_api_server(&self.folder, self.setting, etcd_port, port);
        ready(&self.api, &api_server).await;
        self.api_server = Some(api_server);
    }

    /// Writes a kubeconfig for somebody with a bearer token.
    pub(crate) fn kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        write_kubeconfig(&self.folder, name, &self.url, token)
    }

    /// The same, by way of another port of loopback.
    pub(crate) fn kubeconfig_by(&self, port: u16, name: &str, token: &str) -> PathBuf {
        let url = format!("https://127.0.0.1:{port}");
        write_kubeconfig(&self.folder, name, &url, token)
    }

    /// Where the API server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        let authority = self.url.strip_prefix("https://").unwrap();
        authority.parse().unwrap()
    }

    /// A token of the account that ecr-admission runs as.
    pub(crate) async fn token(&self) -> String {
        let path = "/api/v1/namespaces/ecr-admission/serviceaccounts/ecr-admission/token";
        let request =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let answer = self.api.create(path, &request).await.unwrap();
        answer["status"]["token"].as_str().unwrap().to_owned()
    }

    /// Runs kubectl as the administrator, or as whom the arguments say.
    pub(crate) async fn kubectl(&self, arguments: &[&str], stdin: &str) -> Said {
        self.tool(&kubernetes("kubectl"), arguments, stdin).await
    }

    /// Runs a client as the administrator.
    pub(crate) async fn tool(&self, binary: &Path, arguments: &[&str], stdin: &str) -> Said {
        let kubeconfig = self.folder.join("admin.kubeconfig");
        let variables = [("HOME", &self.folder), ("KUBECONFIG", &kubeconfig)];
        said(binary, arguments, variables, stdin).await
    }
}

/// Runs a program with nothing in its environment but `variables`.
pub(crate) async fn said<const N: usize>(
    binary: &Path,
    arguments: &[&str],
    variables: [(&str, &PathBuf); N],
    stdin: &str,
) -> Said {
    let mut child = tokio::process::Command::new(binary)
        .args(arguments)
        .env_clear()
        .envs(variables)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // It may refuse its arguments without reading.
    let _ = pipe.write_all(stdin.as_bytes()).await;
    drop(pipe);
    child.wait_with_output().await.unwrap().into()
}

/// What a program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap().trim().to_owned();
        Self {
            ok: output.status.success(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

/// The Kubernetes version under test, such as `1.36`.
pub(crate) fn version() -> String {
    from_run("CLUSTER_KUBERNETES_VERSION")
}

/// Where `run` says that something is.
pub(crate) fn from_run(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: start these tests with tests/cluster/run")
    })
}

pub(crate) fn kubernetes(binary: &str) -> PathBuf {
    Path::new(&from_run("CLUSTER_KUBERNETES")).join(binary)
}

fn authority(names: &[&str]) -> DevelopmentCa {
    let own = ["127.0.0.1", "localhost", "ecr-admission.ecr-admission.svc"];
    let names: Vec<String> = [&own, names]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    // Older than any clock in the tests is behind.
    let made = Clock::system().now() - jiff::SignedDuration::from_hours(1);
    DevelopmentCa::new(made, &names, Duration::from_hours(24)).unwrap()
}

/// Ports below those that the kernel gives to outgoing connections, so that nobody takes one before we use it.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let mut held = Vec::new();
    while held.len() < N {
        let port = fastrand::u16(10_000..32_000);
        held.extend(TcpListener::bind(("127.0.0.1", port)));
    }
    let ports: Vec<u16> = held
        .iter()
        .map(|held| held.local_addr().unwrap().port())
        .collect();
    ports.try_into().unwrap()
}

fn write_secrets(folder: &Path, ca: &DevelopmentCa, tokens: &str) {
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("ca.crt", &ca.ca_pem);
    write("tls.crt", &ca.cert_pem);
    write("tls.key", ca.key_pem.expose_secret());
    let accounts = rcgen::KeyPair::generate().unwrap();
    write("accounts.key", &accounts.serialize_pem());
    write("accounts.pub", &accounts.public_key_pem());
    write(
        "tokens.csv",
        &format!("{ADMIN_TOKEN},administrator,1,system:masters\n{tokens}"),
    );
    write(
        "audit-policy.yaml",
        include_str!("../fixtures/audit-policy.yaml"),
    );
}

/// The admission configuration of certs/, with the paths and the port of this control plane.
fn write_client(folder: &Path, ca: &TestCa, port: u16) {
    let here = folder.to_str().unwrap();
    for (name, text) in [
        (
            "admission-configuration.yaml",
            include_str!("../../../certs/api-server/admission-configuration.yaml"),
        ),
        (
            "webhook-clients.yaml",
            include_str!("../../../certs/api-server/webhook-clients.yaml"),
        ),
    ] {
        let text = text.replace("/etc/kubernetes/ecr-admission", here);
        let user = "name: ecr-admission.ecr-admission.svc";
        let text = text.replace(user, &format!("{user}:{port}"));
        std::fs::write(folder.join(name), text).unwrap();
    }
    let pair = ca.client_pem("api-server");
    for (name, pem) in ["client.crt", "client.key"].into_iter().zip(pair) {
        std::fs::write(folder.join(name), pem).unwrap();
    }
}

fn write_kubeconfig(folder: &Path, name: &str, url: &str, token: &str) -> PathBuf {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": url, "certificate-authority": folder.join("ca.crt")}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    });
    let path = folder.join(format!("{name}.kubeconfig"));
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

fn start_etcd(folder: &Path, port: u16, peer_port: u16) -> Component {
    let (client, peer) = (
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{peer_port}"),
    );
    std::fs::write(folder.join("etcd-url"), &client).unwrap();
    let mut etcd = Command::new(Path::new(&from_run("CLUSTER_ETCD")).join("etcd"));
    etcd.arg("--data-dir").arg(folder.join("etcd"));
    etcd.args([
        "--listen-client-urls",
        &client,
        "--advertise-client-urls",
        &client,
    ]);
    etcd.args([
        "--listen-peer-urls",
        &peer,
        "--initial-advertise-peer-urls",
        &peer,
    ]);
    etcd.args(["--initial-cluster", &format!("default={peer}")]);
    // Nobody needs the data after a power cut.
    etcd.args(["--unsafe-no-fsync", "--log-level=warn"]);
    Component::start(&etcd, &folder.join("etcd.log"))
}

fn start_api_server(folder: &Path, setting: Setting, etcd_port: u16, port: u16) -> Component {
    let mut server = Command::new(kubernetes("kube-apiserver"));
    let mut file = |flag: &str, name: &str| {
        server.arg(format!("--{flag}={}", folder.join(name).display()));
    };
    file("tls-cert-file", "tls.crt");
    file("tls-private-key-file", "tls.key");
    file("service-account-key-file", "accounts.pub");
    file("service-account-signing-key-file", "accounts.key");
    file("token-auth-file", "tokens.csv");
    file("audit-policy-file", "audit-policy.yaml");
    file("audit-log-path", "audit.log");
    file(
        "admission-control-config-file",
        "admission-configuration.yaml",
    );
    server.args([
        &format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        &format!("--secure-port={port}"),
        "--service-account-issuer=https://kubernetes.default.svc",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--endpoint-reconciler-type=none",
    ]);
    server.args(setting.api_server);
    if version() == "1.33" {
        // On by default since 1.35.
        server.arg("--feature-gates=ImageVolume=true");
    }
    Component::start(&server, &folder.join("kube-apiserver.log"))
}

fn start_controllers(folder: &Path, setting: Setting, kubeconfig: &Path) -> Component {
    let mut manager = Command::new(kubernetes("kube-controller-manager"));
    manager.arg(format!("--kubeconfig={}", kubeconfig.display()));
    manager.args([
        &format!("--controllers={CONTROLLERS}{}", setting.controllers),
        &format!("--root-ca-file={}", folder.join("ca.crt").display()),
        "--leader-elect=false",
        "--secure-port=0",
        // A burst of namespaces must not wait for their default ServiceAccounts.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--concurrent-serviceaccount-token-syncs=20",
    ]);
    Component::start(&manager, &folder.join("kube-controller-manager.log"))
}

async fn ready(api: &Api, server: &Component) {
    eventually("the API server is ready", async || {
        server.must_run();
        api.is_ready().await
    })
    .await;
}
