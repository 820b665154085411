//! Wiring the ServiceAccount mode.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::server::excluded_namespaces;
use super::tasks::spawn_watch;
use crate::assembly::Assembly;
use crate::clock::Clock;
use crate::config::Config;
use crate::health::Health;
use crate::kubernetes::{Cluster, KubeServiceAccounts, Pace, Watch, watch_service_accounts};
use crate::server::supervise::Supervisor;
use crate::service_account::{
    Keeper, KeeperParts, Metrics, Plan, ServiceAccount, ServiceAccountIndex,
};

/// What keeps ServiceAccounts, built and not running yet.
pub(super) struct ServiceAccounts {
    keeper: Arc<Keeper>,
    watch: Watch<ServiceAccount>,
}

impl ServiceAccounts {
    /// `None` while the mode is off.
    pub(super) fn build(
        config: &Config,
        cluster: &Cluster,
        assembly: &Assembly,
        clock: &Clock,
        health: &Health,
        registry: &mut Registry,
    ) -> Option<Self> {
        let chosen = config.service_accounts.as_ref()?;
        let index = ServiceAccountIndex::new(&config.secret_name, chosen.names.clone());
        let index = Arc::new(index);
        let watch = watch_service_accounts(
            cluster.watches.clone(),
            chosen.names.only_one(),
            Arc::clone(&index) as Arc<_>,
            clock.clone(),
            Pace::default(),
        );
        let plan = Plan {
            task: chosen.task,
            namespaces: config.namespace_mode,
            excluded: excluded_namespaces(config, cluster),
        };
        let parts = KeeperParts {
            store: Arc::new(KubeServiceAccounts::new(cluster.requests.clone())),
            index,
            namespaces: Arc::clone(&assembly.namespaces),
            clock: clock.clone(),
            metrics: Metrics::register(registry),
            condition: health.condition("service-accounts"),
            events: Arc::clone(&assembly.events),
        };
        Some(Self {
            keeper: Arc::new(Keeper::new(plan, parts)),
            watch,
        })
    }

    pub(super) fn spawn(self, supervisor: &mut Supervisor, health: &Health) {
        const WATCH: &str = "service-account-watch";
        let broken = health.condition(WATCH);
        spawn_watch(supervisor, WATCH, self.watch, None, broken);
        let keeper = self.keeper;
        supervisor.spawn("service-accounts", keeper, |keeper| async move {
            keeper.run().await;
        });
    }
}
