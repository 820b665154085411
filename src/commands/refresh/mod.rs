//! `ecr-admission refresh`: pull Secrets made fresh once, from a CronJob or by a person.

mod policies;
mod report;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use prometheus_client::registry::Registry as Metrics;

use policies::PolicySourceArgs;

use super::logging;
use super::mint::{Registry, aws_settings};
use crate::aws::EcrTokenSource;
use crate::clock::Clock;
use crate::config::{self, LogFormat, PolicySettings};
use crate::kubernetes::{
    self, Cluster, KubeInventory, KubePodImages, KubeSecretStore, KubeServiceAccounts,
};
use crate::policy::Policy;
use crate::refresh::{Parts, Refresh, Scope, Verdict, Wish};
use crate::rulebook::Rulebook;
use crate::secret::{self, SecretIndex, SecretWriter};
use crate::token::{self, TokenCache};

/// For one call to the API server. Nobody's admission waits for it, and another run may be hours away.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Makes pull Secrets fresh, once: for a CronJob, or by hand.
///
/// For one namespace (the Pod's own, or that of the kubeconfig's context), several, those with a label, or all. What it
/// writes is what the webhook writes, and both can be at work in one cluster. Each run renews what it finds, however
/// fresh that is, because it does not know when the next will be; run it every few hours.
///
/// Without --registry it makes what the namespace's annotation ecr-admission.dev/registries names, and what its Pods and
/// workload templates pull. With --registry it reads nothing but the Secret, and needs no more permissions than to get and
/// patch that one by name, where it exists already.
///
/// Who pulls is the identity of ecr-admission itself, unless EcrPolicies say otherwise: those of the cluster with
/// --ecr-policies, or of files with --policy. Then each namespace is read for its labels, gets what its policies grant, and
/// loses what they do not.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct RefreshArgs {
    /// A namespace; may be repeated [default: our own, or the kubeconfig's].
    #[arg(short, long, value_name = "NAMESPACE", help_heading = "Where")]
    namespace: Vec<String>,

    /// The namespaces with these labels, such as team=a or env in (prod, stage); those that opted out are skipped.
    #[arg(
        short = 'l',
        long,
        value_name = "SELECTOR",
        conflicts_with = "namespace",
        help_heading = "Where"
    )]
    selector: Option<String>,

    /// All namespaces; those that opted out, and kube-system, are skipped.
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "selector"], help_heading = "Where")]
    all_namespaces: bool,

    /// Namespaces that --selector and --all-namespaces leave out, beside kube-system (comma-separated).
    #[arg(
        long,
        env = "ECR_ADMISSION_EXCLUDED_NAMESPACES",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        help_heading = "Where"
    )]
    excluded_namespaces: Option<Vec<String>>,

    /// A private ECR registry that the Secret is to hold; may be repeated (comma-separated)
    /// [default: what the namespace names].
    #[arg(
        long,
        value_name = "HOST",
        value_delimiter = ',',
        help_heading = "What"
    )]
    registry: Vec<Registry>,

    /// A ServiceAccount that is to name the Secret in its imagePullSecrets, written --service-account=NAME, or `default`
    /// without a name; may be repeated. Its other entries stay.
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "default",
        help_heading = "What"
    )]
    service_account: Vec<String>,

    /// The name of the pull Secret [default: ecr-pull-secret].
    #[arg(
        long,
        env = "ECR_ADMISSION_SECRET_NAME",
        value_name = "NAME",
        help_heading = "What"
    )]
    secret_name: Option<String>,

    /// Say what would be done and write nothing. Tokens are asked for all the same: that shows whether they can be had.
    #[arg(long, help_heading = "What")]
    dry_run: bool,

    /// How the result is told.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    format: Format,

    /// A YAML file of settings, as `serve` reads it; its secretName, excludedNamespaces and policy count here.
    #[arg(long, env = "ECR_ADMISSION_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    policy: PolicySettings,

    #[command(flatten)]
    policies: PolicySourceArgs,
}

/// How the result is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line a namespace on standard output, a line a failure on standard error.
    #[default]
    Text,
    /// One JSON object on standard output.
    Json,
}

