//! The table of bad policies, as the program reads them from files. tests/cluster/policies.rs has the API server's word.

use ecr_admission::files::read_policies;
use ecr_admission::policy::compile::compile;
use ecr_admission::policy::spec::EcrPolicySpec;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Bad {
    mistake: String,
    spec: Value,
    says: String,
}

#[derive(Deserialize)]
struct Good {
    name: String,
    spec: EcrPolicySpec,
}

#[test]
fn each_bad_policy_is_refused_in_a_sentence_that_names_the_field() {
    let table = include_str!("../fixtures/policies/bad.yaml");
    let table: Vec<Bad> = serde_saphyr::from_str(table).unwrap();
    assert!(table.len() > 30);
    for bad in table {
        let said = match serde_json::from_value::<EcrPolicySpec>(bad.spec) {
            Err(error) => error.to_string(),
            Ok(spec) => match compile("bad", &spec) {
                Ok(_) => panic!("taken: {}", bad.mistake),
                Err(faults) => {
                    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                    faults.join("; ")
                }
            },
        };
        assert_eq!(said, bad.says, "{}", bad.mistake);
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let spec: EcrPolicySpec = serde_saphyr::from_str(
        "grants:\n- registries: [a, b]\n  repositories: []\nvalidation: {}\n",
    )
    .unwrap();
    let faults = compile("No_Name", &spec).unwrap_err();
    let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "metadata.name",
            "spec.grants[0].registries[0]",
            "spec.grants[0].registries[1]",
            "spec.grants[0].repositories",
            "spec.validation",
        ]
    );
}

/// The schema cannot count so: a policy that it lets through is then not ready, with this sentence.
#[test]
fn a_session_policy_with_too_many_characters_is_refused_with_what_to_widen() {
    let limited = |length: usize| {
        let repositories: Vec<String> = ["a", "b", "c", "d", "e", "f", "g", "h"]
            .map(|letter| letter.repeat(length))
            .into();
        let role = "arn:aws:iam::123456789012:role/r";
        let grant = serde_json::json!({
            "registries": ["123456789012"],
            "repositories": repositories,
            "role": {"arn": role, "scope": "Repositories"},
        });
        let spec = serde_json::json!({"namespaces": {"names": ["n"]}, "grants": [grant]});
        let spec: EcrPolicySpec = serde_json::from_value(spec).unwrap();
        let faults = compile("limited", &spec).err().unwrap_or_default();
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        faults.join("; ")
    };
    assert_eq!(limited(170), "");
    insta::assert_snapshot!(limited(256), @"spec.grants[0].role.scope: the session policy for these repositories has 2611 characters, and AWS takes 2048: grant folders (team/**) in place of single repositories, or fewer registries and regions");
}

#[test]
fn the_examples_that_the_chart_ships_are_policies_each_alone_and_named_in_the_documentation() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let documentation = include_str!("../../../docs/policies.md");
    let mut examples = 0;
    for entry in std::fs::read_dir(root.join("manifests/chart/examples")).unwrap() {
        let path = entry.unwrap().path();
        let policies = read_policies(std::slice::from_ref(&path)).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            documentation.contains(&format!("examples/{name})")),
            "{name}"
        );
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# "), "{name} begins with what it is for");
        assert!(!policies.is_empty(), "{name}");
        examples += 1;
    }
    assert_eq!(examples, 5);
}

#[test]
fn the_good_policies_are_taken() {
    let table = include_str!("../fixtures/policies/good.yaml");
    let table: Vec<Good> = serde_saphyr::from_str(table).unwrap();
    for good in table {
        let compiled = compile(&good.name, &good.spec);
        assert!(compiled.is_ok(), "{}: {compiled:?}", good.name);
    }
}
