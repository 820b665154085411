//! A cluster with policies in memory, and replicas that go by them.

use std::sync::Arc;
use std::time::Duration;

use ecr_admission::clock::Clock;
use ecr_admission::event::{self, Events};
use ecr_admission::health::{Health, State};
use ecr_admission::image::ecr::Partition;
use ecr_admission::namespace::{Namespace, NamespaceIndex};
use ecr_admission::policy::{Decision, Identity, Labels, Policy, PolicySet, decide};
use ecr_admission::policy_book::memory::MemoryPolicies;
use ecr_admission::policy_book::{
    BookParts, KeeperParts, Metrics, PolicyBook, PolicyObject, RegisteredPods, StatusKeeper,
};
use ecr_admission::rulebook::{NothingLive, Rulebook};
use ecr_admission::token::{self, TokenCache, TokenKey, Urgency};
use ecr_admission::watch::Mirror;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::events::Noticeboard;
use crate::support::mint::Mint;

pub(super) const IMAGE: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:1";

/// A cluster, and the replicas that look after its policies.
pub(super) struct World {
    pub(super) store: Arc<MemoryPolicies>,
    pub(super) replicas: Vec<Replica>,
    pub(super) board: Arc<Noticeboard>,
    telling: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.telling.abort();
    }
}

pub(super) struct Replica {
    pub(super) book: Arc<PolicyBook>,
    pub(super) rulebook: Arc<Rulebook>,
    pub(super) namespaces: Arc<NamespaceIndex>,
    pub(super) tokens: TokenCache,
    pub(super) mint: Arc<Mint>,
    health: Health,
    registry: Registry,
    running: [JoinHandle<()>; 2],
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.running.iter().for_each(JoinHandle::abort);
    }
}

impl Replica {
    fn start(
        store: &Arc<MemoryPolicies>,
        events: &Arc<Events>,
        seed: u64,
        registered: RegisteredPods,
    ) -> Self {
        let clock = Clock::simulated("2026-11-21T00:00:00Z".parse().unwrap(), seed);
        let mut registry = Registry::default();
        let namespaces = Arc::new(NamespaceIndex::with_labels());
        let nothing = PolicySet::new(Policy::default(), Vec::new(), Vec::new());
        let rulebook = Rulebook::new(nothing, Arc::clone(&namespaces), Arc::new(NothingLive));
        let rulebook = Arc::new(rulebook);
        let (health, metrics) = (Health::default(), Metrics::register(&mut registry));
        let book = Arc::new(PolicyBook::new(BookParts {
            rulebook: Arc::clone(&rulebook),
            base: base(),
            store: Arc::clone(store) as Arc<_>,
            clock: clock.clone(),
            metrics: metrics.clone(),
            condition: health.condition("policies"),
        }));
        let mint = Arc::new(Mint::new(&clock));
        let counted = token::Metrics::register(&mut registry);
        let tokens = TokenCache::new(Arc::clone(&mint) as Arc<_>, clock.clone(), counted);
        let keeper = StatusKeeper::new(KeeperParts {
            book: Arc::clone(&book),
            rulebook: Arc::clone(&rulebook),
            store: Arc::clone(store) as Arc<_>,
            namespaces: Arc::clone(&namespaces),
            tokens: tokens.clone(),
            clock,
            metrics,
            condition: health.condition("policy-status"),
            events: Arc::clone(events),
            registered,
            instance: seed.to_string(),
        });
        let running = Arc::clone(&book);
        let running = [
            tokio::spawn(async move { running.run().await }),
            tokio::spawn(async move { keeper.run().await }),
        ];
        Self {
            book,
            rulebook,
            namespaces,
            tokens,
            mint,
            health,
            registry,
            running,
        }
    }

    /// What becomes of an image in a namespace.
    pub(super) fn decides(&self, namespace: &str, look: impl FnOnce(Decision<'_>) -> bool) -> bool {
        let set = self.rulebook.set();
        look(decide(&set.in_namespace(namespace, &Labels::new()), IMAGE))
    }

    pub(super) fn grants(&self, namespace: &str) -> bool {
        self.decides(namespace, |decision| !decision.is_refused())
    }

    /// Asks for a token of a policy's role, as an admission does.
    pub(super) async fn mint(&self, policy: &str) {
        let set = self.rulebook.set();
        let mut policies = set.policies().iter();
        let policy = policies.find(|found| found.name() == policy).unwrap();
        let role = policy.roles().next().unwrap().clone();
        let key = TokenKey {
            identity: Identity::Role(role),
            partition: Partition::Aws,
            region: "eu-west-1".into(),
        };
        let _ = self.tokens.get(&key, Urgency::Admission).await;
    }

    pub(super) fn trouble(&self, condition: &str) -> String {
        let report = self.health.report();
        let line = report.lines.iter().find(|line| line.name == condition);
        match &line.unwrap().state {
            State::Degraded(reason) => reason.clone(),
            _ => String::new(),
        }
    }

    pub(super) fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        text
    }
}

