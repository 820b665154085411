//! Wiring the policies.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::tasks::spawn_watch;
use crate::assembly::{Assembly, Rules};
use crate::clock::Clock;
use crate::config::{Config, PolicyConfig};
use crate::files::PolicyFiles;
use crate::health::{Gate, Health};
use crate::kubernetes::{Cluster, KubeLive, KubePolicies, Pace, Watch, watch_policies};
use crate::policy::PolicySet;
use crate::policy_book::{
    BookParts, FileKeeper, FileKeeperParts, KeeperParts, Metrics, PolicyBook, PolicyObject,
    PolicySource, StatusKeeper,
};
use crate::server::supervise::Supervisor;

/// How often files are read.
const POLL: std::time::Duration = std::time::Duration::from_secs(5);
const POLICIES: &str = "policies";
const WATCH: &str = "policy-watch";

/// What keeps policies in force, built and not running yet.
pub(super) enum Policies {
    /// There are none.
    None,
    /// From files.
    Files(Arc<FileKeeper>),
    /// From the cluster.
    Cluster(Box<FromCluster>),
}

/// What keeps those of the cluster.
pub(super) struct FromCluster {
    book: Arc<PolicyBook>,
    keeper: Arc<StatusKeeper>,
    watch: Watch<PolicyObject>,
    listed: Gate,
}

/// What is allowed before any policy was read.
pub(super) fn rules(config: &Config, cluster: &Cluster) -> Rules {
    let base = config.policy.clone();
    if config.policies == PolicyConfig::None {
        return Rules::everywhere(base);
    }
    Rules {
        policies: PolicySet::new(base, Vec::new(), Vec::new()),
        tell_apart: true,
        live: Arc::new(KubeLive::new(cluster.requests.clone())),
    }
}

impl Policies {
    pub(super) async fn build(
        config: &Config,
        cluster: &Cluster,
        assembly: &Assembly,
        (clock, instance): (&Clock, &str),
        health: &Health,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        match &config.policies {
            PolicyConfig::None => Ok(Self::None),
            PolicyConfig::Files(paths) => {
                let source = PolicyFiles::new(paths.clone());
                let policies = source.read().await.map_err(anyhow::Error::msg)?;
                let parts = FileKeeperParts {
                    source: Arc::new(source),
                    rulebook: Arc::clone(&assembly.rulebook),
                    base: config.policy.clone(),
                    poll: POLL,
                    registered: config.registered_pods,
                    clock: clock.clone(),
                    metrics: Metrics::register(registry),
                    condition: health.condition(POLICIES),
                };
                Ok(Self::Files(Arc::new(FileKeeper::new(parts, policies))))
            }
            PolicyConfig::Cluster => {
                let clock = (clock, instance);
                let built = FromCluster::build(config, cluster, assembly, clock, health, registry);
                Ok(Self::Cluster(Box::new(built)))
            }
        }
    }

    /// What is to be waited for before anything is done that nobody waits for: see [`known`].
    pub(super) fn book(&self) -> Option<Arc<PolicyBook>> {
        match self {
            Self::Cluster(cluster) => Some(Arc::clone(&cluster.book)),
            _ => None,
        }
    }

    pub(super) fn spawn(self, supervisor: &mut Supervisor, health: &Health) {
        match self {
            Self::None => {}
            Self::Files(keeper) => supervisor.spawn("policy-files", keeper, |keeper| async move {
                keeper.run().await;
            }),
            Self::Cluster(cluster) => cluster.spawn(supervisor, health),
        }
    }
}

/// Waits until policies are known: nothing is renewed or taken away by what is not known yet.
pub(super) async fn known(book: Option<Arc<PolicyBook>>) {
    if let Some(book) = book {
        book.known().await;
    }
}

impl FromCluster {
    fn build(
        config: &Config,
        cluster: &Cluster,
        assembly: &Assembly,
        (clock, instance): (&Clock, &str),
        health: &Health,
        registry: &mut Registry,
    ) -> Self {
        let metrics = Metrics::register(registry);
        let store = Arc::new(KubePolicies::new(cluster.requests.clone()));
        let book = Arc::new(PolicyBook::new(BookParts {
            rulebook: Arc::clone(&assembly.rulebook),
            base: config.policy.clone(),
            store: Arc::clone(&store) as Arc<_>,
            clock: clock.clone(),
            metrics: metrics.clone(),
            condition: health.condition(POLICIES),
        }));
        let keeper = StatusKeeper::new(KeeperParts {
            book: Arc::clone(&book),
            rulebook: Arc::clone(&assembly.rulebook),
            store,
            namespaces: Arc::clone(&assembly.namespaces),
            tokens: assembly.tokens.clone(),
            clock: clock.clone(),
            metrics,
            condition: health.condition("policy-status"),
            events: Arc::clone(&assembly.events),
            registered: config.registered_pods,
            instance: instance.to_owned(),
        });
        let watch = watch_policies(
            cluster.watches.clone(),
            Arc::clone(&book) as Arc<_>,
            clock.clone(),
            Pace::default(),
        );
        Self {
            book,
            keeper: Arc::new(keeper),
            watch,
            listed: health.gate("policy-index", "waiting for the first list"),
        }
    }

    fn spawn(self, supervisor: &mut Supervisor, health: &Health) {
        let broken = health.condition(WATCH);
        spawn_watch(supervisor, WATCH, self.watch, Some(self.listed), broken);
        let book = self.book;
        supervisor.spawn(POLICIES, book, |book| async move { book.run().await });
        let keeper = self.keeper;
        supervisor.spawn("policy-status", keeper, |keeper| async move {
            keeper.run().await;
        });
    }
}
