//! What it is all for: the first pull works.

use super::in_machine;
use super::machine::UNSERVED;
use super::pods::{create, events, in_phase, never_told, new_image, spec, waits_for};
use crate::harness::namespace::{Namespace, REGISTRY, SECRET, pull_secrets};

#[test]
fn the_first_pull_of_a_pod_in_a_fresh_namespace_succeeds() {
    in_machine(async |machine| {
        let image = new_image(machine, "first").await;
        let namespace = Namespace::create(&machine.plane, "fresh").await;
        let pod = create(&namespace, "app", &spec(&image)).await.unwrap();
        assert_eq!(pull_secrets(&pod), [SECRET]);
        let expected = (REGISTRY.to_owned(), "password-1".to_owned());
        assert!(namespace.passwords().await.contains(&expected));
        in_phase(&namespace, "app", "Running").await;

        let events = events(&namespace, "app").await;
        let told = |reason: &str| events.iter().filter(|(told, _)| told == reason).count();
        assert_eq!(told("Pulled"), 1, "{events:?}");
        for trouble in ["FailedToRetrieveImagePullSecret", "Failed", "BackOff"] {
            assert_eq!(told(trouble), 0, "{events:?}");
        }
    });
}

#[test]
fn without_ecr_admission_the_same_pod_cannot_pull() {
    in_machine(async |machine| {
        let unserved = Namespace::of(&machine.plane, UNSERVED);
        waits_for(&unserved, "app", "ImagePullBackOff").await;
        let events = events(&unserved, "app").await;
        let refused = |(_, message): &(String, String)| message.contains("authorization failed");
        assert!(events.iter().any(refused), "{events:?}");
        never_told(&unserved, "app", "Pulled").await;
    });
}
