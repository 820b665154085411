//! What `ecr-admission refresh` does, over doubles of the cluster and of ECR.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ecr_admission::clock::Clock;
use ecr_admission::inventory::{Found, Inventory};
use ecr_admission::namespace::Pins;
use ecr_admission::policy::Policy;
use ecr_admission::pull_secret::State;
use ecr_admission::refresh::{AccountResult, Outcome, Parts, Refresh, Scope, Verdict, Wish};
use ecr_admission::rulebook::Rulebook;
use ecr_admission::secret::memory::{MemorySecretStore, NamespacePhase};
use ecr_admission::secret::{
    Metrics, PodImages, PodPage, SecretIndex, SecretStore, SecretWriter, StoreError, StoreErrorKind,
};
use ecr_admission::service_account::memory::MemoryServiceAccounts;
use ecr_admission::token::{self, MintErrorKind, TokenCache};
use futures_util::future::{BoxFuture, ready};
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::mint::{Behaviour, Mint};

const START: Timestamp = Timestamp::constant(1_800_000_000, 0);
const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const ELSEWHERE: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com";

/// A cluster's inventory in memory.
#[derive(Default)]
pub(crate) struct Here {
    pub(crate) namespaces: BTreeMap<&'static str, Found>,
    pub(crate) images: BTreeMap<&'static str, Vec<String>>,
    pub(crate) refusal: Option<StoreError>,
}

impl Inventory for Here {
    fn namespaces<'a>(
        &'a self,
        selector: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Vec<Found>, StoreError>> {
        assert!(selector.is_none_or(|selector| selector == "all"));
        Box::pin(ready(Ok(self.namespaces.values().cloned().collect())))
    }

    fn namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Found>, StoreError>> {
        Box::pin(ready(Ok(self.namespaces.get(name).cloned())))
    }

    fn images<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        let images = self.images.get(namespace).cloned().unwrap_or_default();
        let refusal = self.refusal.clone();
        Box::pin(ready(refusal.map_or(Ok(images), Err)))
    }
}

struct NoPods;

impl PodImages for NoPods {
    fn images<'a>(&'a self, _namespace: &'a str) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn page<'a>(
        &'a self,
        _namespace: Option<&'a str>,
        _next: Option<&'a str>,
    ) -> BoxFuture<'a, Result<PodPage, StoreError>> {
        Box::pin(ready(Ok(PodPage::default())))
    }
}

pub(crate) struct Cluster {
    clock: Clock,
    pub(crate) store: Arc<MemorySecretStore>,
    accounts: Arc<MemoryServiceAccounts>,
    pub(crate) mint: Arc<Mint>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let clock = Clock::simulated(START, 1);
        Self {
            store: Arc::new(MemorySecretStore::new(clock.clone())),
            accounts: Arc::default(),
            mint: Arc::new(Mint::new(&clock)),
            clock,
        }
    }

    /// One run, as of a new process, by the settings alone.
    pub(crate) async fn run(&self, here: Here, wish: Wish) -> Vec<Outcome> {
        let rulebook = Rulebook::everywhere(Policy::default());
        self.run_by(rulebook, here, wish).await
    }

    pub(crate) async fn run_by(&self, rulebook: Rulebook, here: Here, wish: Wish) -> Vec<Outcome> {
        let mut registry = Registry::default();
        let index = Arc::new(SecretIndex::new(self.clock.clone()));
        let metrics = Metrics::register(&mut registry, Arc::clone(&index));
        let writer = SecretWriter::new(
            "ecr-pull-secret",
            Arc::clone(&self.store) as Arc<_>,
            Arc::new(NoPods),
            index,
            self.clock.clone(),
            metrics,
        );
        let parts = Parts {
            inventory: Arc::new(here),
            writer: writer.eager(),
            tokens: TokenCache::new(
                Arc::clone(&self.mint) as Arc<_>,
                self.clock.clone(),
                token::Metrics::register(&mut registry),
            ),
            rulebook,
            accounts: Arc::clone(&self.accounts) as Arc<_>,
            clock: self.clock.clone(),
        };
        Refresh::new(parts, wish).run().await.unwrap()
    }

    /// The `auths` keys of a namespace's Secret, and the fingerprint of the identity that made each.
    pub(crate) async fn entries(&self, namespace: &str) -> Vec<(String, String)> {
        let stored = SecretStore::get(&*self.store, namespace).await.unwrap();
        let state = stored.and_then(|stored| stored.metadata.state);
        let state = State::parse(state.as_deref());
        let held = self.document(namespace).await;
        let entries = state.known();
        entries
            .filter(|(key, _)| held["auths"][*key].is_object())
            .map(|(key, entry)| (key.to_owned(), entry.identity.clone()))
            .collect()
    }

    /// What the Secret of a namespace holds; empty without one.
    async fn document(&self, namespace: &str) -> Value {
        let stored = SecretStore::get(&*self.store, namespace).await.unwrap();
        let config = stored.and_then(|stored| stored.docker_config);
        config.map_or(json!({}), |config| {
            serde_json::from_slice(config.expose_secret()).unwrap()
        })
    }
}

