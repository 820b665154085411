//! The table of verdicts.

use std::collections::BTreeMap;

use ecr_admission::policy::compile::compile;
use ecr_admission::policy::spec::{EcrPolicySpec, NamespaceSelector};
use ecr_admission::policy::{
    Action, Compiled, Credential, DefaultGrant, Identity, Labels, NativeRegistry, Policy,
    PolicySet, Unreadable, decide_for,
};
use serde::Deserialize;

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    title: String,
    #[serde(default)]
    settings: Settings,
    #[serde(default)]
    policies: BTreeMap<String, EcrPolicySpec>,
    #[serde(default)]
    unreadable: BTreeMap<String, NamespaceSelector>,
    #[serde(default)]
    labels: BTreeMap<String, Labels>,
    images: Vec<Row>,
    #[serde(default)]
    conflicts: BTreeMap<String, Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct Settings {
    action: Action,
    default_grant: Option<DefaultGrant>,
    native_registries: Vec<NativeRegistry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    r#in: String,
    #[serde(default)]
    r#as: String,
    image: String,
    #[serde(default)]
    pulls: String,
    #[serde(default)]
    says: Vec<String>,
    #[serde(default)]
    exempt: Vec<String>,
}

impl Case {
    fn set(&self) -> PolicySet {
        let compiled = self.policies.iter().map(|(name, spec)| {
            let compiled = compile(name, spec);
            compiled.unwrap_or_else(|faults| panic!("{}: {faults:?}", self.title))
        });
        let unreadable = self.unreadable.iter();
        let unreadable = unreadable.map(|(name, lost)| Unreadable::new(name, Some(lost), None));
        PolicySet::new(
            Policy {
                action: self.settings.action,
                default_grant: self.settings.default_grant,
                native_registries: self.settings.native_registries.clone(),
                ..Policy::default()
            },
            compiled.collect::<Vec<Compiled>>(),
            unreadable.collect(),
        )
    }

    fn effective(&self, set: &PolicySet, namespace: &str) -> Policy {
        let none = Labels::new();
        set.in_namespace(namespace, self.labels.get(namespace).unwrap_or(&none))
    }
}

fn expand(text: &str) -> String {
    text.replace("HOST", HOST).replace("DIGEST", DIGEST)
}

fn expand_all(texts: &[String]) -> Vec<String> {
    texts.iter().map(|text| expand(text)).collect()
}

#[test]
fn an_image_is_judged_as_the_table_says() {
    let table = include_str!("../fixtures/policies/verdicts.yaml");
    let table: Vec<Case> = serde_saphyr::from_str(table).unwrap();
    let mut differences = Vec::new();
    for case in &table {
        let set = case.set();
        for row in &case.images {
            let effective = case.effective(&set, &row.r#in);
            let image = expand(&row.image);
            let decision = decide_for(&effective, &row.r#as, &image);
            let pulls = match &decision.credential {
                Credential::NotNeeded => String::new(),
                Credential::Secret { key, identity, .. } => match identity {
                    Identity::Controller => format!("controller by {key}"),
                    other => format!("{other} by {key}"),
                },
            };
            let exempt = decision.exempt.clone();
            let findings = decision.into_findings();
            let says: Vec<String> = findings
                .map(|finding| format!("{} {}: {}", finding.action, finding.rule, finding.message))
                .collect();
            let found = (pulls, says, exempt);
            let expected = (
                expand(&row.pulls),
                expand_all(&row.says),
                expand_all(&row.exempt),
            );
            if found != expected {
                differences.push(format!(
                    "{}: {} in {}\n     found {found:?}\n  expected {expected:?}",
                    case.title, row.image, row.r#in
                ));
            }
        }
        for (namespace, expected) in &case.conflicts {
            let effective = case.effective(&set, namespace);
            let conflicts = effective.combined.conflicts().iter();
            let conflicts: Vec<String> = conflicts
                .map(|it| format!("{:?} loses to {:?}: {}", it.loser, it.winner, it.about))
                .collect();
            assert_eq!(&conflicts, expected, "{}", case.title);
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
