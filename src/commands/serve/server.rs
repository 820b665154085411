//! The server: everything that it is made of, and in which order that starts and ends.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use super::certificates::Certificates;
use super::policies::{Policies, rules};
use super::repositories::Repositories;
use super::service_accounts::ServiceAccounts;
use super::tasks;
use crate::admit;
use crate::assembly::{Assembly, METRICS_PREFIX, Outside, assemble};
use crate::aws::{AwsSettings, EcrTokenSource};
use crate::clock::Clock;
use crate::config::Config;
use crate::health::Health;
use crate::kubernetes::{self, Cluster, KubeEvents, KubePodImages, KubeSecretStore};
use crate::server::admin::router as admin_router;
use crate::server::body::{BodyLimits, BodyReader};
use crate::server::listener::{self, Options, Transport};
use crate::server::metrics::ServerMetrics;
use crate::server::routes;
use crate::server::shutdown::Shutdown;
use crate::server::supervise::{Exit, Signals, Supervisor};

/// The listeners' names, in metrics and logs.
const WEBHOOK: &str = "webhook";
const ADMIN: &str = "admin";
/// The admin port serves a kubelet and a few scrapers.
const ADMIN_CONNECTIONS: usize = 64;

/// Everything built and bound, nothing running yet.
pub(super) struct Server {
    config: Config,
    clock: Clock,
    health: Health,
    registry: Registry,
    metrics: ServerMetrics,
    cluster: Cluster,
    source: Arc<EcrTokenSource>,
    assembly: Assembly,
    certificates: Certificates,
    policies: Policies,
    service_accounts: Option<ServiceAccounts>,
    repositories: Option<Repositories>,
    webhooks: TcpListener,
    admin: TcpListener,
}

impl Server {
    pub(super) async fn build(config: Config) -> anyhow::Result<Self> {
        let clock = Clock::system();
        let mut registry = Registry::default();
        let ours = registry.sub_registry_with_prefix(METRICS_PREFIX);
        let health = Health::register(ours);
        let metrics = ServerMetrics::register(ours);

        let webhooks = bind(config.listen).await?;
        let admin = bind(config.admin_listen).await?;
        let cluster = kubernetes::connect(None, None).await?;
        cluster.tell_time(&clock);
        let certificates = Certificates::build(&config, &cluster, &clock, &health, ours).await?;
        let variable = |name: &str| std::env::var(name).ok();
        let aws = AwsSettings::from_environment(variable);
        let source = Arc::new(EcrTokenSource::load(&aws, &clock).await?);

        let store = KubeSecretStore::new(cluster.requests.clone(), &config.secret_name);
        // In a Pod, its name.
        let instance = variable("HOSTNAME").unwrap_or_default();
        let events = KubeEvents::new(cluster.requests.clone(), &instance, clock.clone());
        let outside = Outside {
            store: Arc::new(store),
            pods: Arc::new(KubePodImages::new(cluster.requests.clone())),
            events: Arc::new(events),
            tokens: Arc::clone(&source) as Arc<_>,
        };
        let settings = admit_settings(&config, &cluster);
        let rules = rules(&config, &cluster);
        let assembly = assemble(settings, rules, &clock, outside, ours);
        let ourselves = (&clock, &*instance);
        let policies =
            Policies::build(&config, &cluster, &assembly, ourselves, &health, ours).await?;
        let service_accounts =
            ServiceAccounts::build(&config, &cluster, &assembly, &clock, &health, ours);
        let repositories = Repositories::build(&config, &cluster, &assembly, &clock, &health);
        Ok(Self {
            config,
            clock,
            health,
            registry,
            metrics,
            cluster,
            source,
            assembly,
            certificates,
            policies,
            service_accounts,
            repositories,
            webhooks,
            admin,
        })
    }

    pub(super) async fn run(self, signals: Signals) -> Result<(), anyhow::Error> {
        let mut supervisor = Supervisor::new(self.clock.clone(), self.metrics.clone());
        // The admin port is never told to end: somebody asks about readiness to the very end.
        let (shutdown, never) = (Shutdown::new(), Shutdown::new());
        let for_webhooks = self.webhook_options(&shutdown);
        let for_admin = self.admin_options(&never);
        let (listen, admin) = (self.webhooks.local_addr()?, self.admin.local_addr()?);
        let tls = self.certificates.server_config(&self.clock)?;
        self.spawn_upkeep(&mut supervisor);

        self.certificates.spawn(&mut supervisor, &self.health);
        let book = self.policies.book();
        self.policies.spawn(&mut supervisor, &self.health);
        if let Some(service_accounts) = self.service_accounts {
            service_accounts.spawn(&mut supervisor, &self.health);
        }
        if let Some(repositories) = self.repositories {
            repositories.spawn(&mut supervisor, &self.health, book);
        }

        let bodies = BodyReader::new(BodyLimits::default());
        let router = routes::router(&self.assembly.admission, &bodies);
        let transport = Transport::tls(Arc::unwrap_or_clone(tls));
        let webhooks = listener::serve(self.webhooks, transport, router, for_webhooks);
        supervisor.spawn_listener(WEBHOOK, webhooks);
        let router = admin_router(self.health.clone(), Arc::new(self.registry));
        let probes = listener::serve(self.admin, Transport::Plain, router, for_admin);
        supervisor.spawn_companion(ADMIN, probes);

        tracing::info!(
            %listen,
            %admin,
            cluster = %self.cluster.url,
            secret = %self.config.secret_name,
            "serving"
        );
        let exit = Exit {
            health: self.health,
            shutdown,
            grace: self.config.grace_time,
        };
        supervisor
            .run_until(signals, exit)
            .await
            .map_err(Into::into)
    }

    /// What goes on whatever is configured.
    fn spawn_upkeep(&self, supervisor: &mut Supervisor) {
        tasks::fill_mirrors(
            supervisor,
            &self.config,
            &self.cluster,
            &self.assembly,
            &self.clock,
            &self.health,
        );
        tasks::look_after(supervisor, &self.assembly, &self.policies, &self.health);
        tasks::warm_up(Arc::clone(&self.source));
    }

    fn webhook_options(&self, shutdown: &Shutdown) -> Options {
        let (clock, metrics) = (self.clock.clone(), self.metrics.clone());
        let mut options = Options::new(WEBHOOK, shutdown, clock, metrics);
        options.limits.connections = self.config.max_connections;
        options.limits.drain = self.config.drain_time;
        options
    }

    fn admin_options(&self, never: &Shutdown) -> Options {
        let mut options = Options::new(ADMIN, never, self.clock.clone(), self.metrics.clone());
        options.limits.connections = ADMIN_CONNECTIONS;
        options
    }
}

async fn bind(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}"))
}

fn admit_settings(config: &Config, cluster: &Cluster) -> admit::Settings {
    admit::Settings {
        secret: config.secret_name.clone(),
        excluded_namespaces: excluded_namespaces(config, cluster),
    }
}

pub(super) fn excluded_namespaces(config: &Config, cluster: &Cluster) -> BTreeSet<String> {
    let mut excluded = config.excluded_namespaces.clone();
    if config.namespace.is_none() {
        excluded.extend(cluster.own_namespace.clone());
    }
    excluded
}
