//! `ecr-admission token`: a password on standard output, for a pipe.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use zeroize::Zeroizing;

use super::logging;
use super::mint::{Registry, mint};
use crate::config::LogFormat;

/// Prints a registry's password for the user AWS, as `aws ecr get-login-password` does.
///
/// The password opens every registry of that region that your AWS identity may pull from, for up to 12 hours. The region
/// is that of the registry. AWS credentials are found as the AWS CLI finds them: environment, profile (AWS_PROFILE), SSO
/// (after `aws sso login`), web identity, EKS Pod Identity, instance profile. HTTPS_PROXY, NO_PROXY and AWS_CA_BUNDLE
/// apply.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct TokenArgs {
    /// The host of a private ECR registry.
    #[arg(value_name = "REGISTRY")]
    registry: Registry,
}

const EXAMPLES: &str = "\
Examples:
  ecr-admission token 123456789012.dkr.ecr.eu-west-1.amazonaws.com |
    docker login --username AWS --password-stdin 123456789012.dkr.ecr.eu-west-1.amazonaws.com
  ecr-admission token 123456789012.dkr.ecr.eu-west-1.amazonaws.com |
    helm registry login --username AWS --password-stdin 123456789012.dkr.ecr.eu-west-1.amazonaws.com

`ecr-admission login` does both for all clients, several registries at once.
Exit codes: 0 printed, 1 no token could be had, 2 what was asked for makes no sense.";

/// Prints the password, and nothing else, on standard output.
///
/// # Errors
/// When AWS cannot be used as the environment says, or nobody reads.
pub async fn run(args: &TokenArgs) -> anyhow::Result<ExitCode> {
    logging::start(LogFormat::Text, "warn")?;
    let minted = mint(std::slice::from_ref(&args.registry)).await?;
    let host = args.registry.host();
    let token = match minted.into_iter().next().context("nothing was asked for")? {
        Ok(token) => token,
        Err(error) => {
            eprintln!("ecr-admission: no token for {host}: {error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut stdout = io::stdout();
    if stdout.is_terminal() {
        eprintln!(
            "ecr-admission: this password opens {host} until {}: pipe it to `docker login --username AWS \
             --password-stdin {host}` rather than leaving it on a screen",
            token.expires_at
        );
    }
    let line = Zeroizing::new(format!("{}\n", token.password()));
    let written = stdout
        .write_all(line.as_bytes())
        .and_then(|()| stdout.flush());
    written.context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}
