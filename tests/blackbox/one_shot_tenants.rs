//! What `ecr-admission refresh` does under policies: each namespace is made what its own grant it.

use std::sync::{Arc, Mutex};

use ecr_admission::inventory::Found;
use ecr_admission::namespace::Namespace;
use ecr_admission::policy::spec::EcrPolicySpec;
use ecr_admission::policy::{Labels, Policy, PolicySet, PolicyVersion, compile};
use ecr_admission::refresh::{Scope, Verdict};
use ecr_admission::rulebook::{LiveReads, PolicyVersions, Rulebook};
use ecr_admission::secret::{DataWriter, StoreError};
use futures_util::future::{BoxFuture, ready};

use crate::one_shot::{Cluster, Here, named, namespace, wish};

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const TEAM_A: &str = "{namespaces: {matchLabels: {team: a}}, grants: [{registries: ['123456789012'], \
                      repositories: ['a/**'], role: {arn: 'arn:aws:iam::123456789012:role/a'}}]}";
const TEAM_B: &str = "{namespaces: {matchLabels: {team: b}}, grants: [{registries: ['123456789012'], \
                      role: {arn: 'arn:aws:iam::123456789012:role/b'}}]}";
const BASE: &str = "{namespaces: {names: [a, b]}, grants: [{registries: ['123456789012'], repositories: ['base/**']}]}";

/// The labels that every namespace has when it is read live.
#[derive(Default)]
struct Live(Mutex<Option<Labels>>);

impl LiveReads for Live {
    fn namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Namespace, StoreError>> {
        let team = Labels::from([("team".to_owned(), name.to_owned())]);
        let labels = self.0.lock().unwrap().clone().unwrap_or(team);
        let namespace = Namespace {
            labels: Arc::new(labels),
            ..Namespace::default()
        };
        Box::pin(ready(Ok(namespace)))
    }

    fn policy<'a>(
        &'a self,
        _name: &'a str,
    ) -> BoxFuture<'a, Result<Option<PolicyVersion>, StoreError>> {
        panic!("policies from files have no version")
    }

    fn policies(&self) -> BoxFuture<'_, Result<Option<PolicyVersions>, StoreError>> {
        panic!("policies from files have no version")
    }
}

fn rulebook(policies: &[&str], live: Live) -> Rulebook {
    let compiled = policies.iter().enumerate().map(|(at, spec)| {
        let spec: EcrPolicySpec = serde_saphyr::from_str(spec).unwrap();
        compile(&format!("p{at}"), &spec).unwrap()
    });
    let set = PolicySet::new(Policy::default(), compiled.collect(), Vec::new());
    Rulebook::new(set, Arc::default(), Arc::new(live))
}

/// Of each team, a namespace of its name.
fn here() -> Here {
    let labelled = |name: &'static str| Found {
        labels: Labels::from([("team".to_owned(), name.to_owned())]),
        ..namespace(name)
    };
    let images = |names: &[&str]| {
        names
            .iter()
            .map(|name| format!("{HOST}/{name}:1"))
            .collect()
    };
    Here {
        namespaces: ["a", "b", "c"].map(|name| (name, labelled(name))).into(),
        images: [
            ("a", images(&["a/app", "base/envoy", "b/app"])),
            ("b", images(&["b/app"])),
            ("c", images(&["c/app"])),
        ]
        .into(),
        ..Here::default()
    }
}

fn whose(entries: &[(String, String)]) -> Vec<(String, &str)> {
    let entries = entries.iter();
    let whose = entries.map(|(key, identity)| {
        let identity = identity.split('#').next().unwrap();
        (key.replace(HOST, "HOST"), identity)
    });
    whose.collect()
}

