//! Many tenants: policies, namespaces, and a Pod of ten images. Nothing random.

use anyhow::{Context, anyhow};
use ecr_admission::policy::spec::EcrPolicySpec;
use ecr_admission::policy::{Compiled, Labels, Policy, PolicySet, compile};
use serde_json::{Value, json};

/// Policies of one tenant each, with a role.
const TEAMS: usize = 190;
/// Policies that grant everybody base images.
const BASES: usize = 5;
/// Policies that demand something of everybody's images, two rules each.
const DEMANDS: usize = 5;
/// Namespaces, spread over the tenants.
pub(crate) const NAMESPACES: usize = 10_000;

const REGISTRY: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// All policies, 200.
pub(crate) fn policies() -> anyhow::Result<PolicySet> {
    let teams = (0..TEAMS).map(|team| (format!("team-{team:03}"), of_team(team)));
    let bases = (0..BASES).map(|base| (format!("base-{base}"), of_base(base)));
    let demands = (0..DEMANDS).map(|number| (format!("demand-{number}"), demand(number)));
    let compiled = teams.chain(bases).chain(demands);
    let compiled: anyhow::Result<Vec<Compiled>> = compiled
        .map(|(name, spec)| {
            let spec: EcrPolicySpec = serde_json::from_value(spec).context("a policy")?;
            compile(&name, &spec).map_err(|faults| anyhow!("{faults:?}"))
        })
        .collect();
    let compiled = compiled?;
    assert_eq!(compiled.len(), 200);
    Ok(PolicySet::new(Policy::default(), compiled, Vec::new()))
}

/// A registry that it shares with all others, by folder, and an account of its own.
fn of_team(team: usize) -> Value {
    let role = json!({"arn": format!("arn:aws:iam::123456789012:role/team-{team:03}")});
    json!({
        "namespaces": {"matchLabels": {"team": format!("t{team:03}")}},
        "grants": [
            {"registries": [REGISTRY], "repositories": [format!("t{team:03}/**"), format!("shared/t{team:03}-*")], "role": role},
            {"registries": [format!("9{team:011}")], "role": role},
        ],
    })
}

fn of_base(base: usize) -> Value {
    json!({"grants": [{"registries": ["123456789012"], "repositories": [format!("base-{base}/**")]}]})
}

/// What a good image does not break.
fn demand(number: usize) -> Value {
    let rules = match number {
        0 => json!({"tagRequired": {}, "mutableTags": {"tags": ["latest", "main", "*-snapshot"]}}),
        1 => {
            json!({"onlyEcr": {"except": ["registry.k8s.io/**", "registry.example.com/**"]}, "tagRequired": {"action": "Warn"}})
        }
        2 => {
            json!({"allowedRegions": {"regions": ["eu-west-1", "eu-central-1"]}, "references": {}})
        }
        3 => {
            let teams = (0..TEAMS).map(|team| format!("9{team:011}"));
            let accounts: Vec<String> = teams
                .chain(["123456789012".to_owned()])
                .take(64)
                .chain(["123456789012".to_owned()])
                .collect();
            json!({"allowedAccounts": {"accounts": accounts[1..].to_vec()}, "mutableTags": {}})
        }
        _ => {
            json!({"allowedImages": {"images": ["*.dkr.ecr.eu-west-1.amazonaws.com/**", "public.ecr.aws/**", "registry.example.com/**"]}, "tagRequired": {}})
        }
    };
    json!({"validation": rules})
}

/// A namespace by its number: name, and its labels.
pub(crate) fn namespace(number: usize) -> (String, Labels) {
    let team = team(number);
    let labels = [
        ("team".to_owned(), format!("t{team:03}")),
        ("environment".to_owned(), "production".to_owned()),
    ];
    (format!("t{team:03}-{number:05}"), Labels::from(labels))
}

fn team(number: usize) -> usize {
    number % TEAMS
}

/// The ten images of a Pod in that namespace: eight of ECR, by two identities.
pub(crate) fn images(number: usize) -> [String; 10] {
    let team = team(number);
    [
        format!("{REGISTRY}/t{team:03}/web:v1.42.0"),
        format!("{REGISTRY}/t{team:03}/api/server:v1.42.0"),
        format!("{REGISTRY}/t{team:03}/api/worker:v1.42.0"),
        format!("{REGISTRY}/shared/t{team:03}-tools:2026-11-21"),
        format!("{REGISTRY}/base-0/envoy:v1.33.2"),
        format!("{REGISTRY}/base-1/fluent-bit/agent:v4.1.0"),
        format!("{REGISTRY}/base-4/otel/collector:v0.140.1"),
        format!(
            "{REGISTRY}/t{team:03}/migrate:v7@sha256:{}",
            "3b1c".repeat(16)
        ),
        "public.ecr.aws/docker/library/busybox:1.37".to_owned(),
        "registry.example.com/platform/envoy:v1.33.2".to_owned(),
    ]
}
