//! The cluster's parts, started in order.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::SignedDuration;

use super::installation::Installation;
use super::kubelet::Node;
use super::names::NameServer;
use super::pods::{IMAGE_OF_NOBODY, create, spec};
use super::registry::{Password, Registry};
use crate::ecr::EcrDouble;
use crate::harness::component::Component;
use crate::harness::control_plane::{ControlPlane, Setting, from_run, kubernetes};
use crate::harness::namespace::{Namespace, REGISTRY};

/// Where Pods find the API server, without a kube-proxy: the first address of the Services' range, at port 443.
pub(crate) const API_SERVER: &str = "10.96.0.1";
pub(crate) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// Where the doubles of what is outside of the cluster listen.
pub(crate) const DOUBLES: &str = "10.0.0.1";
/// What the double of AWS is called: found by the name server that a container's own resolv.conf names.
pub(crate) const AWS: &str = "ecr.aws.test";

/// The namespace of a Pod that was created before ecr-admission was installed.
pub(crate) const UNSERVED: &str = "unserved";
pub(crate) const TWELVE_HOURS: SignedDuration = SignedDuration::from_hours(12);

/// A control plane for two nodes.
const SETTING: Setting = Setting {
    address: API_SERVER,
    port: Some(443),
    names: &[API_SERVER, DOUBLES, "kubernetes.default.svc"],
    api_server: &[
        "--bind-address=0.0.0.0",
        "--advertise-address=10.0.0.1",
        // Calls the endpoints of a Service directly.
        "--enable-aggregator-routing=true",
        "--kubelet-preferred-address-types=InternalIP",
    ],
    controllers: ",endpointslice-controller,root-ca-certificate-publisher-controller,disruption-controller,\
        node-lifecycle-controller,pod-garbage-collector-controller",
    tokens: "token-of-node-a,system:node:node-a,2,system:nodes\ntoken-of-node-b,system:node:node-b,3,system:nodes\n",
};

/// A running cluster with two nodes.
pub(crate) struct Machine {
    pub(crate) plane: ControlPlane,
    pub(crate) ecr: EcrDouble,
    pub(crate) registry: Registry,
    pub(crate) nodes: [Node; 2],
    pub(crate) installation: Installation,
    _names: NameServer,
    _scheduler: Component,
}

impl Machine {
    /// Starts everything, and installs ecr-admission, but not before a Pod was created without it.
    pub(crate) async fn start() -> Self {
        let plane = ControlPlane::start_in("node", SETTING).await;
        let names = NameServer::start(NAME_SERVER, AWS, DOUBLES.parse().unwrap()).await;
        let registry = Registry::start(&plane).await;
        registry.push("stand-in", "stand-in:v1").await;
        registry.push("ecr-admission", "ecr-admission:v1").await;
        registry.vary("stand-in:v1", IMAGE_OF_NOBODY).await;
        let scheduler = start_scheduler(&plane);
        let nodes = [
            Node::start(&plane, &registry, "node-a", 1).await,
            Node::start(&plane, &registry, "node-b", 2).await,
        ];
        for node in &nodes {
            node.ready(&plane).await;
        }
        let unserved = Namespace::create(&plane, UNSERVED).await;
        let image = format!("{REGISTRY}/{IMAGE_OF_NOBODY}");
        create(&unserved, "app", &spec(&image)).await.unwrap();
        let ecr = EcrDouble::start_at(&format!("{DOUBLES}:0")).await;
        registry.rotate(&ecr, Password::First, TWELVE_HOURS);
        let installation = Installation::install(&plane, &ecr).await;
        Self {
            plane,
            ecr,
            registry,
            nodes,
            installation,
            _names: names,
            _scheduler: scheduler,
        }
    }
}

/// The path of a binary that a node, or the registry, needs.
pub(crate) fn binary(name: &str) -> PathBuf {
    Path::new(&from_run("CLUSTER_NODE")).join(name)
}

fn start_scheduler(plane: &ControlPlane) -> Component {
    let mut scheduler = Command::new(kubernetes("kube-scheduler"));
    let kubeconfig = plane.folder.join("admin.kubeconfig");
    scheduler.arg(format!("--kubeconfig={}", kubeconfig.display()));
    scheduler.args(["--leader-elect=false", "--secure-port=0"]);
    Component::start(&scheduler, &plane.folder.join("kube-scheduler.log"))
}
