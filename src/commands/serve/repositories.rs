//! Wiring the repository Secrets of Argo CD.

use std::sync::Arc;

use super::policies::known;
use super::tasks::spawn_watch;
use crate::assembly::Assembly;
use crate::clock::Clock;
use crate::config::Config;
use crate::health::Health;
use crate::kubernetes::{Cluster, KubeRepositories, Pace, Watch, watch_repository_annotation};
use crate::policy_book::PolicyBook;
use crate::repository::{Keeper, KeeperParts};
use crate::server::supervise::Supervisor;

/// What keeps repository Secrets, built and not running yet.
pub(super) struct Repositories {
    keeper: Arc<Keeper>,
    watches: Vec<Watch<String>>,
}

impl Repositories {
    /// `None` while no namespace may ask.
    pub(super) fn build(
        config: &Config,
        cluster: &Cluster,
        assembly: &Assembly,
        clock: &Clock,
        health: &Health,
    ) -> Option<Self> {
        if config.argocd_namespaces.is_empty() {
            return None;
        }
        let keeper = Arc::new(Keeper::new(KeeperParts {
            namespaces: config.argocd_namespaces.clone(),
            rulebook: Arc::clone(&assembly.rulebook),
            store: Arc::new(KubeRepositories::new(cluster.requests.clone())),
            tokens: assembly.tokens.clone(),
            clock: clock.clone(),
            condition: health.condition("repositories"),
            events: Arc::clone(&assembly.events),
        }));
        let watch = |namespace: &String| {
            let mirror = Arc::clone(&keeper) as Arc<_>;
            let client = cluster.watches.clone();
            watch_repository_annotation(client, namespace, mirror, clock.clone(), Pace::default())
        };
        Some(Self {
            watches: config.argocd_namespaces.iter().map(watch).collect(),
            keeper,
        })
    }

    pub(super) fn spawn(
        self,
        supervisor: &mut Supervisor,
        health: &Health,
        book: Option<Arc<PolicyBook>>,
    ) {
        const WATCH: &str = "repository-watch";
        let broken = health.condition(WATCH);
        for watch in self.watches {
            spawn_watch(supervisor, WATCH, watch, None, broken.clone());
        }
        let keeper = self.keeper;
        supervisor.spawn(
            "repositories",
            (keeper, book),
            |(keeper, book)| async move {
                known(book).await;
                keeper.run().await;
            },
        );
    }
}