impl World {
    /// So many replicas that have listed the namespaces `a` and `b`, and no policy.
    pub(super) async fn start(replicas: u64) -> Self {
        Self::start_asked_about(replicas, RegisteredPods::Ecr).await
    }

    /// The same, which are asked about these Pods.
    pub(super) async fn start_asked_about(replicas: u64, registered: RegisteredPods) -> Self {
        let world = Self::new(replicas, registered);
        for replica in &world.replicas {
            replica.book.listed(&[].into(), "0");
        }
        pass(Duration::from_secs(1)).await;
        world
    }

    pub(super) fn unlisted(replicas: u64) -> Self {
        Self::new(replicas, RegisteredPods::Ecr)
    }

    fn new(replicas: u64, registered: RegisteredPods) -> Self {
        let store = Arc::new(MemoryPolicies::default());
        let board = Arc::new(Noticeboard::default());
        let clock = Clock::simulated("2026-11-21T00:00:00Z".parse().unwrap(), 9);
        let metrics = event::Metrics::register(&mut Registry::default());
        let events = Arc::new(Events::new(Arc::clone(&board) as Arc<_>, clock, metrics));
        let telling = Arc::clone(&events);
        let replicas = 0..replicas;
        let world = Self {
            replicas: replicas
                .map(|seed| Replica::start(&store, &events, seed, registered))
                .collect(),
            telling: tokio::spawn(async move { telling.run().await }),
            store,
            board,
        };
        world.add_namespace("a");
        world.add_namespace("b");
        world
    }

    pub(super) fn add_namespace(&self, name: &str) {
        for replica in &self.replicas {
            replica.namespaces.apply(name, Namespace::default());
        }
    }

    /// Somebody makes or changes a policy, and the watches tell.
    pub(super) fn apply(&self, name: &str, spec: Value) {
        self.store.apply(name, spec);
        self.tell(name);
    }

    /// The watches tell of a policy as it is.
    pub(super) fn tell(&self, name: &str) {
        let object = self.store.look(name).unwrap();
        for replica in &self.replicas {
            replica.book.apply(name, object.clone());
        }
    }

    pub(super) fn delete(&self, name: &str) {
        let version = self.store.remove(name);
        for replica in &self.replicas {
            replica.book.delete(name, &version);
        }
    }

    pub(super) fn look(&self, name: &str) -> PolicyObject {
        self.store.look(name).unwrap()
    }

    /// A condition of a policy: status, reason, message.
    pub(super) fn condition(&self, name: &str, kind: &str) -> Option<(String, String, String)> {
        let status = self.look(name).status;
        let conditions = status["conditions"].as_array()?;
        let found = conditions.iter().find(|found| found["type"] == kind)?;
        let text = |field: &str| found[field].as_str().unwrap().to_owned();
        Some((text("status"), text("reason"), text("message")))
    }

    /// The same without the message, in one word.
    pub(super) fn says(&self, name: &str, kind: &str) -> String {
        let found = self.condition(name, kind);
        found.map_or_else(String::new, |(status, reason, _)| {
            format!("{status} {reason}")
        })
    }
}

/// Settings that give the sessions of roles names.
fn base() -> Policy {
    Policy {
        cluster_name: "prod-eu".into(),
        ..Policy::default()
    }
}

/// A grant of the test's registry to namespaces, by a role or by the controller.
pub(super) fn grant(namespaces: &[&str], role: Option<&str>) -> Value {
    let mut grant = json!({"registries": ["123456789012"], "repositories": ["team/*"]});
    if let Some(role) = role {
        grant["role"] = json!({"arn": format!("arn:aws:iam::123456789012:role/{role}")});
    }
    json!({"namespaces": {"names": namespaces}, "grants": [grant]})
}

pub(super) async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