pub(crate) fn wish(scope: Scope, registries: &[&str]) -> Wish {
    Wish {
        scope,
        registries: registries.iter().map(|host| (*host).to_owned()).collect(),
        accounts: Vec::new(),
        secret: "ecr-pull-secret".to_owned(),
        dry_run: false,
        excluded: ["kube-system".to_owned()].into(),
    }
}

pub(crate) fn named(names: &[&str]) -> Scope {
    Scope::Named(names.iter().map(|name| (*name).to_owned()).collect())
}

pub(crate) fn namespace(name: &'static str) -> Found {
    Found {
        name: name.to_owned(),
        ..Found::default()
    }
}

#[tokio::test(start_paused = true)]
async fn every_run_renews_what_it_finds_with_one_mint_a_region_and_keeps_what_others_put_there() {
    let cluster = Cluster::new();
    let all = named(&["a", "b", "c"]);
    let outcomes = cluster
        .run(Here::default(), wish(all.clone(), &[HOST, ELSEWHERE]))
        .await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.verdict == Verdict::Renewed)
    );
    let names: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.namespace.as_str())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(cluster.mint.count(), 2);
    let before = cluster.document("a").await;
    assert_eq!(before["auths"].as_object().unwrap().len(), 2);

    // An hour later the tokens are fresh; a webhook would leave them.
    tokio::time::advance(Duration::from_hours(1)).await;
    let outcomes = cluster.run(Here::default(), wish(all, &[HOST])).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.verdict == Verdict::Renewed)
    );
    let after = cluster.document("a").await;
    assert_ne!(after["auths"][HOST], before["auths"][HOST]);
    assert_eq!(after["auths"][ELSEWHERE], before["auths"][ELSEWHERE]);
}

#[tokio::test(start_paused = true)]
async fn what_a_namespaces_annotation_pods_and_templates_name_is_found() {
    let cluster = Cluster::new();
    let pinned = Found {
        registries: Pins::of(&format!("{ELSEWHERE}, nonsense")),
        ..namespace("a")
    };
    let here = Here {
        namespaces: [("a", pinned), ("b", namespace("b"))].into(),
        images: [("a", vec![format!("{HOST}/app:1"), "nginx".to_owned()])].into(),
        ..Here::default()
    };
    let outcomes = cluster
        .run(here, wish(named(&["a", "b", "missing"]), &[]))
        .await;
    let verdicts: Vec<_> = outcomes.iter().map(|outcome| outcome.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Failed, Verdict::Nothing, Verdict::Failed]
    );
    let hosts: Vec<_> = outcomes[0]
        .registries
        .iter()
        .map(|fresh| fresh.host.as_str())
        .collect();
    assert_eq!(hosts, [ELSEWHERE, HOST], "what can be read is done");
    assert!(outcomes[0].errors[0].contains("\"nonsense\" is no private ECR registry"));
    assert_eq!(outcomes[2].errors, ["there is no namespace \"missing\""]);
    assert_eq!(cluster.document("b").await, json!({}));
}

