//! `ecr-admission serve`: the real server, wired.

use std::collections::HashSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use super::certificates::Certificates;
use super::logging;
use super::policy_book::{Policies, known, rules};
use super::repositories::Repositories;
use super::service_accounts::ServiceAccounts;
use crate::admit::{self, Admission};
use crate::assembly::{Assembly, METRICS_PREFIX, Outside, assemble};
use crate::aws::{AwsSettings, EcrTokenSource};
use crate::clock::Clock;
use crate::config::{self, Config, ServeSettings};
use crate::health::{Condition, Gate, Health};
use crate::kubernetes::{
    self, Cluster, KubeEvents, KubePodImages, KubeSecretStore, Pace, Watch, watch_namespaces,
    watch_secrets,
};
use crate::server::admin::router as admin_router;
use crate::server::body::{BodyLimits, BodyReader};
use crate::server::listener::{self, Options, Transport};
use crate::server::metrics::ServerMetrics;
use crate::server::routes;
use crate::server::shutdown::Shutdown;
use crate::server::supervise::{Exit, Signals, Supervisor};

/// How often what is degraded is looked at.
const HEALTH_INTERVAL: Duration = Duration::from_secs(2);
/// The admin port serves a kubelet and a few scrapers.
const ADMIN_CONNECTIONS: usize = 64;

/// Serves the webhooks: validates, ensures, injects.
///
/// The cluster is found as kubectl finds it: in a Pod by its ServiceAccount, elsewhere by KUBECONFIG or
/// ~/.kube/config. AWS credentials are found as the AWS CLI finds them: environment, profile, web identity (IRSA),
/// EKS Pod Identity, instance profile. HTTPS_PROXY, NO_PROXY and AWS_CA_BUNDLE apply to AWS.
///
/// Every setting can be a flag, an environment variable (ECR_ADMISSION_…, named with each flag), or a key of the
/// --config file: YAML, the flag's name in camelCase, policy settings under `policy:`, those about self-managed
/// certificates under `selfManaged:`. A flag wins over the environment, the environment over the file; unknown keys are
/// refused. Times are written 500ms, 5s, 1m30s.
///
/// Certificates look after themselves, in a Secret of ours and in the caBundle of our webhook configurations, unless
/// --tls-cert and --tls-key name files that somebody else keeps.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ServeArgs {
    /// A YAML file of settings.
    #[arg(long, env = "ECR_ADMISSION_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The settings themselves.
    #[command(flatten)]
    pub settings: ServeSettings,
}

const EXAMPLES: &str = "\
Examples:
  ecr-admission serve --namespace ecr-admission
  ecr-admission certs --name ecr-admission.ecr-admission.svc
  ecr-admission serve --tls-cert certs/tls.crt --tls-key certs/tls.key
  ecr-admission serve --config settings.yaml --action Warn

