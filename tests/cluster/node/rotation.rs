//! Tokens that end, on nodes that know old ones.

use jiff::SignedDuration;
use serde_json::Value;

use super::machine::TWELVE_HOURS;
use super::pods::{create, events, in_phase, never_told, new_image, spec, unscheduled, waits_for};
use super::registry::Password;
use super::{in_machine, patiently};
use crate::harness::namespace::{Namespace, REGISTRY};

/// Long enough to pull with, short enough to wait for the half of it.
const SHORT: SignedDuration = SignedDuration::from_mins(2);

/// Where a Pod is to run.
fn on(node: &str, mut spec: Value) -> Value {
    spec["nodeSelector"] = serde_json::json!({"kubernetes.io/hostname": node});
    spec
}

#[test]
fn after_a_rotation_nodes_pull_with_the_renewed_secret_and_keep_the_images_that_they_have() {
    in_machine(async |machine| {
        let (plane, registry) = (&machine.plane, &machine.registry);
        let node = machine.nodes[0].name;
        registry.rotate(&machine.ecr, Password::First, SHORT);
        machine.installation.restart(plane).await;

        let old = new_image(machine, "before-rotation").await;
        let namespace = Namespace::create(plane, "rotated").await;
        create(&namespace, "before", &on(node, spec(&old)))
            .await
            .unwrap();
        in_phase(&namespace, "before", "Running").await;
        let secret = namespace.secret().await.unwrap();

        registry.rotate(&machine.ecr, Password::Second, TWELVE_HOURS);
        patiently("the registry takes the new password alone", async || {
            registry.takes(Password::Second).await && !registry.takes(Password::First).await
        })
        .await;
        let renewed = (REGISTRY.to_owned(), "password-2".to_owned());
        // Half of the old token's life is what lies before it. Pods are what asks for a renewal.
        patiently("the Secret is renewed", async || {
            let asks = create(&namespace, "asks", &unscheduled(&old)).await;
            asks.unwrap();
            let done = namespace.passwords().await.contains(&renewed);
            let path = namespace.path("pods/asks?gracePeriodSeconds=0");
            namespace.api().delete(&path).await.unwrap();
            done
        })
        .await;
        let now = namespace.secret().await.unwrap();
        assert_eq!(now["metadata"]["uid"], secret["metadata"]["uid"]);

        let new = new_image(machine, "after-rotation").await;
        create(&namespace, "after", &on(node, spec(&new)))
            .await
            .unwrap();
        in_phase(&namespace, "after", "Running").await;
        never_told(&namespace, "after", "Failed").await;

        // The kubelet knows that this Secret has pulled the old image, whatever is in it now (KEP-2535); it asks nobody.
        create(&namespace, "again", &on(node, spec(&old)))
            .await
            .unwrap();
        in_phase(&namespace, "again", "Running").await;
        let told = events(&namespace, "again").await;
        let present = told
            .iter()
            .any(|(_, text)| text.contains("already present on machine"));
        assert!(present, "{told:?}");

        // It would not do the same for anybody: these records are in use.
        let stranger = Namespace::create(plane, "stranger").await;
        let annotation =
            serde_json::json!({"metadata": {"annotations": {"ecr-admission.dev/inject": "false"}}});
        let path = "/api/v1/namespaces/stranger";
        plane.api.merge(path, &annotation).await.unwrap();
        stranger_is_refused(&stranger, &on(node, spec(&old))).await;

        registry.rotate(&machine.ecr, Password::First, TWELVE_HOURS);
        machine.installation.restart(plane).await;
    });
}

async fn stranger_is_refused(stranger: &Namespace<'_>, spec: &Value) {
    patiently("the namespace's wish is respected", async || {
        let pod = create(stranger, "app", spec).await.unwrap();
        let left_alone = pod["spec"]["imagePullSecrets"].is_null();
        if !left_alone {
            let path = stranger.path("pods/app?gracePeriodSeconds=0");
            stranger.api().delete(&path).await.unwrap();
        }
        left_alone
    })
    .await;
    waits_for(stranger, "app", "ImagePullBackOff").await;
}
