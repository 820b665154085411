//! The CustomResourceDefinition: one source, three places.

use std::process::Command;

use ecr_admission::policy::compile::compile;
use ecr_admission::policy::spec::EcrPolicySpec;
use proptest::prelude::*;
use proptest::string::string_regex;
use proptest::test_runner::RngSeed;
use serde_json::Value;

fn printed(arguments: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_ecr-admission");
    let output = Command::new(program).arg("crd").args(arguments).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn definition() -> Value {
    serde_json::from_str(&printed(&["--json"])).unwrap()
}

fn manifest(name: &str) -> String {
    let path = format!("{}/manifests/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_chart_and_the_plain_manifest_hold_what_is_printed() {
    let yaml = printed(&[]);
    assert_eq!(
        serde_saphyr::from_str::<Value>(&yaml).unwrap(),
        definition()
    );
    let advice = "run: cargo run -- crd > manifests/chart/crd.yaml && manifests/render";
    assert_eq!(manifest("chart/crd.yaml"), yaml, "{advice}");
    let plain: Value = serde_saphyr::from_str(&manifest("crd.yaml")).unwrap();
    assert_eq!(plain, definition(), "{advice}");
}

#[test]
fn uninstalling_the_chart_keeps_it_with_all_policies() {
    let keep = &definition()["metadata"]["annotations"]["helm.sh/resource-policy"];
    assert_eq!(keep, "keep");
}

/// Every field of a schema, with its path.
fn fields(schema: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    found.push((path.to_owned(), schema.clone()));
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        fields(field, &format!("{path}.{name}"), found);
    }
    if schema["items"].is_object() {
        fields(&schema["items"], &format!("{path}[]"), found);
    }
}

fn spec() -> Vec<(String, Value)> {
    let definition = definition();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut found = Vec::new();
    fields(&schema["properties"]["spec"], "spec", &mut found);
    found
}

#[test]
fn every_field_is_described_and_every_list_is_bounded() {
    for (path, field) in spec() {
        let is_item = path.ends_with("[]");
        let words = field["enum"].as_array().into_iter().flatten();
        assert!(words.into_iter().all(Value::is_string), "{path}");
        assert!(is_item || field["description"].is_string(), "{path}");
        assert!(
            field["type"] != "array" || field["maxItems"].is_number(),
            "{path}"
        );
    }
}

#[test]
fn kubectl_shows_what_matters() {
    let columns = &definition()["spec"]["versions"][0]["additionalPrinterColumns"];
    let names: Vec<&str> = columns
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Namespaces", "Role", "Action", "Ready", "Age"]);
}

/// What matches the pattern of a field's items.
fn matching(path: &str) -> impl Strategy<Value = String> + use<> {
    let fields = spec();
    let (_, field) = fields.iter().find(|(field, _)| field == path).unwrap();
    let longest = field["maxLength"].as_u64().unwrap();
    let shortest = field["minLength"].as_u64().unwrap_or(0);
    let pattern = field["pattern"].as_str().unwrap();
    let whole = pattern
        .strip_prefix('^')
        .unwrap()
        .strip_suffix('$')
        .unwrap();
    let strings = string_regex(whole).unwrap();
    strings.prop_filter("of that length", move |text| {
        (shortest..=longest).contains(&(text.len() as u64))
    })
}

fn faults(spec: Value) -> Vec<String> {
    let spec: EcrPolicySpec = serde_json::from_value(spec).unwrap();
    let faults = compile("generated", &spec).err().unwrap_or_default();
    faults.into_iter().map(|fault| fault.to_string()).collect()
}

proptest! {
    // Long strings of many kinds: a few are enough.
    #![proptest_config(ProptestConfig {
        cases: 64,
        rng_seed: RngSeed::Fixed(64),
        ..ProptestConfig::default()
    })]

    /// What the patterns of the schema let through is what the program takes; a region of another partition is what CEL
    /// refuses in place of a pattern.
    #[test]
    fn the_patterns_of_the_schema_are_those_of_the_program(
        registry in matching("spec.grants[].registries[]"),
        region in matching("spec.grants[].regions[]"),
        repository in matching("spec.grants[].repositories[]"),
        external_id in matching("spec.grants[].role.externalId"),
        arn in matching("spec.grants[].role.arn"),
        name in matching("spec.namespaces.names[]"),
        image in matching("spec.validation.allowedImages.images[]"),
        tag in matching("spec.validation.mutableTags.tags[]"),
        account in matching("spec.exemptions[].serviceAccounts[]"),
    ) {
        let said = faults(serde_json::json!({
            "namespaces": {"names": [name]},
            "grants": [
                {"registries": [registry], "regions": [region], "repositories": [repository]},
                {"registries": ["123456789012"], "repositories": ["x/y"], "role": {"arn": arn, "externalId": external_id}},
            ],
            "validation": {"allowedImages": {"images": [image]}, "mutableTags": {"tags": [tag]}},
            "exemptions": [{"serviceAccounts": [account], "reason": "x"}],
        }));
        let other: Vec<String> = said
            .into_iter()
            .filter(|fault| !fault.contains("another AWS partition") && !fault.contains("another identity"))
            .collect();
        prop_assert!(other.is_empty(), "{:?}", other);
    }
}
