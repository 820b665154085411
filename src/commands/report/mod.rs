//! `ecr-admission report`: what the Pods and workloads of a cluster would come to under a policy.

mod json;
mod text;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};

use super::logging;
use crate::config::{self, LogFormat, PolicySettings};
use crate::files::read_policies;
use crate::kubernetes::{self, Cluster, KubeCensus, KubeInventory, ListedPolicies, list_policies};
use crate::namespace::NamespaceMode;
use crate::policy::{Policy, PolicySet};
use crate::report::{Options, Report, Scope, Survey};

/// Tells what today's Pods and workloads would come to under a policy, so that `Enforce` is no surprise.
///
/// The policy is that of --policy, or without it the EcrPolicies of the cluster, on the settings. Reads the cluster page by
/// page and writes nothing. A Pod that a workload made is told with it, once; so are the namespaces that would lose a grant
/// or be pulled for by somebody else than today.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = EXAMPLES)]
pub struct ReportArgs {
    /// A namespace; may be repeated [default: all]. Then nothing outside of it is read but policies.
    #[arg(short, long, value_name = "NAMESPACE", help_heading = "Where")]
    namespace: Vec<String>,

    /// The namespaces with these labels, such as team=a or env in (prod, stage).
    #[arg(
        short = 'l',
        long,
        value_name = "SELECTOR",
        conflicts_with = "namespace",
        help_heading = "Where"
    )]
    selector: Option<String>,

    /// Namespaces that are left alone, beside kube-system, as `serve` has it (comma-separated).
    #[arg(
        long,
        env = "ECR_ADMISSION_EXCLUDED_NAMESPACES",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        help_heading = "Where"
    )]
    excluded_namespaces: Option<Vec<String>>,

    /// Which namespaces are selected by the label ecr-admission.dev/admission, as `serve` has it: OptOut or OptIn
    /// [default: OptOut]
    #[arg(
        long,
        env = "ECR_ADMISSION_NAMESPACE_MODE",
        value_name = "MODE",
        ignore_case = true,
        help_heading = "Where"
    )]
    namespace_mode: Option<NamespaceMode>,

    /// EcrPolicies to judge by, as files or directories (comma-separated, or given more than once) [default: those of the
    /// cluster].
    #[arg(
        long = "policy",
        value_name = "FILE|DIR",
        value_delimiter = ',',
        help_heading = "Policy"
    )]
    policies: Vec<PathBuf>,

    /// Judge by the settings alone, without any EcrPolicy.
    #[arg(long, conflicts_with = "policies", help_heading = "Policy")]
    no_policies: bool,

    /// The EcrPolicies of today, which grants and identities are compared with, as files or directories [default: none,
    /// the settings alone]. --default-grant is not for them; what the --config file says is.
    #[arg(
        long,
        value_name = "FILE|DIR",
        value_delimiter = ',',
        help_heading = "Policy"
    )]
    before: Vec<PathBuf>,

    /// How the report is written.
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Output,

    /// The most images that are listed for one rule in one namespace. The counts are always whole.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    most: usize,

    /// A YAML file of settings, as `serve` reads it; its excludedNamespaces, namespaceMode and policy count here.
    #[arg(long, env = "ECR_ADMISSION_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: PolicySettings,
}

/// How the report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people: what there is to tell of each namespace, and a summary.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

const EXAMPLES: &str = "\
Examples:
  ecr-admission report
  ecr-admission report --policy policies/
  ecr-admission report --policy policies/ --selector team=a --output json
  ecr-admission report --policy new.yaml --before old.yaml --namespace team-a

Exit codes: 0 nothing would be refused, 1 something would, 2 what was asked for makes no sense, or the cluster or a policy
file cannot be read.";

/// What is judged by.
struct Judges {
    policies: usize,
    after: PolicySet,
    /// What is wrong with policies of the cluster.
    faults: Vec<String>,
}

/// Asks the cluster and tells.
///
/// # Errors
/// Whatever keeps the report from being whole.
pub async fn run(args: ReportArgs) -> anyhow::Result<ExitCode> {
    logging::start(LogFormat::Text, "warn,kube_client=off")?;
    let file = args.config.as_deref().map(config::read_file).transpose()?;
    let file = file.unwrap_or_default();
    let default_grant_today = file.policy.default_grant;
    let base = config::policy(args.settings.clone().or(file.policy))?;
    let before = if args.before.is_empty() {
        Vec::new()
    } else {
        read_policies(&args.before)?
    };
    // A flag says what is tried.
    let base_today = Policy {
        default_grant: default_grant_today,
        ..base.clone()
    };
    let before = PolicySet::new(base_today, before, Vec::new());
    let excluded = args.excluded_namespaces.clone();
    let mode = args.namespace_mode.or(file.namespace_mode);
    let mut scope = Scope {
        names: args.namespace.clone(),
        selector: args.selector.clone(),
        excluded: config::excluded_namespaces(excluded.or(file.excluded_namespaces)),
        mode: mode.unwrap_or_default(),
    };
    scope.names.sort();
    scope.names.dedup();
    let cluster = kubernetes::connect(None, None).await?;
    let judges = judges(&args, base, &cluster).await?;
    let client = || cluster.requests.clone();
    let survey = Survey {
        inventory: Arc::new(KubeInventory::new(client())),
        census: Arc::new(KubeCensus::new(client())),
    };
    let options = Options {
        before,
        after: judges.after.clone(),
        most: args.most,
    };
    let report = survey.run(&scope, options).await?;
    for fault in &judges.faults {
        tracing::warn!("{fault}");
    }
    write(&report, &judges, args.output)?;
    Ok(if report.refuses() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

async fn judges(args: &ReportArgs, base: Policy, cluster: &Cluster) -> anyhow::Result<Judges> {
    let listed = if args.no_policies {
        ListedPolicies::default()
    } else if args.policies.is_empty() {
        let listed = list_policies(&cluster.requests).await;
        listed.context(
            "the EcrPolicies of the cluster cannot be had (give others by --policy, or judge by --no-policies)",
        )?
    } else {
        ListedPolicies {
            policies: read_policies(&args.policies)?,
            ..ListedPolicies::default()
        }
    };
    Ok(Judges {
        policies: listed.policies.len() + listed.unreadable.len(),
        after: PolicySet::new(base, listed.policies, listed.unreadable),
        faults: listed.faults,
    })
}

fn write(report: &Report, judges: &Judges, output: Output) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = match output {
        Output::Text => text::write(report, judges.policies, &mut out),
        Output::Json => json::write(report, judges.policies, &judges.faults, &mut out),
    };
    match written.and_then(|()| out.flush()) {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