#[tokio::test(start_paused = true)]
async fn each_namespace_gets_what_its_policies_grant_by_whom_they_name() {
    let cluster = Cluster::new();
    let rules = rulebook(&[TEAM_A, BASE, TEAM_B], Live::default());
    let outcomes = cluster
        .run_by(rules, here(), wish(Scope::Listed(None), &[]))
        .await;
    let verdicts: Vec<_> = outcomes.iter().map(|outcome| outcome.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Renewed, Verdict::Renewed, Verdict::Nothing]
    );
    let role = |team: &str| format!("arn:aws:iam::123456789012:role/{team}");
    assert_eq!(
        whose(&cluster.entries("a").await),
        [
            ("HOST/a/".to_owned(), role("a").as_str()),
            ("HOST/base/".to_owned(), "controller"),
        ]
    );
    assert_eq!(
        whose(&cluster.entries("b").await),
        [("HOST".to_owned(), role("b").as_str())]
    );
    assert!(cluster.entries("c").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_somebody_names_is_all_that_is_granted_of_it_or_an_error() {
    let cluster = Cluster::new();
    let rules = rulebook(
        &[
            TEAM_A,
            "{namespaces: {names: [a]}, grants: [{registries: ['210987654321']}]}",
        ],
        Live::default(),
    );
    let outcomes = cluster
        .run_by(rules, here(), wish(named(&["a", "c"]), &[HOST]))
        .await;
    assert_eq!(outcomes[0].verdict, Verdict::Renewed);
    assert_eq!(cluster.entries("a").await[0].0, HOST);
    assert_eq!(outcomes[1].verdict, Verdict::Failed);
    insta::assert_snapshot!(outcomes[1].errors.join("\n"), @"123456789012.dkr.ecr.eu-west-1.amazonaws.com: no policy grants anything of this registry to this namespace [granted]");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_granted_any_more_is_taken_out_also_where_nothing_is_needed() {
    let cluster = Cluster::new();
    let all = || wish(Scope::Listed(None), &[]);
    let rules = rulebook(&[TEAM_A, BASE, TEAM_B], Live::default());
    cluster.run_by(rules, here(), all()).await;
    // Another run by the settings alone knows nothing of whom the entries are granted to.
    cluster.run(here(), all()).await;
    assert_eq!(cluster.entries("a").await.len(), 3);

    let rules = || rulebook(&[BASE, TEAM_B, TEAM_A], Live::default());
    let mut dry = all();
    dry.dry_run = true;
    let outcomes = cluster.run_by(rules(), here(), dry).await;
    assert!(outcomes[0].revoked && cluster.entries("a").await.len() == 3);
    let outcomes = cluster.run_by(rules(), here(), all()).await;
    let revoked: Vec<_> = outcomes.iter().map(|outcome| outcome.revoked).collect();
    assert_eq!(revoked, [true, true, true]);
    let keys: Vec<_> = cluster.entries("a").await;
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(cluster.entries("c").await.is_empty());
    let outcomes = cluster.run_by(rules(), here(), all()).await;
    assert!(!outcomes.iter().any(|outcome| outcome.revoked));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_is_another_tenants_by_now_gets_no_token_of_a_role() {
    let cluster = Cluster::new();
    let live = Live(Mutex::new(Some(Labels::default())));
    let outcomes = cluster
        .run_by(
            rulebook(&[TEAM_A, TEAM_B], live),
            here(),
            wish(named(&["a"]), &[]),
        )
        .await;
    assert_eq!(outcomes[0].verdict, Verdict::Failed);
    assert!(
        outcomes[0].errors[0].contains("have just changed"),
        "{outcomes:?}"
    );
    assert!(cluster.entries("a").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_repair_of_an_edited_secret_puts_back_what_is_granted_and_nothing_else() {
    let cluster = Cluster::new();
    let rules = || rulebook(&[TEAM_A, BASE, TEAM_B], Live::default());
    cluster
        .run_by(rules(), here(), wish(named(&["a"]), &[]))
        .await;
    cluster.store.change("a", |secret| {
        let mut secret = secret.unwrap();
        secret.docker_config =
            Some(br#"{"auths":{"example.com":{"auth":"eDp5"}}}"#.to_vec().into());
        secret.metadata.data_writer = DataWriter::SomebodyElse;
        Some(secret)
    });
    let mut fewer = here();
    fewer.images.insert("a", vec![format!("{HOST}/a/app:1")]);
    cluster
        .run_by(rules(), fewer, wish(named(&["a"]), &[]))
        .await;
    let keys: Vec<String> = cluster
        .entries("a")
        .await
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, [format!("{HOST}/a/"), format!("{HOST}/base/")]);
}
