//! The metadata watch of namespaces: who opted out, which are being deleted, and which registries they pin.

use std::sync::Arc;

use kube::Client;

use super::watch::{Kind, Pace, Watch};
use super::wire::ObjectMeta;
use crate::clock::Clock;
use crate::namespace::{
    ADMISSION_LABEL, INJECT_ANNOTATION, Label, Namespace, Pins, REGISTRIES_ANNOTATION,
};
use crate::policy::Labels;
use crate::watch::Mirror;

/// The label that the API server puts on every namespace.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

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
        whole: false,
        where_unknown: None,
        key: |metadata| metadata.name.as_str().into(),
        project: |object| project(&object.metadata),
    };
    Watch::new(client, kind, mirror, clock, pace)
}

/// What policies select by. The name, which the API server makes a label too, is known without.
fn labels(metadata: &ObjectMeta) -> Labels {
    let labels = metadata.labels.iter().flatten();
    let labels = labels.filter(|(key, _)| *key != NAME_LABEL);
    labels
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

pub(super) fn project(metadata: &ObjectMeta) -> Namespace {
    Namespace {
        inject: metadata.annotation(INJECT_ANNOTATION) != Some("false"),
        terminating: metadata.deletion_timestamp.is_some(),
        label: Label::of(metadata.label(ADMISSION_LABEL)),
        pins: metadata
            .annotation(REGISTRIES_ANNOTATION)
            .map(Pins::of)
            .unwrap_or_default(),
        labels: Arc::new(labels(metadata)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_projected_to_what_admission_asks_of_it() {
        for (json, inject, terminating, label) in [
            (
                r#"{"name":"a","labels":{"x":"y"}}"#,
                true,
                false,
                Label::Unset,
            ),
            (
                r#"{"labels":{"ecr-admission.dev/admission":"enabled"}}"#,
                true,
                false,
                Label::Enabled,
            ),
            (
                r#"{"labels":{"ecr-admission.dev/admission":"disabled"}}"#,
                true,
                false,
                Label::Disabled,
            ),
            (
                r#"{"annotations":{"ecr-admission.dev/inject":"false"}}"#,
                false,
                false,
                Label::Unset,
            ),
            (
                r#"{"annotations":{"ecr-admission.dev/inject":"no"}}"#,
                true,
                false,
                Label::Unset,
            ),
            (
                r#"{"deletionTimestamp":"2026-11-21T00:00:00Z"}"#,
                true,
                true,
                Label::Unset,
            ),
        ] {
            let found = project(&serde_json::from_str(json).unwrap());
            let expected = Namespace {
                inject,
                terminating,
                label,
                pins: Pins::default(),
                labels: Arc::clone(&found.labels),
            };
            assert_eq!(found, expected, "{json}");
        }
        let labelled = r#"{"labels":{"kubernetes.io/metadata.name":"a","team":"b"}}"#;
        let labelled = project(&serde_json::from_str(labelled).unwrap());
        let expected = Labels::from([("team".to_owned(), "b".to_owned())]);
        assert_eq!(*labelled.labels, expected);
        let pinning = r#"{"annotations":{"ecr-admission.dev/registries":"a.example"}}"#;
        let pinning = project(&serde_json::from_str(pinning).unwrap());
        assert!(pinning.pins.entries().eq(["a.example"]));
    }
}
