//! The metadata watch of namespaces: who opted out, which are being deleted, and which registries they pin.

use std::sync::Arc;

use kube::Client;

use super::watch::{Kind, Pace, Watch};
use super::wire::ObjectMeta;
use crate::clock::Clock;
use crate::namespace::{INJECT_ANNOTATION, Namespace, Pins, REGISTRIES_ANNOTATION};
use crate::watch::Mirror;

/// A watch of all namespaces that feeds `mirror`, keyed by name. Wants `list` and `watch` on namespaces.
pub fn watch_namespaces(
    client: Client,
    mirror: Arc<dyn Mirror<Namespace>>,
    clock: Clock,
    pace: Pace,
) -> Watch<Namespace> {
    let kind = Kind {
        path: "/api/v1/namespaces".into(),
        field_selector: None,
        key: |metadata| &metadata.name,
        project,
    };
    Watch::new(client, kind, mirror, clock, pace)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "a projection consumes what it projects"
)]
fn project(metadata: ObjectMeta) -> Namespace {
    Namespace {
        inject: metadata.annotation(INJECT_ANNOTATION) != Some("false"),
        terminating: metadata.deletion_timestamp.is_some(),
        pins: metadata
            .annotation(REGISTRIES_ANNOTATION)
            .map(Pins::of)
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_projected_to_what_admission_asks_of_it() {
        for (json, inject, terminating) in [
            (r#"{"name":"a","labels":{"x":"y"}}"#, true, false),
            (
                r#"{"annotations":{"ecr-admission.dev/inject":"false"}}"#,
                false,
                false,
            ),
            (
                r#"{"annotations":{"ecr-admission.dev/inject":"no"}}"#,
                true,
                false,
            ),
            (
                r#"{"deletionTimestamp":"2026-11-21T00:00:00Z"}"#,
                true,
                true,
            ),
        ] {
            let expected = Namespace {
                inject,
                terminating,
                pins: Pins::default(),
            };
            assert_eq!(
                project(serde_json::from_str(json).unwrap()),
                expected,
                "{json}"
            );
        }
        let pinning = r#"{"annotations":{"ecr-admission.dev/registries":"a.example"}}"#;
        let pinning = project(serde_json::from_str(pinning).unwrap());
        assert!(pinning.pins.entries().eq(["a.example"]));
    }
}
