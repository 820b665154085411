//! Wiring the serving certificate: from files, or self-managed, and the clients that are accepted.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use prometheus_client::registry::Registry;
use rustls::ServerConfig;
use tokio::sync::Notify;

use crate::certificate::development::DevelopmentCa;
use crate::certificate::managed::{Keeper, KeeperParts};
use crate::certificate::metrics::CertificateMetrics;
use crate::certificate::{
    CertificatePair, ClientReloader, Reloader, ReloaderOptions, ServedCertificate,
};
use crate::clock::Clock;
use crate::config::{CertificateConfig, Config, SelfManaged};
use crate::files::certificates::{AuthorityFile, CertificateFiles};
use crate::health::Health;
use crate::kubernetes::{
    Cluster, ConfigurationKind, KubeCertificateStore, KubeWebhookConfigurations, Watch,
    watch_certificate_secret, watch_webhook_configuration,
};
use crate::server::supervise::Supervisor;
use crate::server::tls;

/// What keeps the serving certificate.
enum Source {
    Files(Arc<Reloader<CertificateFiles>>),
    SelfManaged(Arc<Keeper>, Vec<(&'static str, Watch<()>)>),
}

/// The TLS side of `serve`, built and not running yet.
pub(super) struct Certificates {
    source: Source,
    clients: Option<Arc<ClientReloader<AuthorityFile>>>,
}

impl Certificates {
    pub(super) async fn build(
        config: &Config,
        cluster: &Cluster,
        clock: &Clock,
        health: &Health,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let source = match &config.certificate {
            CertificateConfig::Files { cert, key, names } => {
                let options = ReloaderOptions {
                    interval: config.tls_poll,
                    expected_names: names.clone(),
                };
                let files = CertificateFiles::new(cert, key);
                let metrics = CertificateMetrics::register(registry);
                let reloader = Reloader::start(files, options, clock.clone(), health, metrics);
                Source::Files(Arc::new(reloader.await?))
            }
            CertificateConfig::SelfManaged(managed) => {
                let namespace = config.namespace.as_ref().or(cluster.own_namespace.as_ref());
                let namespace = namespace.ok_or_else(|| {
                    anyhow!(
                        "--namespace is missing: outside of a Pod, self-managed certificates need to know where their \
                         Secret is (or give --tls-cert and --tls-key)"
                    )
                })?;
                let metrics = CertificateMetrics::register_managed(registry);
                self_managed(managed, namespace, cluster, clock, health, metrics)
            }
        };
        let clients = match &config.client_ca {
            None => None,
            Some(file) => {
                let file = AuthorityFile::new(file);
                let reloader = ClientReloader::start(file, config.tls_poll, health);
                Some(Arc::new(reloader.await?))
            }
        };
        Ok(Self { source, clients })
    }

    /// The TLS of the listener; the costly first handshake of the process is made here.
    pub(super) fn server_config(&self, clock: &Clock) -> anyhow::Result<Arc<ServerConfig>> {
        let served = match &self.source {
            Source::Files(reloader) => reloader.served(),
            Source::SelfManaged(keeper, _) => keeper.served(),
        };
        let config = match &self.clients {
            None => tls::server_config(Arc::clone(&served) as Arc<_>)?,
            Some(clients) => {
                tls::server_config_for(Arc::clone(&served) as Arc<_>, clients.accepted())?
            }
        };
        let config = Arc::new(config);
        if served.current().is_some() {
            tls::warm_up(&config)?;
        } else {
            tls::warm_up(&Arc::new(tls::server_config(stand_in(clock)?)?))?;
        }
        Ok(config)
    }

    /// Runs what keeps the certificate and the clients.
    pub(super) fn spawn(self, supervisor: &mut Supervisor, health: &Health) {
        match self.source {
            Source::Files(reloader) => {
                supervisor.spawn("certificate", reloader, |reloader| async move {
                    reloader.run().await;
                });
            }
            Source::SelfManaged(keeper, watches) => {
                supervisor.spawn("certificate", keeper, |keeper| async move {
                    keeper.run().await;
                });
                for (name, watch) in watches {
                    super::tasks::spawn_watch(
                        supervisor,
                        name,
                        watch,
                        None,
                        health.condition(name),
                    );
                }
            }
        }
        if let Some(clients) = self.clients {
            supervisor.spawn("client-ca", clients, |clients| async move {
                clients.run().await;
            });
        }
    }
}

fn self_managed(
    managed: &SelfManaged,
    namespace: &str,
    cluster: &Cluster,
    clock: &Clock,
    health: &Health,
    metrics: CertificateMetrics,
) -> Source {
    let (secret, configuration) = (&managed.secret_name, &managed.webhook_configuration);
    let changed = Arc::new(Notify::new());
    let requests = || cluster.requests.clone();
    let parts = KeeperParts {
        store: Arc::new(KubeCertificateStore::new(requests(), namespace, secret)),
        configurations: Arc::new(KubeWebhookConfigurations::new(requests(), configuration)),
        changed: Arc::clone(&changed),
        clock: clock.clone(),
        metrics,
    };
    let keeper = Keeper::new(managed.plan(namespace), parts, health);
    let client = || cluster.watches.clone();
    let of = |kind| {
        let changed = Arc::clone(&changed);
        watch_webhook_configuration(client(), kind, configuration, changed, clock.clone())
    };
    let watches = vec![
        (
            "certificate-secret-watch",
            watch_certificate_secret(
                client(),
                namespace,
                secret,
                Arc::clone(&changed),
                clock.clone(),
            ),
        ),
        (
            "mutating-configuration-watch",
            of(ConfigurationKind::Mutating),
        ),
        (
            "validating-configuration-watch",
            of(ConfigurationKind::Validating),
        ),
    ];
    Source::SelfManaged(Arc::new(keeper), watches)
}

/// A certificate that nobody is served, for the handshake that warms up.
fn stand_in(clock: &Clock) -> anyhow::Result<Arc<ServedCertificate>> {
    let names = ["localhost".to_owned()];
    let now = clock.now();
    let made = DevelopmentCa::new(now, &names, Duration::from_mins(1))?;
    let pair = CertificatePair::check(&made.pem_pair(), &[], now);
    Ok(ServedCertificate::new(pair.context("warming up")?))
}
