//! The chart's values: what is refused, and that the fixtures leave nothing out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{FIXTURES, INJECT_ALWAYS};
use crate::harness::helm::{Helm, values};
use crate::harness::run;

const SCHEMA: &str = include_str!("../../../manifests/chart/values.schema.json");
const DEFAULTS: &str = include_str!("../../../manifests/chart/values.yaml");

/// The first line of what helm says about a value that is wrong, in one line.
async fn refusal(helm: Helm, value: &str) -> String {
    let said = helm.chart(&["template"], &["--set-json", value]).await;
    assert!(!said.ok, "{value} is taken");
    let lines = said
        .err
        .lines()
        .filter_map(|line| line.strip_prefix("- at "));
    lines.collect::<Vec<_>>().join("; ")
}

#[test]
fn a_wrong_value_is_refused_by_its_name() {
    run(async {
        let cases = [
            (
                "replica=2",
                "'': additional properties 'replica' not allowed",
            ),
            ("replicas=0", "'/replicas': minimum: got 0, want 1"),
            (
                r#"webhooks.mutating.failurePolicy="Ingore""#,
                "'/webhooks/mutating/failurePolicy': value must be one of 'Ignore', 'Fail'",
            ),
            (
                r#"config.onFailure="Deny""#,
                "'/config': additional properties 'onFailure' not allowed",
            ),
            (
                "config.policy.allowedAccounts=[123456789012]",
                "'/config/policy/allowedAccounts/0': got number, want string",
            ),
            (
                r#"config.listen="0.0.0.0:1""#,
                "'/config': additional properties 'listen' not allowed",
            ),
            (
                r#"certificates.mode="Files""#,
                "'/certificates/secretName': minLength: got 0, want 1",
            ),
            (
                r#"certificates.mode="Selfmanaged""#,
                "'/certificates/mode': value must be one of 'SelfManaged', 'CertManager', 'Files'",
            ),
            (
                r#"certificates.certManager.issuerRef={"kind":"Issuer"}"#,
                "'/certificates/certManager/issuerRef': properties 'name' required, if 'kind' exists",
            ),
            (
                r#"certificates.mode="Files",certificates.secretName="s",config.selfManaged.tlsLeafLife="5h""#,
                "'/config/selfManaged': maxProperties: got 1, want 0",
            ),
            (
                "serviceAccount.create=false",
                "'/serviceAccount/name': minLength: got 0, want 1",
            ),
            (
                r#"serviceAccount.annotations={"a":1}"#,
                "'/serviceAccount/annotations/a': got number, want string",
            ),
            (
                r#"extraEnv=[{"name":"ECR_ADMISSION_LOG"}]"#,
                "'/extraEnv/0/name': 'not' failed",
            ),
            (
                "ports.webhook=443",
                "'/ports/webhook': minimum: got 443, want 1,024",
            ),
            (
                "podDisruptionBudget.maxUnavailable=0",
                "'/podDisruptionBudget/maxUnavailable': minimum: got 0, want 1",
            ),
        ];
        for helm in Helm::ALL {
            for (value, expected) in cases {
                assert_eq!(refusal(helm, value).await, expected, "{helm:?} {value}");
            }
            // What was left of a caBundle would be rendered over the one that is kept right.
            let bundle = refusal(helm, r#"certificates.caBundle="abc""#).await;
            assert!(bundle.contains("maxLength: got 3, want 0"), "{bundle}");
        }
    });
}

#[test]
fn the_chart_lints() {
    run(async {
        let fixtures = FIXTURES.into_iter().chain([INJECT_ALWAYS]).map(values);
        let files: Vec<String> = fixtures.collect();
        let defaults: [&str; 0] = [];
        for helm in Helm::ALL {
            let said = helm.chart(&["lint", "--strict"], &defaults).await;
            assert!(said.ok, "{helm:?}: {said:?}");
            for file in &files {
                let said = helm.chart(&["lint", "--strict"], &["--values", file]).await;
                assert!(said.ok, "{helm:?} {file}: {said:?}");
            }
        }
    });
}

#[test]
fn older_versions_of_kubernetes_are_refused() {
    run(async {
        for helm in Helm::ALL {
            let said = helm
                .chart(&["template"], &["--kube-version", "1.32.9"])
                .await;
            let expected = "chart requires kubeVersion: >=1.33.0-0 which is incompatible with";
            assert!(!said.ok && said.err.contains(expected), "{said:?}");
        }
    });
}

/// The leaves of the schema, each with the values that it may have when those are few.
fn leaves(prefix: &str, schema: &Value, found: &mut BTreeMap<String, Vec<Value>>) {
    for (name, value) in schema["properties"].as_object().unwrap() {
        let pointer = format!("{prefix}/{name}");
        if value["properties"].is_object() {
            leaves(&pointer, value, found);
        } else {
            let few = match value["type"].as_str() {
                Some("boolean") => vec![Value::Bool(false), Value::Bool(true)],
                _ => value["enum"].as_array().cloned().unwrap_or_default(),
            };
            found.insert(pointer, few);
        }
    }
}

#[test]
fn the_fixtures_set_every_value_and_choose_every_choice() {
    let read = |text: &str| -> Value { serde_saphyr::from_str(text).unwrap() };
    let defaults = read(DEFAULTS);
    let fixtures = FIXTURES.into_iter().chain([INJECT_ALWAYS]).map(values);
    let mut sets: Vec<Value> = fixtures
        .map(|file| read(&std::fs::read_to_string(file).unwrap()))
        .collect();
    let mut described = BTreeMap::new();
    leaves("", &read(SCHEMA), &mut described);
    assert!(described.remove("/global").is_some());
    for (pointer, choices) in &described {
        let default = defaults.pointer(pointer);
        let other = sets
            .iter()
            .filter_map(|set| set.pointer(pointer))
            .any(|value| Some(value) != default);
        assert!(
            other,
            "no fixture sets {pointer} to anything but its default"
        );
        for choice in choices {
            let mut all = sets.iter().chain([&defaults]);
            let chosen = all.any(|set| set.pointer(pointer) == Some(choice));
            assert!(chosen, "no fixture sets {pointer} to {choice}");
        }
    }
    // And nothing that is no value: helm would refuse it, but only where it is used.
    sets.push(defaults);
    let described: BTreeSet<&String> = described.keys().collect();
    for set in &sets {
        for pointer in pointers("", set, &described) {
            assert!(
                described.contains(&pointer),
                "{pointer} is not in the schema"
            );
        }
    }
}

/// The values that a file sets, by the names in the schema.
fn pointers(prefix: &str, set: &Value, described: &BTreeSet<&String>) -> Vec<String> {
    match set.as_object() {
        Some(object) if !described.contains(&prefix.to_owned()) => object
            .iter()
            .flat_map(|(name, value)| pointers(&format!("{prefix}/{name}"), value, described))
            .collect(),
        _ if prefix.is_empty() => Vec::new(),
        _ => vec![prefix.to_owned()],
    }
}
