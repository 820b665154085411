//! `ecr-admission serve`: the real server, wired.

mod certificates;
mod policies;
mod repositories;
mod server;
mod service_accounts;
mod tasks;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use super::logging;
use crate::config::{self, Config, ServeSettings};
use crate::server::supervise::Signals;
use server::Server;

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
