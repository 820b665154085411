//! `ecr-admission demo`: the main job on one screen, on a machine with nothing installed.
//!
//! The server, its TLS, the verdicts, the merge and the patch are the real ones. The cluster and AWS are stand-ins,
//! and the demo says so.

mod client;
mod scenes;
mod show;
mod stand_ins;
mod tenants;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::admit;
use crate::assembly::{Assembly, Outside, Rules, assemble};
use crate::certificate::development::{DevelopmentCa, LEAF_LIFE_DEFAULT};
use crate::certificate::pair::CertificatePair;
use crate::certificate::resolver::ServedCertificate;
use crate::clock::Clock;
use crate::config::DEFAULT_SECRET_NAME;
use crate::event::NoEvents;
use crate::namespace::Namespace;
use crate::policy::PolicySet;
use crate::secret::SecretStore;
use crate::secret::memory::MemorySecretStore;
use crate::server::body::{BodyLimits, BodyReader};
use crate::server::listener::{self, Options, Transport};
use crate::server::metrics::ServerMetrics;
use crate::server::shutdown::Shutdown;
use crate::server::{routes, tls};
use crate::watch::Mirror;
use client::Client;
use show::Screen;
use stand_ins::{BuiltInTokens, NoLabels, NoPods};

/// Shows the main job: a real HTTPS server on loopback, stand-ins for the cluster and for AWS, nothing to prepare.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// Leave after the last Pod instead of serving until Ctrl-C.
    #[arg(long)]
    pub once: bool,

    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// EcrPolicies to go by, as files or directories (comma-separated, or given more than once) [default: those of two
    /// tenants with a role each].
    #[arg(long = "policy", value_name = "FILE|DIR", value_delimiter = ',')]
    pub policies: Vec<PathBuf>,
}

/// Runs the demo.
///
/// # Errors
/// When the address cannot be listened on, or the screen cannot be written to.
pub async fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let clock = Clock::system();
    let policies = tenants::policies(&args.policies)?;
    let stage = Stage::set(args.listen, policies, &clock).await?;
    let mut screen = Screen::stdout();
    screen.line(&format!(
        "ecr-admission serves https://localhost:{} with a certificate made just now.\n\
         Stand-ins: the Secrets are kept in memory instead of a cluster, and the tokens are random digits instead of \
         ECR's.\nEverything else is what `ecr-admission serve` runs.",
        stage.address.port()
    ))?;
    stage.play(&mut screen).await?;
    if args.once {
        return Ok(());
    }
    let folder = make_folder()?;
    stage.invite(&mut screen, &folder)?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    Ok(screen.line("")?)
}

/// A running server and what is behind it.
struct Stage {
    address: SocketAddr,
    ca_pem: String,
    store: Arc<MemorySecretStore>,
    clock: Clock,
    /// Dropping it would end the server.
    _shutdown: Shutdown,
}

impl Stage {
    async fn set(listen: SocketAddr, policies: PolicySet, clock: &Clock) -> anyhow::Result<Self> {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let ca = DevelopmentCa::new(clock.now(), &names, LEAF_LIFE_DEFAULT)?;
        let pair = CertificatePair::check(&ca.pem_pair(), &names, clock.now())?;
        let tls = Arc::new(tls::server_config(ServedCertificate::new(pair))?);
        tls::warm_up(&tls)?;

        let mut registry = Registry::default();
        let store = Arc::new(MemorySecretStore::new(clock.clone()));
        let outside = Outside {
            store: Arc::clone(&store) as Arc<dyn SecretStore>,
            pods: Arc::new(NoPods),
            events: Arc::new(NoEvents),
            tokens: Arc::new(BuiltInTokens(clock.clone())),
        };
        let settings = admit::Settings {
            secret: DEFAULT_SECRET_NAME.to_owned(),
            excluded_namespaces: ["kube-system".to_owned()].into(),
        };
        let rules = Rules {
            policies,
            tell_apart: true,
            live: Arc::new(NoLabels),
        };
        let Assembly {
            admission,
            index,
            namespaces,
            ..
        } = assemble(settings, rules, clock, outside, &mut registry);
        store.attach(index);
        for scene in scenes::all() {
            namespaces.apply(scene.namespace, Namespace::default());
        }
        let watched = Arc::clone(&store);
        tokio::spawn(async move { watched.bookmarks().await });

        let tcp = TcpListener::bind(listen).await;
        let tcp = tcp.with_context(|| format!("cannot listen on {listen}"))?;
        let address = tcp.local_addr()?;
        let shutdown = Shutdown::new();
        let options = Options::new(
            "webhook",
            &shutdown,
            clock.clone(),
            ServerMetrics::register(&mut registry),
        );
        let transport = Transport::tls(Arc::unwrap_or_clone(tls));
        let router = routes::router(&admission, &BodyReader::new(BodyLimits::default()));
        tokio::spawn(listener::serve(tcp, transport, router, options));
        Ok(Self {
            address,
            ca_pem: ca.ca_pem,
            store,
            clock: clock.clone(),
            _shutdown: shutdown,
        })
    }

    /// Creates every Pod and shows what came of it.
    async fn play(&self, screen: &mut Screen<std::io::Stdout>) -> anyhow::Result<()> {
        let mut client = Client::connect(self.address, &self.ca_pem).await?;
        let mut shown = Vec::new();
        for (index, scene) in scenes::all().iter().enumerate() {
            let uid = format!("00000000-0000-4000-8000-{index:012}");
            let review = scenes::review(scene.namespace, &scene.pod, &uid);
            let started = self.clock.monotonic();
            let response = client.post(&review).await?;
            screen.scene(index + 1, scene, &response, started.elapsed())?;
            let secret = self.store.get(scene.namespace).await?;
            let version = secret
                .as_ref()
                .map(|secret| secret.metadata.resource_version.clone());
            if let Some(secret) = secret.filter(|_| !shown.contains(&version)) {
                screen.secret(DEFAULT_SECRET_NAME, scene.namespace, &secret)?;
                shown.push(version);
            }
        }
        Ok(())
    }

    /// Leaves a CA and a review on disk, and the command that uses them.
    fn invite(&self, screen: &mut Screen<std::io::Stdout>, folder: &Path) -> anyhow::Result<()> {
        let (ca, body) = (folder.join("ca.crt"), folder.join("review.json"));
        let scene = scenes::all()
            .into_iter()
            .next()
            .context("there is a scene")?;
        let review = scenes::review(
            "elsewhere",
            &scene.pod,
            "705ab4f5-6393-11e8-b7cc-42010a800002",
        );
        std::fs::write(&ca, &self.ca_pem)?;
        std::fs::write(&body, serde_json::to_vec_pretty(&review)?)?;
        screen.line(&format!(
            "\nYour turn, until Ctrl-C. Change the images in the file and post it again:\n\n  \
             curl --cacert {} -H content-type:application/json --data-binary @{} https://localhost:{}/mutate\n",
            ca.display(),
            body.display(),
            self.address.port()
        ))?;
        Ok(())
    }
}

/// A folder of our own for what the visitor may use.
fn make_folder() -> anyhow::Result<std::path::PathBuf> {
    let folder = std::env::temp_dir().join(format!("ecr-admission-demo-{}", std::process::id()));
    std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}