#[tokio::test(start_paused = true)]
async fn of_all_namespaces_those_that_opted_out_are_skipped_and_nobody_elses_are_asked_for() {
    let cluster = Cluster::new();
    let out = Found {
        left_out: Some("it is being deleted"),
        ..namespace("out")
    };
    let here = Here {
        namespaces: [
            ("a", namespace("a")),
            ("kube-system", namespace("kube-system")),
            ("out", out),
        ]
        .into(),
        ..Here::default()
    };
    let all = Scope::Listed(Some("all".to_owned()));
    let outcomes = cluster.run(here, wish(all, &[HOST])).await;
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| (outcome.verdict, outcome.reason))
        .collect();
    assert_eq!(
        told,
        [
            (Verdict::Renewed, None),
            (Verdict::Skipped, Some("it is excluded")),
            (Verdict::Skipped, Some("it is being deleted")),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_asks_for_tokens_and_writes_nothing() {
    let cluster = Cluster::new();
    let mut dry = wish(named(&["a"]), &[HOST]);
    dry.dry_run = true;
    let outcomes = cluster.run(Here::default(), dry).await;
    assert_eq!(outcomes[0].verdict, Verdict::Renewed);
    assert_eq!(
        (cluster.mint.count(), cluster.document("a").await),
        (1, json!({}))
    );
}

#[tokio::test(start_paused = true)]
async fn one_failure_is_named_and_stops_nothing_else() {
    let cluster = Cluster::new();
    cluster.mint.by_key(|key| match &*key.region {
        "us-east-1" => Behaviour::Fail(MintErrorKind::Denied),
        _ => Behaviour::Give(Duration::from_hours(12)),
    });
    cluster
        .store
        .set_namespace("gone", NamespacePhase::Terminating);
    let outcomes = cluster
        .run(
            Here::default(),
            wish(named(&["a", "gone"]), &[HOST, ELSEWHERE]),
        )
        .await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.verdict == Verdict::Failed)
    );
    assert!(outcomes[0].errors[0].starts_with(&format!("no token for {ELSEWHERE}: ")));
    assert!(cluster.document("a").await["auths"][HOST].is_object());
    assert!(
        outcomes[1]
            .errors
            .iter()
            .any(|error| error.contains("\"gone\"")),
        "{outcomes:?}"
    );

    let here = Here {
        namespaces: [("a", namespace("a"))].into(),
        refusal: Some(StoreError {
            kind: StoreErrorKind::Refused,
            message: "cannot list Pods".to_owned(),
        }),
        ..Here::default()
    };
    let outcomes = cluster.run(here, wish(named(&["a"]), &[])).await;
    let expected =
        "cannot list Pods; or name the registries (--registry), then nothing need be found";
    assert_eq!(outcomes[0].errors, [expected]);
}

#[tokio::test(start_paused = true)]
async fn service_accounts_name_the_secret_once_it_is_there_and_keep_what_else_they_name() {
    let cluster = Cluster::new();
    let theirs = json!({"name": "theirs"});
    cluster
        .accounts
        .set("a", "default", std::slice::from_ref(&theirs));
    let mut asked = wish(named(&["a"]), &[HOST]);
    asked.accounts = vec!["default".to_owned(), "missing".to_owned()];
    let list = || cluster.accounts.look("a", "default").unwrap().pull_secrets;
    let mut dry = asked.clone();
    dry.dry_run = true;
    let outcomes = cluster.run(Here::default(), dry).await;
    assert_eq!(outcomes[0].service_accounts[0].result, AccountResult::Added);
    assert_eq!(list(), std::slice::from_ref(&theirs));
    for expected in [AccountResult::Added, AccountResult::Unchanged] {
        let outcomes = cluster.run(Here::default(), asked.clone()).await;
        assert_eq!(outcomes[0].service_accounts.len(), 1);
        assert_eq!(outcomes[0].service_accounts[0].result, expected);
        let missing = "there is no ServiceAccount \"missing\" in namespace \"a\"";
        assert_eq!(outcomes[0].errors, [missing]);
        assert_eq!(outcomes[0].verdict, Verdict::Failed);
        assert_eq!(list(), [theirs.clone(), json!({"name": "ecr-pull-secret"})]);
    }
    // Without a Secret there is nothing to name.
    cluster.accounts.set("b", "default", &[]);
    cluster.mint.always(Behaviour::Fail(MintErrorKind::Denied));
    let mut asked = wish(named(&["b"]), &[HOST]);
    asked.accounts = vec!["default".to_owned()];
    cluster.run(Here::default(), asked).await;
    assert!(
        !cluster
            .accounts
            .look("b", "default")
            .unwrap()
            .names("ecr-pull-secret")
    );
}