const EXAMPLES: &str = "\
Examples:
  ecr-admission refresh
  ecr-admission refresh --namespace team-a --namespace team-b --dry-run
  ecr-admission refresh --registry 123456789012.dkr.ecr.eu-west-1.amazonaws.com --namespace team-a
  ecr-admission refresh --service-account --service-account=builder
  ecr-admission refresh --selector team --format json
  ecr-admission refresh --all-namespaces
  ecr-admission refresh --all-namespaces --ecr-policies

Exit codes: 0 all fresh, 1 something failed (each is named; the rest is done), 2 what was asked for makes no sense, or no
cluster or no list of namespaces could be had.";

/// Refreshes and tells.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn run(args: RefreshArgs) -> anyhow::Result<ExitCode> {
    // The report names what failed; the libraries need not.
    logging::start(
        LogFormat::Text,
        "warn,aws_config=error,kube_client=off,ecr_admission::token=off",
    )?;
    let cluster = kubernetes::connect(None, None).await?;
    let clock = Clock::system();
    cluster.tell_time(&clock);
    let (dry_run, format) = (args.dry_run, args.format);
    let policies = args.policies.clone();
    let (secret, wish, base) = wish(args, &cluster)?;
    let rulebook = policies.read(base, &cluster).await?;
    let source = EcrTokenSource::load(&aws_settings(), &clock).await?;
    let parts = parts(&cluster, &secret, rulebook, source, &clock);
    let outcomes = Refresh::new(parts, wish).run().await?;
    let (mut stdout, mut stderr) = (io::stdout(), io::stderr());
    match format {
        Format::Text => report::text(&outcomes, &secret, dry_run, &mut stdout, &mut stderr)?,
        Format::Json => report::json(&outcomes, &secret, dry_run, &mut stdout)?,
    }
    let failed = outcomes
        .iter()
        .any(|outcome| outcome.verdict == Verdict::Failed);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn wish(args: RefreshArgs, cluster: &Cluster) -> anyhow::Result<(String, Wish, Policy)> {
    let file = args.config.as_deref().map(config::read_file).transpose()?;
    let file = file.unwrap_or_default();
    let secret = config::secret_name(args.secret_name.or(file.secret_name))?;
    let excluded = args.excluded_namespaces.or(file.excluded_namespaces);
    let scope = if args.all_namespaces || args.selector.is_some() {
        Scope::Listed(args.selector)
    } else if args.namespace.is_empty() {
        Scope::Named(vec![cluster.default_namespace.clone()])
    } else {
        let mut once = Vec::new();
        for name in args.namespace {
            if !once.contains(&name) {
                once.push(name);
            }
        }
        Scope::Named(once)
    };
    let wish = Wish {
        scope,
        registries: args
            .registry
            .iter()
            .map(|registry| registry.host().to_owned())
            .collect(),
        accounts: args.service_account,
        secret: secret.clone(),
        dry_run: args.dry_run,
        excluded: config::excluded_namespaces(excluded),
    };
    let base = config::policy(args.policy.or(file.policy))?;
    Ok((secret, wish, base))
}

fn parts(
    cluster: &Cluster,
    secret: &str,
    rulebook: Rulebook,
    source: EcrTokenSource,
    clock: &Clock,
) -> Parts {
    // Nobody scrapes a process that ends.
    let mut metrics = Metrics::default();
    let index = Arc::new(SecretIndex::new(clock.clone()));
    let client = || cluster.requests.clone();
    let writer = SecretWriter::new(
        secret,
        Arc::new(KubeSecretStore::new(client(), secret).with_timeout(CALL_TIMEOUT)),
        Arc::new(KubePodImages::new(client())),
        Arc::clone(&index),
        clock.clone(),
        secret::Metrics::register(&mut metrics, index),
    );
    Parts {
        inventory: Arc::new(KubeInventory::new(client())),
        writer: writer.eager(),
        rulebook,
        tokens: TokenCache::new(
            Arc::new(source),
            clock.clone(),
            token::Metrics::register(&mut metrics),
        ),
        accounts: Arc::new(KubeServiceAccounts::new(client()).with_timeout(CALL_TIMEOUT)),
        clock: clock.clone(),
    }
}
