//! EcrPolicy at the real API server: what the definition refuses by its schema and its rules.

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::harness::install::{Cluster, apply, manifest};
use crate::harness::{eventually, in_shared_cluster};

static DEFINED: OnceCell<()> = OnceCell::const_new();

#[derive(Deserialize)]
struct Bad {
    mistake: String,
    spec: Value,
    apply: String,
}

#[derive(Deserialize)]
struct Good {
    name: String,
    spec: Value,
}

pub(crate) fn policy(name: &str, spec: &Value) -> String {
    let object = json!({
        "apiVersion": "ecr-admission.dev/v1alpha1",
        "kind": "EcrPolicy",
        "metadata": {"name": name},
        "spec": spec,
    });
    object.to_string()
}

pub(crate) async fn define(cluster: &Cluster) {
    // Two tests at once would both create it.
    DEFINED
        .get_or_init(|| apply(&cluster.plane, manifest("crd.yaml")))
        .await;
    let good = json!({"onFailure": "Deny"});
    eventually("policies are taken", async || {
        let create = ["create", "-f", "-", "--dry-run=server"];
        cluster
            .plane
            .kubectl(&create, &policy("probe", &good))
            .await
            .ok
    })
    .await;
}

#[test]
fn what_the_program_refuses_is_refused_at_kubectl_apply_with_a_sentence() {
    in_shared_cluster(async |cluster| {
        define(cluster).await;
        let table = include_str!("../blackbox/fixtures/policies/bad.yaml");
        let table: Vec<Bad> = serde_saphyr::from_str(table).unwrap();
        let mut wrong = Vec::new();
        for bad in table {
            let create = ["create", "-f", "-", "--dry-run=server"];
            let said = cluster
                .plane
                .kubectl(&create, &policy("bad", &bad.spec))
                .await;
            if said.ok || !said.err.contains(&bad.apply) {
                wrong.push(format!("{}: {said:?}", bad.mistake));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn good_policies_are_stored_as_they_were_written_with_their_defaults_and_shown() {
    in_shared_cluster(async |cluster| {
        define(cluster).await;
        let table = include_str!("../blackbox/fixtures/policies/good.yaml");
        let table: Vec<Good> = serde_saphyr::from_str(table).unwrap();
        for good in &table {
            let said = cluster
                .plane
                .kubectl(&["apply", "-f", "-"], &policy(&good.name, &good.spec))
                .await;
            assert!(said.ok, "{}: {said:?}", good.name);
        }
        let said = cluster
            .plane
            .kubectl(&["get", "ecrp", "native-pulls", "-o=json"], "")
            .await;
        let stored: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(
            stored["spec"],
            json!({"action": "Enforce", "grants": [{"registries": ["*"], "repositories": ["**"], "credentials": "Skip"}]})
        );
        let said = cluster.plane.kubectl(&["get", "ecrp"], "").await;
        let heads: Vec<&str> = said
            .out
            .lines()
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        assert_eq!(
            heads,
            ["NAME", "NAMESPACES", "ROLE", "ACTION", "READY", "AGE"]
        );
        let row = said
            .out
            .lines()
            .find(|line| line.starts_with("one-team-one-account"))
            .unwrap();
        assert!(
            row.contains("arn:aws:iam::123456789012:role/ci/ecr-team-a"),
            "{row}"
        );
        for good in &table {
            let said = cluster
                .plane
                .kubectl(&["delete", "ecrp", &good.name], "")
                .await;
            assert!(said.ok, "{said:?}");
        }
    });
}

#[test]
fn the_examples_that_the_chart_ships_are_taken() {
    in_shared_cluster(async |cluster| {
        define(cluster).await;
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/chart/examples");
        let said = cluster
            .plane
            .kubectl(&["apply", "--dry-run=server", "-f", folder], "")
            .await;
        assert!(said.ok, "{said:?}");
        for name in [
            "team-a",
            "base-images",
            "pulled-by-nodes",
            "production",
            "audit",
        ] {
            let line = format!("ecrpolicy.ecr-admission.dev/{name} created (server dry run)");
            assert!(said.out.contains(&line), "{name}: {said:?}");
        }
    });
}
