//! helm, with the chart of this repository.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::control_plane::{ControlPlane, Said, from_run, said, version};
use super::install::documents;

/// The release and the namespace of the plain manifests.
pub(crate) const RELEASE: &str = "ecr-admission";

const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests");
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/chart");
const VALUES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cluster/fixtures/values");

/// A release of helm, by its major version.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Helm {
    Three,
    Four,
}

impl Helm {
    pub(crate) const ALL: [Self; 2] = [Self::Three, Self::Four];

    pub(crate) fn binary(self) -> PathBuf {
        let folder = match self {
            Self::Three => "CLUSTER_HELM_3",
            Self::Four => "CLUSTER_HELM",
        };
        Path::new(&from_run(folder)).join("helm")
    }

    /// Runs a command on the release, such as `upgrade`, in a cluster; the chart is not among `arguments`.
    pub(crate) async fn release(
        self,
        plane: &ControlPlane,
        command: &str,
        arguments: &[&str],
    ) -> Said {
        let chart = match command {
            "install" | "upgrade" => &[CHART][..],
            _ => &[],
        };
        let all = [
            &[command, RELEASE, "--namespace", RELEASE],
            chart,
            arguments,
        ]
        .concat();
        plane.tool(&self.binary(), &all, "").await
    }

    /// Runs a command on the chart alone, such as `lint`, without a cluster.
    pub(crate) async fn chart(self, command: &[&str], arguments: &[&str]) -> Said {
        let all = [command, &[CHART, "--namespace", RELEASE], arguments].concat();
        let home = std::env::temp_dir();
        said(&self.binary(), &all, [("HOME", &home)], "").await
    }

    /// The objects that the chart is rendered to.
    pub(crate) async fn render(self, arguments: &[&str]) -> Vec<Value> {
        // Helm 3 takes the cluster for a 1.20 otherwise.
        let version = ["--no-hooks", "--kube-version", &version()];
        let all = [&version, arguments].concat();
        let said = self.chart(&["template", RELEASE], &all).await;
        assert!(said.ok, "{arguments:?}: {}", said.err);
        documents(&said.out)
    }
}

/// What the release's NOTES say.
pub(crate) async fn notes(arguments: &[&str]) -> String {
    let client = ["install", RELEASE, "--dry-run=client"];
    let said = Helm::Four.chart(&client, arguments).await;
    assert!(said.ok, "{arguments:?}: {}", said.err);
    let (_, notes) = said.out.split_once("NOTES:\n").unwrap();
    notes.to_owned()
}

/// The file of values of one of the fixtures.
pub(crate) fn values(name: &str) -> String {
    format!("{VALUES}/{name}.yaml")
}

/// Writes the plain manifests anew, into `folder`.
pub(crate) async fn render_manifests(folder: &Path) {
    let script = Path::new(MANIFESTS).join("render");
    let (helm, path) = (Helm::Four.binary(), from_path());
    let variables = [
        ("HELM", &helm),
        ("PATH", &path),
        ("HOME", &folder.to_owned()),
    ];
    let said = said(&script, &[folder.to_str().unwrap()], variables, "").await;
    assert!(said.ok, "{}", said.err);
}

fn from_path() -> PathBuf {
    std::env::var_os("PATH").unwrap().into()
}
