//! Nobody answers the API server.

use super::in_machine;
use super::pods::{create, in_phase, never_told, new_image, spec, unscheduled};
use crate::harness::namespace::{IMAGE, Namespace, SECRET, pull_secrets};

const OTHER: &str = "open.registry.test/stand-in:v1";

#[test]
fn without_replicas_pods_are_injected_by_the_api_server_and_pull_with_the_secret_that_is_there() {
    in_machine(async |machine| {
        let (plane, installation) = (&machine.plane, &machine.installation);
        let namespace = Namespace::create(plane, "served-before").await;
        let asked = create(&namespace, "asked", &unscheduled(IMAGE)).await;
        assert_eq!(pull_secrets(&asked.unwrap()), [SECRET]);
        installation.scale(plane, 0).await;

        let image = new_image(machine, "unattended").await;
        let pod = create(&namespace, "app", &spec(&image)).await.unwrap();
        assert_eq!(pull_secrets(&pod), [SECRET]);
        let other = create(&namespace, "other", &spec(OTHER)).await.unwrap();
        assert!(pull_secrets(&other).is_empty());
        for name in ["app", "other"] {
            in_phase(&namespace, name, "Running").await;
            never_told(&namespace, name, "Failed").await;
        }
        installation.scale(plane, 2).await;
    });
}

#[test]
fn without_replicas_the_failure_policy_decides_about_ecr_pods_and_about_no_other() {
    in_machine(async |machine| {
        let (plane, installation) = (&machine.plane, &machine.installation);
        let namespace = Namespace::create(plane, "failure-policy").await;
        for (policy, admitted) in [("Ignore", true), ("Fail", false)] {
            let policy = format!("webhooks.mutating.failurePolicy={policy}");
            let set = ["injectPolicy.mode=Never", &policy];
            installation.upgrade(plane, &set).await;
            installation.scale(plane, 0).await;
            let pod = create(&namespace, "app", &unscheduled(IMAGE)).await;
            match pod {
                Ok(pod) => assert!(admitted && pull_secrets(&pod).is_empty(), "{policy}: {pod}"),
                Err(refusal) => {
                    assert!(!admitted, "{policy}: {refusal:?}");
                    assert!(
                        refusal.message.contains("pods.ecr-admission.dev"),
                        "{refusal:?}"
                    );
                }
            }
            let name = format!("other-{admitted}");
            create(&namespace, &name, &unscheduled(OTHER))
                .await
                .unwrap();
            installation.scale(plane, 2).await;
        }
        installation.upgrade(plane, &[]).await;
    });
}