A settings file:
  tlsCert: /tls/tls.crt
  tlsKey: /tls/tls.key
  logFormat: json
  policy:
    action: Enforce
    onFailure: Admit
    nativeRegistries: [\"*.dkr.ecr.eu-west-1.amazonaws.com\"]

Endpoints of the admin port: /livez, /readyz (?verbose names what is not ready or degraded), /metrics.
Exit codes: 0 ended by SIGTERM or SIGINT, 1 failed while serving, 2 could not start.";

/// Serves until a signal.
///
/// # Errors
/// Whatever keeps it from starting, as a chain of sentences.
pub async fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let file = args.config.as_deref().map(config::read_file).transpose()?;
    let settings = args.settings.or(file.unwrap_or_default());
    let log = settings.log.clone().unwrap_or_else(|| "info".to_owned());
    let log_format = settings.log_format.unwrap_or_default();
    let config = Config::new(settings)?;
    logging::start(log_format, &log)?;

    let server = Server::build(config).await?;
    let signals = Signals::of_process().context("cannot listen for signals")?;
    match server.run(signals).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(failure) => {
            tracing::error!(%failure, "ending");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Everything built and bound, nothing running yet.
struct Server {
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
    async fn build(config: Config) -> anyhow::Result<Self> {
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

    async fn run(self, signals: Signals) -> Result<(), anyhow::Error> {
        let mut supervisor = Supervisor::new(self.clock.clone(), self.metrics.clone());
        let shutdown = Shutdown::new();
        self.watch(&mut supervisor);
        self.look_after(&mut supervisor);

        let (listen, admin) = (self.webhooks.local_addr()?, self.admin.local_addr()?);
        let tls = self.certificates.server_config(&self.clock)?;
        self.certificates.spawn(&mut supervisor, &self.health);
        let book = self.policies.book();
        self.policies.spawn(&mut supervisor, &self.health);
        if let Some(service_accounts) = self.service_accounts {
            service_accounts.spawn(&mut supervisor, &self.health);
        }
        if let Some(repositories) = self.repositories {
            repositories.spawn(&mut supervisor, &self.health, book);
        }
        let mut options = Options::new(
            "webhook",
            &shutdown,
            self.clock.clone(),
            self.metrics.clone(),
        );
        options.limits.connections = self.config.max_connections;
        options.limits.drain = self.config.drain_time;
        let router = routes::router(
            &self.assembly.admission,
            BodyReader::new(BodyLimits::default()),
        );
        let transport = Transport::tls(Arc::unwrap_or_clone(tls));
        supervisor.spawn_listener(
            "webhook",
            listener::serve(self.webhooks, transport, router, options),
        );

        // Never told to end: somebody asks about readiness to the very end.
        let never = Shutdown::new();
        let mut options = Options::new("admin", &never, self.clock, self.metrics);
        options.limits.connections = ADMIN_CONNECTIONS;
        let router = admin_router(self.health.clone(), Arc::new(self.registry));
        supervisor.spawn_companion(
            "admin",
            listener::serve(self.admin, Transport::Plain, router, options),
        );

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

    /// The mirrors: unready until each has been filled once.
    fn watch(&self, supervisor: &mut Supervisor) {
        let client = || self.cluster.watches.clone();
        let secrets = watch_secrets(
            client(),
            &self.config.secret_name,
            Arc::clone(&self.assembly.index) as Arc<_>,
            self.clock.clone(),
            Pace::default(),
        );
        let namespaces = watch_namespaces(
            client(),
            Arc::clone(&self.assembly.namespaces) as Arc<_>,
            self.clock.clone(),
            Pace::default(),
        );
        let gate = |name| self.health.gate(name, "waiting for the first list");
        let condition = |name| self.health.condition(name);
        spawn_watch(
            supervisor,
            "secret-watch",
            secrets,
            Some(gate("secret-index")),
            condition("secret-watch"),
        );
        spawn_watch(
            supervisor,
            "namespace-watch",
            namespaces,
            Some(gate("namespace-index")),
            condition("namespace-watch"),
        );
    }

    fn look_after(&self, supervisor: &mut Supervisor) {
        let admission = Arc::clone(&self.assembly.admission);
        let tokens = self.health.condition("ecr-tokens");
        let healing = self.health.condition("waiting-namespaces");
        supervisor.spawn("health", move || {
            let (admission, tokens, healing) =
                (Arc::clone(&admission), tokens.clone(), healing.clone());
            async move { observe(&admission, &tokens, &healing).await }
        });
        let (admission, book) = (Arc::clone(&self.assembly.admission), self.policies.book());
        supervisor.spawn("refresh", move || {
            let (admission, book) = (Arc::clone(&admission), book.clone());
            async move {
                known(book).await;
                admission.keep_fresh().await;
            }
        });
        let (admission, book) = (Arc::clone(&self.assembly.admission), self.policies.book());
        supervisor.spawn("reconcile", move || {
            let (admission, book) = (Arc::clone(&admission), book.clone());
            async move {
                known(book).await;
                admission.reconcile().await;
            }
        });
        let events = Arc::clone(&self.assembly.events);
        supervisor.spawn("events", move || {
            let events = Arc::clone(&events);
            async move { events.run().await }
        });
        // Credentials may come from the network; the first admission should not be the one that waits for them.
        let source = Arc::clone(&self.source);
        tokio::spawn(async move {
            if let Err(error) = source.warm_up().await {
                tracing::warn!(%error, "no AWS credentials yet");
            }
        });
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

pub(super) fn excluded_namespaces(config: &Config, cluster: &Cluster) -> HashSet<String> {
    let mut excluded = config.excluded_namespaces.clone();
    if config.namespace.is_none() {
        excluded.extend(cluster.own_namespace.clone());
    }
    excluded
}

/// Runs a watch, and tells of its state. Without it synced once, the process is unready if there is a gate.
pub(super) fn spawn_watch<T: Send + Sync + 'static>(
    supervisor: &mut Supervisor,
    name: &'static str,
    watch: Watch<T>,
    synced: Option<Gate>,
    broken: Condition,
) {
    let mut state = watch.state();
    let watch = Arc::new(watch);
    supervisor.spawn(name, move || {
        let watch = Arc::clone(&watch);
        async move {
            watch.run().await;
        }
    });
    tokio::spawn(async move {
        loop {
            let now = state.borrow_and_update().clone();
            match &now.broken {
                Some((_, reason)) => broken.set(reason),
                None => broken.clear(),
            }
            match (&synced, now.broken) {
                (Some(gate), _) if now.synced => gate.release(),
                (Some(gate), Some((_, reason))) => {
                    gate.hold(format!("waiting for the first list: {reason}"));
                }
                _ => {}
            }
            if state.changed().await.is_err() {
                return;
            }
        }
    });
}

/// Keeps the conditions that nobody reports by himself.
async fn observe(admission: &Admission, tokens: &Condition, healing: &Condition) {
    loop {
        match admission.token_trouble() {
            Some(reason) => tokens.set(reason),
            None => tokens.clear(),
        }
        match admission.healing() {
            0 => healing.clear(),
            waiting => healing.set(format!(
                "{waiting} namespaces wait for a pull Secret that could not be made yet"
            )),
        }
        tokio::time::sleep(HEALTH_INTERVAL).await;
    }
}
