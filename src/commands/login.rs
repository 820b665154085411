//! `ecr-admission login`: registry clients of this machine are logged in, without the AWS CLI.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::logging;
use super::mint::{Registry, mint};
use crate::config::LogFormat;
use crate::registry_clients::{Client, Destination, Environment, answers_for, put};
use crate::token::Token;

/// Logs docker, helm, podman and others in to private ECR registries, for up to 12 hours.
///
/// Does what `aws ecr get-login-password | docker login --password-stdin` and `helm registry login` do, without the AWS
/// CLI, for several registries in one call. By default the password goes into docker's configuration file, which helm,
/// podman, buildah, skopeo, crane, oras and nerdctl read too; --client names another client's own file. What else is in
/// the file stays as it is; a credential helper that it names for the registry (credHelpers, credsStore) is given the
/// password instead.
///
/// AWS credentials are found as the AWS CLI finds them: environment, profile (AWS_PROFILE), SSO (after `aws sso login`),
/// web identity, EKS Pod Identity, instance profile. Each registry names its own region. HTTPS_PROXY, NO_PROXY and
/// AWS_CA_BUNDLE apply.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct LoginArgs {
    /// The host of a private ECR registry; may be repeated.
    #[arg(value_name = "REGISTRY", required = true)]
    registries: Vec<Registry>,

    /// Whose file the password goes into.
    #[arg(long, value_name = "CLIENT", value_enum, default_value_t)]
    client: Client,

    /// Another file of that client's format, in place of the one that its environment names (DOCKER_CONFIG,
    /// HELM_REGISTRY_CONFIG, REGISTRY_AUTH_FILE).
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  ecr-admission login 123456789012.dkr.ecr.eu-west-1.amazonaws.com
  helm install shop oci://123456789012.dkr.ecr.eu-west-1.amazonaws.com/charts/shop --version 1.2.3

  AWS_PROFILE=ci ecr-admission login 123456789012.dkr.ecr.eu-west-1.amazonaws.com \\
    210987654321.dkr.ecr.us-east-1.amazonaws.com
  ecr-admission login --client helm 123456789012.dkr.ecr.eu-west-1.amazonaws.com
  ecr-admission login --config-file ci/config.json 123456789012.dkr.ecr.eu-west-1.amazonaws.com

Exit codes: 0 logged in to all, 1 not to all (each is named), 2 what was asked for makes no sense.";

/// Logs in and tells of each registry.
///
/// # Errors
/// When AWS cannot be used as the environment says, or it is unknown which file to write.
pub async fn run(args: &LoginArgs) -> anyhow::Result<ExitCode> {
    logging::start(LogFormat::Text, "warn")?;
    let variable = |name: &str| std::env::var(name).ok();
    let environment = Environment {
        variable: &variable,
        // There is no other way to learn it without a C library.
        user: std::fs::metadata("/proc/self").ok().map(|own| own.uid()),
    };
    let file = match &args.config_file {
        Some(file) => file.clone(),
        None => args.client.config_file(environment)?,
    };
    let minted = mint(&args.registries).await?;
    let mut code = ExitCode::SUCCESS;
    for (registry, minted) in args.registries.iter().zip(minted) {
        let host = registry.host();
        let done = match minted {
            Ok(token) => log_in(args.client, &file, host, &token),
            Err(error) => Err(error.to_string()),
        };
        match done {
            Ok(told) => writeln!(io::stdout(), "{told}")?,
            Err(error) => {
                eprintln!("ecr-admission: not logged in to {host}: {error}");
                code = ExitCode::FAILURE;
            }
        }
        if args.config_file.is_none() {
            warn_of_older_logins(args.client, environment, host);
        }
    }
    Ok(code)
}

fn log_in(client: Client, file: &Path, host: &str, token: &Token) -> Result<String, String> {
    let destination = put(client, file, host, token.password());
    let place = match destination.map_err(|error| error.to_string())? {
        Destination::File => file.display().to_string(),
        Destination::Helper(name) => format!("docker-credential-{name}"),
    };
    Ok(format!(
        "Logged in to {host} until {} ({place})",
        token.expires_at
    ))
}

/// helm and podman read their own file before docker's, and an older password there would be the one that fails.
fn warn_of_older_logins(client: Client, environment: Environment<'_>, host: &str) {
    if client != Client::Docker {
        return;
    }
    for other in [Client::Helm, Client::Podman] {
        let Ok(file) = other.config_file(environment) else {
            continue;
        };
        if answers_for(&file, host) {
            eprintln!(
                "ecr-admission: {name} has a login of its own for {host} in {file} and reads that first: renew it with \
                 `ecr-admission login --client {name} {host}`",
                name = other.name(),
                file = file.display()
            );
        }
    }
}
