//! ecr-admission, installed by helm from its chart.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::machine::AWS;
use super::patiently;
use super::registry::OPEN_HOST;
use crate::ecr::EcrDouble;
use crate::harness::control_plane::ControlPlane;
use crate::harness::helm::Helm;
use crate::harness::namespace::SECRET;
use crate::harness::webhook::counted;

const NAMESPACE: &str = "ecr-admission";
/// A registry that looks like ECR to the MutatingAdmissionPolicy, which knows no settings, and that ecr-admission is told
/// to leave alone: whether its Pods are injected shows whether the policy is in force.
const INJECTED_BY_POLICY: &str = "210987654321.dkr.ecr.example.test";

/// The release, and where its values are.
pub(crate) struct Installation {
    values: PathBuf,
}

impl Installation {
    /// Installs it and waits until it serves.
    pub(crate) async fn install(plane: &ControlPlane, ecr: &EcrDouble) -> Self {
        let environment = [endpoints(ecr), keys()].concat();
        let values = json!({
            "image": {"repository": format!("{OPEN_HOST}/ecr-admission"), "tag": "v1"},
            // On a busy machine, no endpoint is withdrawn too late, and no answer is given too late.
            "shutdown": {"graceSeconds": 10},
            "webhooks": {"timeoutSeconds": 25},
            // Where some test's policy names a role, namespaces of other tests would be granted nothing.
            "config": {"policy": {"trustedHosts": [INJECTED_BY_POLICY], "defaultGrant": "Controller"}},
            "extraEnv": environment,
        });
        let installation = Self {
            values: plane.folder.join("values.json"),
        };
        std::fs::write(&installation.values, values.to_string()).unwrap();
        installation.upgrade(plane, &[]).await;
        installation
    }

    /// Installs it with these values (`path=value`) beside our own, and none of an earlier time, and waits until it serves.
    pub(crate) async fn upgrade(&self, plane: &ControlPlane, set: &[&str]) {
        self.upgrade_by(Helm::Four, plane, set).await;
    }

    /// The same, by this helm.
    pub(crate) async fn upgrade_by(&self, helm: Helm, plane: &ControlPlane, set: &[&str]) {
        let set: Vec<&str> = set.iter().flat_map(|value| ["--set", value]).collect();
        self.upgrade_to(helm, plane, &set).await;
    }

    /// The same, with values that replace our own where both say something.
    pub(crate) async fn upgrade_with(&self, plane: &ControlPlane, values: &Value) {
        let file = plane.folder.join("more-values.json");
        std::fs::write(&file, values.to_string()).unwrap();
        let more = ["--values", file.to_str().unwrap()];
        self.upgrade_to(Helm::Four, plane, &more).await;
    }

    async fn upgrade_to(&self, helm: Helm, plane: &ControlPlane, set: &[&str]) {
        let values = self.values.to_str().unwrap();
        let mut arguments = vec!["--install", "--create-namespace", "--values", values];
        arguments.extend(set);
        let said = helm.release(plane, "upgrade", &arguments).await;
        assert!(said.ok, "{helm:?} upgrade {set:?}: {}", said.err);
        let replicas = set.iter().find_map(|value| value.strip_prefix("replicas="));
        let replicas = replicas.map_or(2, |count| count.parse().unwrap());
        self.serves(plane, replicas).await;
        let injects = !set.contains(&"injectPolicy.mode=Never");
        let image = format!("--image={INJECTED_BY_POLICY}/probe:v1");
        let mut probe = vec!["run", "probe", &image, "--dry-run=server", "--output=json"];
        // It is given none by its ServiceAccount.
        let own = r#"{"apiVersion": "v1", "spec": {"imagePullSecrets": [{"name": "own"}]}}"#;
        probe.extend(["--overrides", own]);
        patiently("the API server injects too, if it is to", async || {
            let said = plane.kubectl(&probe, "").await;
            said.ok && said.out.contains(SECRET) == injects
        })
        .await;
    }

    /// Takes it away, and waits until it is gone.
    pub(crate) async fn uninstall(&self, plane: &ControlPlane) {
        let said = Helm::Four.release(plane, "uninstall", &["--wait"]).await;
        assert!(said.ok, "helm uninstall: {}", said.err);
        patiently("the replicas are gone", async || {
            self.pods(plane).await.is_empty()
        })
        .await;
    }

    /// Starts every replica anew, a few at a time, and waits for the last.
    pub(crate) async fn restart(&self, plane: &ControlPlane) {
        kubectl(plane, &["rollout", "restart", "deployment/ecr-admission"]).await;
        self.serves(plane, 2).await;
    }

    /// Makes it this many replicas, and waits for them.
    pub(crate) async fn scale(&self, plane: &ControlPlane, replicas: usize) {
        let count = format!("--replicas={replicas}");
        kubectl(plane, &["scale", "deployment/ecr-admission", &count]).await;
        self.serves(plane, replicas).await;
    }

    /// Waits until there are exactly so many Pods, all of them ready, and the API server asks them.
    pub(crate) async fn serves(&self, plane: &ControlPlane, replicas: usize) {
        let status = [
            "rollout",
            "status",
            "deployment/ecr-admission",
            "--timeout=5m",
        ];
        kubectl(plane, &status).await;
        patiently("the replicas are there", async || {
            self.pods(plane).await.len() == replicas
        })
        .await;
        let untagged = "111111111111.dkr.ecr.eu-west-1.amazonaws.com/probe";
        let probe = ["run", "probe", "--image", untagged, "--dry-run=server"];
        patiently("the API server asks them, if there are any", async || {
            let said = plane.kubectl(&probe, "").await;
            said.err.contains("[full-reference]") == (replicas > 0)
        })
        .await;
    }

    /// The Pods of the replicas.
    pub(crate) async fn pods(&self, plane: &ControlPlane) -> Vec<Value> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods");
        let list = plane.api.get(&path).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// The sum over all replicas of the counters whose line starts with `series`, for each replica.
    pub(crate) async fn counted(&self, plane: &ControlPlane, series: &str) -> Vec<u64> {
        let mut counts = Vec::new();
        for pod in self.pods(plane).await {
            let address = pod["status"]["podIP"].as_str().unwrap();
            let admin = SocketAddr::new(address.parse().unwrap(), 8080);
            counts.push(counted(admin, series).await);
        }
        counts
    }
}

/// Where AWS is: the double.
pub(crate) fn endpoints(ecr: &EcrDouble) -> Vec<Value> {
    let url = format!("http://{AWS}:{}", ecr.address.port());
    let variable = |name: &str| json!({"name": name, "value": url});
    ["AWS_ENDPOINT_URL_ECR", "AWS_ENDPOINT_URL_STS"]
        .map(variable)
        .into()
}

/// Who we are there.
fn keys() -> Vec<Value> {
    vec![
        json!({"name": "AWS_ACCESS_KEY_ID", "value": "AKIDEXAMPLE"}),
        json!({"name": "AWS_SECRET_ACCESS_KEY", "value": "example"}),
        json!({"name": "AWS_EC2_METADATA_DISABLED", "value": "true"}),
    ]
}

async fn kubectl(plane: &ControlPlane, arguments: &[&str]) {
    let arguments = [&["--namespace", NAMESPACE], arguments].concat();
    let said = plane.kubectl(&arguments, "").await;
    assert!(said.ok, "kubectl {arguments:?}: {}", said.err);
}
