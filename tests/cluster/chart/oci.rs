//! Charts in an OCI registry that is named as ECR's are, by a login that `ecr-admission login` made.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ecr_admission::certificate::development::DevelopmentCa;
use ecr_admission::clock::Clock;
use jiff::SignedDuration;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::ecr::{Answer, EcrDouble};
use crate::harness::component::Component;
use crate::harness::control_plane::{ControlPlane, Said, free_ports};
use crate::harness::helm::Helm;
use crate::harness::namespace::REGISTRY;
use crate::harness::{eventually, run};
use crate::node::machine::binary;
use crate::node::registry::Password;
use crate::proxy::ConnectProxy;

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/chart");
/// How long a password of ECR lives.
const TWELVE_HOURS: SignedDuration = SignedDuration::from_hours(12);

/// A registry with a password that clients reach as an ECR host, by a proxy that knows that name, and somebody's home in
/// front of it.
struct Shop {
    /// The home, with all files.
    folder: PathBuf,
    kubeconfig: PathBuf,
    ecr: EcrDouble,
    proxy: ConnectProxy,
    _registry: Component,
}

impl Shop {
    async fn open(plane: &ControlPlane) -> Self {
        let folder = plane.folder.join("shop");
        std::fs::create_dir_all(&folder).unwrap();
        let [port] = free_ports();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let registry = serve(&folder, address);
        eventually("the registry listens", async || {
            registry.must_run();
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
        let shop = Self {
            kubeconfig: plane.folder.join("admin.kubeconfig"),
            ecr: EcrDouble::start().await,
            proxy: ConnectProxy::start(&[(REGISTRY, address)], None).await,
            _registry: registry,
            folder,
        };
        shop.rotate(Password::First);
        shop
    }

    /// From now on AWS hands out this password, and the registry takes no other.
    fn rotate(&self, password: Password) {
        self.ecr
            .always(Answer::Token(password.text().to_owned(), TWELVE_HOURS));
        password.write(&self.folder);
    }

    /// Runs a program of this home.
    async fn said(&self, program: &Path, arguments: &[&str]) -> Said {
        let child = tokio::process::Command::new(program)
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .env("HOME", &self.folder)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .env("AWS_ENDPOINT_URL_ECR", &self.ecr.url)
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "example")
            .env("HTTPS_PROXY", self.proxy_for(program))
            .output();
        child.await.unwrap().into()
    }

    /// ECR's double is not behind the proxy, and the API server is on loopback, which Go never asks a proxy for.
    fn proxy_for(&self, program: &Path) -> String {
        match program.file_name().and_then(OsStr::to_str) {
            Some("helm") => format!("http://{}", self.proxy.address),
            _ => String::new(),
        }
    }

    async fn login(&self, more: &[&str]) {
        let program = Path::new(env!("CARGO_BIN_EXE_ecr-admission"));
        let said = self
            .said(program, &[&["login", REGISTRY], more].concat())
            .await;
        assert!(said.ok && said.out.starts_with("Logged in to "), "{said:?}");
    }

    async fn helm(&self, helm: Helm, arguments: &[&str]) -> Said {
        let authority = self.folder.join("ca.crt");
        let trusting = match arguments[0] {
            "push" | "pull" | "install" => &["--ca-file", authority.to_str().unwrap()][..],
            _ => &[],
        };
        self.said(&helm.binary(), &[arguments, trusting].concat())
            .await
    }

    async fn must(&self, helm: Helm, arguments: &[&str]) -> Said {
        let said = self.helm(helm, arguments).await;
        assert!(said.ok, "{helm:?} {arguments:?}: {said:?}");
        said
    }
}

/// The real registry, with the certificate of an ECR host.
fn serve(folder: &Path, address: SocketAddr) -> Component {
    let made = Clock::system().now() - SignedDuration::from_hours(1);
    let names = [REGISTRY.to_owned()];
    let ca = DevelopmentCa::new(made, &names, Duration::from_hours(24)).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("ca.crt", &ca.ca_pem);
    write("tls.crt", &ca.cert_pem);
    write("tls.key", ca.key_pem.expose_secret());
    Password::First.write(folder);
    let config = json!({
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": folder.join("storage")}},
        "http": {
            "addr": address.to_string(),
            "tls": {"certificate": folder.join("tls.crt"), "key": folder.join("tls.key")},
        },
        "auth": {"htpasswd": {"realm": "ecr", "path": folder.join("htpasswd")}},
    });
    // JSON is YAML.
    write("registry.json", &config.to_string());
    let mut registry = Command::new(binary("registry"));
    registry.arg("serve").arg(folder.join("registry.json"));
    registry.env("OTEL_TRACES_EXPORTER", "none");
    Component::start(&registry, &folder.join("registry.log"))
}

#[test]
fn a_chart_and_our_own_are_pushed_to_and_installed_from_an_ecr_host_by_our_login() {
    run(async {
        let plane = ControlPlane::start("oci").await;
        let shop = Shop::open(&plane).await;
        let charts = format!("oci://{REGISTRY}/charts");
        shop.must(Helm::Four, &["create", "store"]).await;
        for chart in ["store", CHART] {
            shop.must(Helm::Four, &["package", chart]).await;
        }
        let packages = ["store-0.1.0.tgz", "ecr-admission-0.1.0.tgz"];

        let refused = shop.helm(Helm::Four, &["push", packages[0], &charts]).await;
        assert!(!refused.ok, "nobody has logged in: {refused:?}");
        shop.login(&[]).await;
        for package in packages {
            shop.must(Helm::Four, &["push", package, &charts]).await;
        }
        for (number, helm) in Helm::ALL.into_iter().enumerate() {
            let namespace = format!("ecr-admission-{number}");
            let options = [
                "--namespace",
                &namespace,
                "--create-namespace",
                "--version",
                "0.1.0",
                // The definition of EcrPolicy outlives the release that brought it.
                "--take-ownership",
            ];
            for name in ["store", "ecr-admission"] {
                let chart = format!("{charts}/{name}");
                let install = ["install", name, &chart];
                shop.must(helm, &[&install[..], &options].concat()).await;
                let deployment = format!("/apis/apps/v1/namespaces/{namespace}/deployments/{name}");
                assert!(plane.api.exists(&deployment).await);
                // Without nodes the Job of the uninstall would never run.
                let uninstall = ["uninstall", name, "--namespace", &namespace, "--no-hooks"];
                shop.must(helm, &uninstall).await;
            }
        }
        assert!(shop.proxy.seen().contains(&format!("{REGISTRY}:443")));
    });
}

#[test]
fn twelve_hours_later_a_new_login_serves_helm_in_its_own_file_too() {
    run(async {
        let plane = ControlPlane::start("oci-later").await;
        let shop = Shop::open(&plane).await;
        let chart = format!("oci://{REGISTRY}/charts/store");
        shop.must(Helm::Four, &["create", "store"]).await;
        shop.must(Helm::Four, &["package", "store"]).await;
        shop.login(&["--client", "helm"]).await;
        let own = shop.folder.join(".config/helm/registry/config.json");
        assert!(own.exists() && !shop.folder.join(".docker").exists());
        let push = [
            "push",
            "store-0.1.0.tgz",
            &format!("oci://{REGISTRY}/charts"),
        ];
        shop.must(Helm::Four, &push).await;

        shop.rotate(Password::Second);
        for helm in Helm::ALL {
            let refused = shop.helm(helm, &["pull", &chart]).await;
            assert!(!refused.ok, "the old password is over: {refused:?}");
        }
        // Into docker's file alone it would not do, for helm reads its own first; so it is told.
        let program = Path::new(env!("CARGO_BIN_EXE_ecr-admission"));
        let said = shop.said(program, &["login", REGISTRY]).await;
        assert!(
            said.err
                .contains(&format!("ecr-admission login --client helm {REGISTRY}")),
            "{said:?}"
        );
        assert!(!shop.helm(Helm::Four, &["pull", &chart]).await.ok);
        shop.login(&["--client", "helm"]).await;
        for helm in Helm::ALL {
            shop.must(helm, &["pull", &chart]).await;
        }
    });
}
