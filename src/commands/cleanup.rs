//! `ecr-admission cleanup`: takes away what was installed and what replicas have written.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, ValueEnum};
use jiff::SignedDuration;
use serde::Serialize;

use crate::cleanup::{Choice, Entry, Kind, Outcome, clean};
use crate::clock::Clock;
use crate::config::{self, DEFAULT_SECRET_NAME, ServeSettings};
use crate::kubernetes::{self, KubeInstallation, KubeServiceAccounts};
use crate::repository;

/// Takes ecr-admission out of a cluster: before an uninstall, or in place of one.
///
/// In this order: the webhook configurations and the API server's own injection are deleted; the Deployment is scaled to
/// zero, and its Pods are waited for, because they would put back what follows; our entry, and only ours, is taken out of
/// the imagePullSecrets of every ServiceAccount; our Secrets are deleted, those of our names that carry our label. What is
/// gone already is not told of, and a second run changes nothing. `helm uninstall` runs it by itself.
///
/// It does not delete the Deployment, the Service, the account and the policies that limit it: `helm uninstall` or
/// `kubectl delete -k` do that afterwards.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct CleanupArgs {
    /// What the installation is called: its Deployment has this name, and its other objects names that start with it.
    #[arg(long, value_name = "NAME", default_value = "ecr-admission")]
    name: String,

    /// The namespace that it is installed in [default: that of the --config file or of the Pod's ServiceAccount]
    #[arg(long, env = "ECR_ADMISSION_NAMESPACE", value_name = "NAMESPACE")]
    namespace: Option<String>,

    /// The file of settings that `serve` runs with, for the names in it.
    #[arg(long, env = "ECR_ADMISSION_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// The name of the pull Secret in every namespace [default: ecr-pull-secret]
    #[arg(long, env = "ECR_ADMISSION_SECRET_NAME", value_name = "NAME")]
    secret_name: Option<String>,

    /// The name of both webhook configurations [default: zz- and the name]
    #[arg(long, env = "ECR_ADMISSION_WEBHOOK_CONFIGURATION", value_name = "NAME")]
    webhook_configuration: Option<String>,

    /// The Secret with our certificate [default: the name and -tls]
    #[arg(long, env = "ECR_ADMISSION_TLS_SECRET_NAME", value_name = "NAME")]
    tls_secret_name: Option<String>,

    /// The namespaces of Argo CD in which repository Secrets of ours may be (comma-separated)
    #[arg(
        long,
        env = "ECR_ADMISSION_ARGOCD_NAMESPACES",
        value_name = "NAMESPACE",
        value_delimiter = ','
    )]
    argocd_namespaces: Option<Vec<String>>,

    /// Leave our Secrets: Pods that run can pull again until their tokens expire
    #[arg(long)]
    keep_secrets: bool,

    /// Leave the Secret with the certificate: it is somebody else's
    #[arg(long)]
    keep_tls_secret: bool,

    /// Change nothing; tell what would be
    #[arg(long)]
    dry_run: bool,

    /// How long the Pods of the Deployment may take to end [default: 2m]
    #[arg(long, value_name = "TIME")]
    timeout: Option<SignedDuration>,

    /// How each object is told of: text, or one JSON object a line
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  ecr-admission cleanup --namespace ecr-admission --dry-run
  ecr-admission cleanup --namespace ecr-admission --keep-secrets && kubectl delete -k manifests

Exit codes: 0 nothing is left that should go, 1 something could not be taken away (each told of), 2 it could not start.";

/// How objects are told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

/// Takes everything away.
///
/// # Errors
/// What keeps it from starting; what cannot be taken away is told of, and makes the exit code 1.
pub async fn run(args: &CleanupArgs, clock: &Clock) -> anyhow::Result<ExitCode> {
    let file = args.config.as_deref().map(config::read_file).transpose()?;
    let cluster = kubernetes::connect(None, None).await?;
    let choice = choice(
        args,
        file.unwrap_or_default(),
        cluster.own_namespace.clone(),
    )?;
    let installation = KubeInstallation::new(cluster.requests.clone(), &choice.secret);
    let accounts = KubeServiceAccounts::new(cluster.requests);

    let mut stdout = io::stdout();
    let (mut count, mut written) = (Count::default(), Ok(()));
    let mut tell = |entry: Entry| {
        count.add(&entry);
        if written.is_ok() {
            written = show(args.format, &entry, &mut stdout);
        }
    };
    clean(&choice, &installation, &accounts, clock, &mut tell).await;
    if written.is_ok() && args.format == Format::Text {
        written = writeln!(stdout, "{}", count.summary(choice.dry_run));
    }
    match written {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.context("cannot tell what was done")?,
    }
    Ok(u8::from(count.failed > 0).into())
}

