//! The plain manifests and the chart's files, as far as that needs no cluster and no helm; `tests/cluster/chart` does the
//! rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use clap::CommandFactory;
use ecr_admission::commands::Cli;
use ecr_admission::config::{Config, PolicySource, ServeSettings, read_file};
use serde_json::{Value, json};

use crate::documentation;

fn path(name: &str) -> String {
    format!("{}/manifests/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn documents(name: &str) -> Vec<Value> {
    read(name).split("\n---\n").map(yaml).collect()
}

/// The names of the plain manifests.
fn manifests() -> BTreeSet<String> {
    let entries = std::fs::read_dir(path("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let manifest = |name: &String| {
        Path::new(name).extension().is_some_and(|end| end == "yaml") && name != "kustomization.yaml"
    };
    names.filter(manifest).collect()
}

/// For newer versions of Kubernetes, and for what is off unless somebody chooses it.
const CHOSEN: [&str; 3] = [
    "inject-policy.yaml",
    "service-accounts-policy.yaml",
    "service-accounts.yaml",
];

#[test]
fn the_kustomization_has_every_manifest_but_those_that_somebody_chooses() {
    let kustomization = yaml(&read("kustomization.yaml"));
    let resources = kustomization["resources"].as_array().unwrap();
    let mut listed: BTreeSet<String> = resources
        .iter()
        .map(|name| name.as_str().unwrap().to_owned())
        .collect();
    assert_eq!(listed.len(), resources.len());
    for chosen in CHOSEN {
        assert!(listed.insert(chosen.to_owned()));
    }
    assert_eq!(listed, manifests());
}

#[test]
fn our_account_may_read_no_secrets_but_ours() {
    let mut granted = 0;
    for name in manifests() {
        for document in documents(&name) {
            for rule in document["rules"].as_array().into_iter().flatten() {
                let verbs = rule["verbs"].as_array().unwrap();
                let on_secrets = rule["resources"][0] == "secrets";
                // `create` cannot be limited by name.
                if on_secrets && verbs.iter().any(|verb| verb != "create") {
                    // The second in our own namespace only.
                    let ours = match document["kind"].as_str() {
                        Some("Role") => "ecr-admission-tls",
                        _ => "ecr-pull-secret",
                    };
                    assert_eq!(rule["resourceNames"], json!([ours]));
                    granted += 1;
                }
            }
        }
    }
    assert_eq!(granted, 2);
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart = yaml(&read("chart/Chart.yaml"));
    for field in ["version", "appVersion"] {
        assert_eq!(chart[field], env!("CARGO_PKG_VERSION"), "{field}");
    }
}

#[test]
fn the_program_takes_the_configuration_that_the_chart_makes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let map = &documents("config.yaml")[0];
    std::fs::write(&file, map["data"]["config.yaml"].as_str().unwrap()).unwrap();
    let config = Config::new(read_file(&file).unwrap()).unwrap();
    // The one choice that the program does not make by itself: the chart brings the definition along.
    let settings = ServeSettings {
        policy_source: Some(PolicySource::Cluster),
        ..ServeSettings::default()
    };
    let default = Config::new(settings).unwrap();
    assert_eq!(
        format!("{config:?}"),
        format!("{default:?}"),
        "the chart's defaults are those of the program"
    );
}

/// What the chart decides by values of its own.
const DECIDED: [&str; 14] = [
    "adminListen",
    "clientCa",
    "drainTime",
    "graceTime",
    "listen",
    "namespace",
    "namespaceMode",
    "registeredPods",
    "selfManaged.service",
    "selfManaged.tlsSecretName",
    "selfManaged.webhookConfiguration",
    "tlsCert",
    "tlsKey",
    "tlsNames",
];

#[test]
fn the_values_under_config_are_the_settings_of_the_program() {
    let described = described();
    let keys = described
        .keys()
        .filter_map(|name| name.strip_prefix("config."));
    let keys: BTreeSet<String> = keys.map(str::to_owned).collect();
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let settings = serve.get_arguments().filter_map(documentation::key);
    let expected: BTreeSet<String> = settings.collect();
    let decided: BTreeSet<String> = DECIDED.map(str::to_owned).into();
    assert!(decided.is_disjoint(&keys), "two values for one setting");
    assert_eq!(&keys | &decided, expected);
}

/// The values of the chart by name, as its schema describes them.
fn described() -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    leaves("", &yaml(&read("chart/values.schema.json")), &mut found);
    found
}

fn leaves(prefix: &str, schema: &Value, found: &mut BTreeMap<String, Value>) {
    for (name, value) in schema["properties"].as_object().unwrap() {
        let name = format!("{prefix}{name}");
        if value["properties"].is_object() {
            leaves(&format!("{name}."), value, found);
        } else {
            found.insert(name, value.clone());
        }
    }
}

#[test]
fn the_table_of_values_is_the_schema_with_the_defaults() {
    let defaults = yaml(&read("chart/values.yaml"));
    let mut expected = String::new();
    for (name, schema) in described() {
        let pointer = format!("/{}", name.replace('.', "/"));
        let default = match defaults.pointer(&pointer) {
            Some(Value::String(text)) if !text.is_empty() => format!("`{text}`"),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => format!("`{value}`"),
            Some(Value::Array(list)) if !list.is_empty() => format!("`{}`", json!(list)),
            Some(Value::Object(map)) if !map.is_empty() => format!("`{}`", json!(map)),
            _ => String::new(),
        };
        let meaning = schema["description"].as_str().unwrap();
        writeln!(expected, "| `{name}` | {default} | {meaning} |").unwrap();
    }
    assert_eq!(table("## Values"), expected);
}

#[test]
fn the_table_of_permissions_is_what_is_granted() {
    let row = |rule: &Value| {
        let list = |field: &str| {
            let items = rule[field].as_array().into_iter().flatten();
            let items: Vec<&str> = items.map(|item| item.as_str().unwrap()).collect();
            items.join(", ")
        };
        let name = list("resourceNames");
        let name = if name.is_empty() {
            name
        } else {
            format!("`{name}`")
        };
        format!("| {} | {} | {name} | ", list("verbs"), list("resources"))
    };
    let all = manifests();
    let rules = all
        .iter()
        .flat_map(|name| documents(name))
        .flat_map(|object| object["rules"].as_array().cloned().unwrap_or_default());
    let mut granted: Vec<String> = rules.map(|rule| row(&rule)).collect();
    assert!(granted.len() > 5);
    for line in table("## Permissions").lines() {
        let found = granted.iter().position(|row| line.starts_with(row));
        granted.remove(found.unwrap_or_else(|| panic!("nothing grants {line}")));
    }
    assert!(granted.is_empty(), "not in the table: {granted:?}");
}

#[test]
fn every_manifest_is_in_the_table_of_files() {
    let table = table("## With kubectl");
    let listed: BTreeSet<String> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, manifests());
}

/// The rows of the table in a section of the README of the manifests.
fn table(heading: &str) -> String {
    let readme = read("README.md");
    let rows = documentation::section(&readme, heading).filter(|line| line.starts_with('|'));
    rows.skip(2)
        .fold(String::new(), |all, row| all + row + "\n")
}
