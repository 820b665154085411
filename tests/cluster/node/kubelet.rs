//! A node: containerd and a kubelet.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::machine::{NAME_SERVER, binary};
use super::patiently;
use super::registry::{CLOSED, OPEN, OPEN_HOST, Registry};
use crate::harness::component::Component;
use crate::harness::control_plane::{ControlPlane, from_run, kubernetes};

/// The image of the sandboxes, which no kubelet pulls.
const SANDBOX: &str = "10.0.0.1:5001/stand-in:v1";

/// A running node, stopped when dropped.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    kubelet: Component,
    _containerd: Component,
}

impl Node {
    /// Starts the node with this number, below 10. Its Pods are in 10.88.NUMBER.0/24.
    pub(crate) async fn start(
        plane: &ControlPlane,
        registry: &Registry,
        name: &'static str,
        number: u8,
    ) -> Self {
        let folder = plane.folder.join(name);
        write_registries(plane, &folder);
        write_network(&folder, number);
        let containerd = start_containerd(plane, &folder, name);
        import_sandbox(plane, registry, &containerd, name).await;
        let kubelet = start_kubelet(plane, &folder, name, number);
        Self {
            name,
            kubelet,
            _containerd: containerd,
        }
    }

    /// From now on, images of this registry host come from another server than those of all others.
    pub(crate) fn lead(&self, plane: &ControlPlane, host: &str, server: &str) {
        lead(plane, &plane.folder.join(self.name), host, server);
    }

    /// Waits until the control plane calls it ready.
    pub(crate) async fn ready(&self, plane: &ControlPlane) {
        patiently("the node is ready", async || {
            self.kubelet.must_run();
            let node = plane.api.get(&format!("/api/v1/nodes/{}", self.name)).await;
            let node = node.unwrap_or_default();
            let conditions = node["status"]["conditions"].as_array();
            let mut conditions = conditions.into_iter().flatten();
            conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
        })
        .await;
    }
}

/// Short: the path of a socket has little room.
fn socket(name: &str) -> String {
    format!("/run/{name}/containerd.sock")
}

fn write(path: PathBuf, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Every registry host, ECR's among them, is ours: no name is resolved, and the kubelet knows no difference.
fn write_registries(plane: &ControlPlane, folder: &Path) {
    for (host, server) in [("_default", CLOSED), (OPEN_HOST, OPEN)] {
        lead(plane, folder, host, server);
    }
}

fn lead(plane: &ControlPlane, folder: &Path, host: &str, server: &str) {
    let ca = plane.folder.join("ca.crt");
    let text = format!(
        "server = 'https://{server}'\n[host.'https://{server}']\ncapabilities = ['pull', 'resolve']\nca = '{}'\n",
        ca.display()
    );
    write(folder.join("certs.d").join(host).join("hosts.toml"), &text);
}

fn write_network(folder: &Path, number: u8) {
    let subnet = format!("10.88.{number}.0/24");
    let ipam = json!({
        "type": "host-local",
        "dataDir": folder.join("addresses"),
        "ranges": [[{"subnet": subnet}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    });
    let list = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{"type": "ptp", "ipMasq": false, "ipam": ipam}],
    });
    write(folder.join("net.d/pods.conflist"), &list.to_string());
}

fn start_containerd(plane: &ControlPlane, folder: &Path, name: &str) -> Component {
    let config = include_str!("../fixtures/containerd.toml")
        .replace("NODE", name)
        .replace("FOLDER", folder.to_str().unwrap())
        .replace("SANDBOX", SANDBOX)
        .replace("BINARIES", binary("").to_str().unwrap());
    let path = folder.join("containerd.toml");
    std::fs::write(&path, config).unwrap();
    let mut containerd = Command::new(binary("containerd"));
    containerd.arg("--config").arg(path);
    // It looks for the shim there.
    let mut search = binary("").into_os_string();
    search.push(":");
    search.push(std::env::var_os("PATH").unwrap());
    containerd.env("PATH", search);
    Component::start(
        &containerd,
        &plane.folder.join(format!("containerd-{name}.log")),
    )
}

async fn import_sandbox(
    plane: &ControlPlane,
    registry: &Registry,
    containerd: &Component,
    name: &str,
) {
    let archive = plane.folder.join("sandbox.tar");
    let pull = ["pull", "--platform", "linux/amd64", SANDBOX];
    registry
        .must(&[&pull[..], &[archive.to_str().unwrap()]].concat())
        .await;
    patiently("containerd has the image of the sandboxes", async || {
        containerd.must_run();
        let mut ctr = tokio::process::Command::new(binary("ctr"));
        ctr.args(["--address", &socket(name), "--namespace", "k8s.io"]);
        ctr.args(["images", "import"]).arg(&archive);
        let output = ctr.output().await.unwrap();
        output.status.success()
    })
    .await;
}

fn start_kubelet(plane: &ControlPlane, folder: &Path, name: &str, number: u8) -> Component {
    let address = format!("10.0.0.1{number}");
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "healthzPort": 0,
        // Only this machine's own Pods and tests can reach it.
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": from_run("CLUSTER_CGROUP"),
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDNS": [NAME_SERVER.to_string()],
        "clusterDomain": "cluster.local",
        "resolvConf": "",
        "containerRuntimeEndpoint": format!("unix://{}", socket(name)),
        "podLogsDir": folder.join("pods"),
        "volumePluginDir": folder.join("plugins"),
        "makeIPTablesUtilChains": false,
        "serializeImagePulls": false,
        // A full disk is no subject here.
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
    });
    let file = folder.join("kubelet.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let kubeconfig = plane.kubeconfig(name, &format!("token-of-{name}"));
    let mut kubelet = Command::new(kubernetes("kubelet"));
    kubelet.arg(format!("--config={}", file.display()));
    kubelet.arg(format!("--kubeconfig={}", kubeconfig.display()));
    kubelet.arg(format!("--root-dir={}", folder.join("kubelet").display()));
    kubelet.arg(format!(
        "--cert-dir={}",
        folder.join("certificates").display()
    ));
    kubelet.arg(format!("--hostname-override={name}"));
    kubelet.arg(format!("--node-ip={address}"));
    Component::start(&kubelet, &plane.folder.join(format!("kubelet-{name}.log")))
}
