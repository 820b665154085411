//! `ecr-admission certs`: makes, shows and rotates certificates.

pub mod development;
mod look;
mod rotate;
mod show;

use std::io::Write;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use crate::clock::Clock;
use crate::config::DEFAULT_WEBHOOK_CONFIGURATION;

/// Makes a certificate for development, or shows and rotates those of a cluster.
///
/// Alone it makes an authority (ca.crt), and a server certificate and key (tls.crt, tls.key), for development. The
/// authority's own key is not kept, so nothing else can be signed by it. In a cluster `serve` makes its own certificates,
/// or reads those of cert-manager.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CertsArgs {
    #[command(subcommand)]
    command: Option<CertsCommand>,

    #[command(flatten)]
    development: development::DevelopmentArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum CertsCommand {
    Show(show::ShowArgs),
    Rotate(rotate::RotateArgs),
}

/// Our webhook configurations, by their one name.
#[derive(Clone, Debug, Args)]
struct ConfigurationArgs {
    /// The name of our webhook configurations.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_WEBHOOK_CONFIGURATION)]
    webhook_configuration: String,
}

/// A Secret, written NAMESPACE/NAME.
#[derive(Clone, Debug)]
struct SecretName {
    namespace: String,
    name: String,
}

impl std::str::FromStr for SecretName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let valid = |part: &str| {
            let fine = |byte: u8| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)
            };
            !part.is_empty() && part.bytes().all(fine)
        };
        match text.split_once('/') {
            Some((namespace, name)) if valid(namespace) && valid(name) => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            _ => bail!("a Secret is written NAMESPACE/NAME"),
        }
    }
}

/// Runs the command and tells its result on `out`.
///
/// # Errors
/// What went wrong, as a chain of sentences for people.
pub async fn run(args: &CertsArgs, clock: &Clock, out: &mut impl Write) -> anyhow::Result<()> {
    let told = match &args.command {
        None => return development::run(&args.development, clock, out),
        Some(CertsCommand::Show(args)) => show::run(args, clock).await?,
        Some(CertsCommand::Rotate(args)) => rotate::run(args, clock).await?,
    };
    out.write_all(told.as_bytes())
        .context("cannot write to standard output")
}