fn choice(
    args: &CleanupArgs,
    file: ServeSettings,
    own_namespace: Option<String>,
) -> anyhow::Result<Choice> {
    let namespace = args.namespace.clone().or(file.namespace).or(own_namespace);
    let namespace = namespace.ok_or_else(|| {
        anyhow!("--namespace is missing: outside of a Pod, say where ecr-admission is installed")
    })?;
    let timeout = args.timeout.unwrap_or(SignedDuration::from_mins(2));
    let given = |flag: &Option<String>, file: Option<String>| flag.clone().or(file);
    let tls_secret = given(&args.tls_secret_name, file.self_managed.tls_secret_name)
        .unwrap_or_else(|| format!("{}-tls", args.name));
    let mut more_secrets = Vec::new();
    if !args.keep_tls_secret {
        more_secrets.push((namespace.clone(), tls_secret));
    }
    let argocd = args.argocd_namespaces.clone().or(file.argocd_namespaces);
    for argocd in argocd.unwrap_or_default() {
        more_secrets.extend(repository::names().map(|name| (argocd.clone(), name)));
    }
    Ok(Choice {
        webhook_configuration: given(
            &args.webhook_configuration,
            file.self_managed.webhook_configuration,
        )
        .unwrap_or_else(|| format!("zz-{}", args.name)),
        secret: given(&args.secret_name, file.secret_name)
            .unwrap_or_else(|| DEFAULT_SECRET_NAME.to_owned()),
        more_secrets,
        name: args.name.clone(),
        namespace,
        keep_secrets: args.keep_secrets,
        dry_run: args.dry_run,
        patience: Duration::try_from(timeout).map_err(|_| anyhow!("--timeout is below zero"))?,
    })
}

#[derive(Default)]
struct Count {
    done: usize,
    kept: usize,
    failed: usize,
}

impl Count {
    fn add(&mut self, entry: &Entry) {
        match entry.outcome {
            Outcome::Done | Outcome::Would => self.done += 1,
            Outcome::Kept(_) => self.kept += 1,
            Outcome::Failed(_) => self.failed += 1,
        }
    }

    fn summary(&self, dry_run: bool) -> String {
        let (done, kept, failed) = (self.done, self.kept, self.failed);
        let verb = if dry_run { "to change" } else { "changed" };
        format!("{done} objects {verb}, {kept} kept, {failed} failed")
    }
}

/// One line of `--format json`.
#[derive(Serialize)]
struct Line<'a> {
    kind: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    namespace: &'a str,
    name: &'a str,
    action: &'a str,
    result: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

fn show(format: Format, entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    let Entry { object, outcome } = entry;
    let (kind, namespace, name) = (object.kind.name(), &*object.namespace, &*object.name);
    let (action, done, would) = match object.kind {
        Kind::Deployment => ("scale", "scaled to zero", "would scale to zero"),
        Kind::ServiceAccount => (
            "free",
            "took our entry out of",
            "would take our entry out of",
        ),
        _ => ("delete", "deleted", "would delete"),
    };
    let (result, verb, reason) = match outcome {
        Outcome::Done => ("done", done, None),
        Outcome::Would => ("would", would, None),
        Outcome::Kept(reason) => ("kept", "kept", Some((*reason).to_owned())),
        Outcome::Failed(error) => ("failed", "failed:", Some(error.to_string())),
    };
    if format == Format::Json {
        let line = Line {
            kind,
            namespace,
            name,
            action,
            result,
            reason,
        };
        return writeln!(out, "{}", serde_json::to_string(&line)?);
    }
    match (outcome, reason) {
        // The sentence names the object.
        (Outcome::Failed(_), Some(reason)) => return writeln!(out, "{verb} {reason}"),
        _ if namespace.is_empty() => write!(out, "{verb} {kind} {name:?}")?,
        _ => write!(out, "{verb} {kind} {name:?} in namespace {namespace:?}")?,
    }
    match outcome {
        Outcome::Kept(reason) => writeln!(out, ": {reason}"),
        _ => writeln!(out),
    }
}
