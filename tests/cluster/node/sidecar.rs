//! Credentials that a sidecar serves, as docs/aws.md has it for IAM Roles Anywhere.

use serde_json::{Value, json};

use super::in_machine;
use super::installation::endpoints;
use super::machine::Machine;
use super::pods::{create, in_phase, never_told, new_image, spec};
use super::registry::OPEN_HOST;
use crate::chart::identities::examples;
use crate::harness::namespace::Namespace;

/// Of what the stand-in for the signing helper serves.
const ACCESS_KEY: &str = "AKIDSIDECAR";

/// The example's values, with our stand-in in the place of the helper, and the double in the place of AWS.
fn values(machine: &Machine) -> Value {
    let examples = examples().into_iter().map(|(_, values)| values);
    let mut with_sidecar = examples.filter(|values| !values["extraInitContainers"].is_null());
    let mut values = with_sidecar.next().unwrap();
    let sidecar = &mut values["extraInitContainers"][0];
    assert_eq!(sidecar["args"][1], "--port=9911");
    sidecar["image"] = json!(format!("{OPEN_HOST}/stand-in:v1"));
    sidecar["args"] = json!(["credentials", "9911"]);
    let environment = values["extraEnv"].as_array_mut().unwrap();
    environment.extend(endpoints(&machine.ecr));
    // Another beside it, which has nothing to do with us.
    let other = json!({"name": "other", "image": format!("{OPEN_HOST}/stand-in:v1")});
    values["extraContainers"] = json!([other]);
    values
}

#[test]
fn what_a_sidecar_serves_is_who_asks_for_tokens() {
    in_machine(async |machine| {
        let (plane, installation) = (&machine.plane, &machine.installation);
        // What the helper would be known by.
        let identity = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "ecr-admission-identity", "namespace": "ecr-admission"},
            "stringData": {"tls.crt": "of nobody", "tls.key": "of nobody"},
        });
        let secrets = "/api/v1/namespaces/ecr-admission/secrets";
        plane.api.create(secrets, &identity).await.unwrap();
        installation.upgrade_with(plane, &values(machine)).await;
        let calls = machine.ecr.calls().len();

        let image = new_image(machine, "sidecar").await;
        let namespace = Namespace::create(plane, "sidecar").await;
        create(&namespace, "app", &spec(&image)).await.unwrap();
        in_phase(&namespace, "app", "Running").await;
        never_told(&namespace, "app", "Failed").await;
        let calls = machine.ecr.calls().split_off(calls);
        let asked = calls.iter().all(|call| call.access_key == ACCESS_KEY);
        assert!(!calls.is_empty() && asked, "{calls:?}");
        for pod in installation.pods(plane).await {
            for containers in ["containerStatuses", "initContainerStatuses"] {
                let statuses = pod["status"][containers].as_array().unwrap();
                for status in statuses {
                    assert!(status["state"]["running"].is_object(), "{status}");
                }
            }
        }

        installation.upgrade(plane, &[]).await;
        let identity = format!("{secrets}/ecr-admission-identity");
        plane.api.delete(&identity).await.unwrap();
    });
}
