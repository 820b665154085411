//! `helm upgrade` of what is in use.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::in_machine;
use super::installation::Installation;
use super::machine::Machine;
use super::stream::{NOTHING_HIDDEN, Stream};
use crate::harness::control_plane::ControlPlane;
use crate::harness::helm::Helm;

const CONFIGURATIONS: [&str; 2] = [
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
];

#[test]
fn an_upgrade_by_helm_4_misses_no_pod_and_resets_no_bundle() {
    in_machine(async |machine| {
        let plane = &machine.plane;
        machine.installation.upgrade(plane, &NOTHING_HIDDEN).await;
        let stream = Stream::start(plane, "upgraded-by-helm-4").await;
        upgrade(machine, Helm::Four, "first").await;
        stream.stop().await.assert_all_served();
        machine.installation.upgrade(plane, &[]).await;
    });
}

#[test]
fn an_upgrade_by_helm_3_and_then_by_helm_4_misses_no_pod_and_resets_no_bundle() {
    in_machine(async |machine| {
        let (plane, installation) = (&machine.plane, &machine.installation);
        installation.uninstall(plane).await;
        installation
            .upgrade_by(Helm::Three, plane, &NOTHING_HIDDEN)
            .await;
        let stream = Stream::start(plane, "upgraded-by-helm-3").await;
        upgrade(machine, Helm::Three, "second").await;
        // What somebody does who has moved from one to the other.
        upgrade(machine, Helm::Four, "third").await;
        stream.stop().await.assert_all_served();
        installation.upgrade(plane, &[]).await;
    });
}

/// Changes the Pods, their configuration and the webhooks by one upgrade, and sees what becomes of the replicas that there
/// were and of the bundles meanwhile.
async fn upgrade(machine: &Machine, by: Helm, name: &str) {
    let (plane, installation) = (&machine.plane, &machine.installation);
    let mut sights = Sights::default();
    sights.look(plane, installation).await;
    let before = sights.clone();
    assert_eq!(before.generations.len(), 1, "{before:?}");
    assert_eq!(before.bundles.len(), 1, "one authority: {before:?}");

    let annotation = format!("podAnnotations.upgrade={name}");
    let timeout = format!("webhooks.timeoutSeconds={}", 15 + name.len());
    let level = "config.log=info\\,ecr_admission=debug";
    let set = [&NOTHING_HIDDEN[..], &[&annotation, &timeout, level]].concat();
    let looking = async {
        loop {
            sights.look(plane, installation).await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = looking => {}
        () = installation.upgrade_by(by, plane, &set) => {}
    }

    assert_eq!(sights.bundles, before.bundles, "{by:?} resets a caBundle");
    assert_eq!(
        sights.generations.len(),
        2,
        "{by:?} starts new replicas: {sights:?}"
    );
    assert!(sights.together, "{by:?}: old and new are never both ready");
    let mut after = Sights::default();
    after.look(plane, installation).await;
    assert!(
        after.generations.is_disjoint(&before.generations),
        "{by:?}: old replicas are left: {after:?}"
    );
    let answered = installation
        .counted(plane, "ecr_admission_admissions_total")
        .await;
    assert!(
        answered.iter().any(|count| *count > 0),
        "{by:?}: no new replica was asked"
    );
}

/// What was seen, in one look or several.
#[derive(Clone, Debug, Default)]
struct Sights {
    /// What tells the Pods of one version of the Deployment from those of another: those that were ready.
    generations: BTreeSet<String>,
    /// Two versions were ready in one look.
    together: bool,
    /// The `caBundle`s of all webhooks.
    bundles: BTreeSet<String>,
}

impl Sights {
    async fn look(&mut self, plane: &ControlPlane, installation: &Installation) {
        let pods = installation.pods(plane).await;
        let ready = pods.iter().filter(|pod| is_ready(pod));
        let ready = ready.map(|pod| text(&pod["metadata"]["labels"]["pod-template-hash"]));
        let ready: BTreeSet<String> = ready.collect();
        self.together |= ready.len() > 1;
        self.generations.extend(ready);
        for kind in CONFIGURATIONS {
            let path = format!("/apis/admissionregistration.k8s.io/v1/{kind}/zz-ecr-admission");
            let configuration = plane.api.get(&path).await.unwrap();
            let webhooks = configuration["webhooks"].as_array().unwrap().iter();
            let bundles = webhooks.map(|webhook| text(&webhook["clientConfig"]["caBundle"]));
            self.bundles.extend(bundles);
        }
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
