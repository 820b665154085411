//! The command line: one file a subcommand.

pub mod certs;
pub mod check;
pub mod cleanup;
pub mod crd;
pub mod demo;
pub mod logging;
pub mod login;
mod mint;
pub mod parse;
pub mod policies;
pub mod refresh;
pub mod report;
pub mod serve;
pub mod token;
pub mod verify;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::clock::Clock;
use crate::config::{self, PolicySettings, check_environment};

/// A Kubernetes admission webhook that makes private Amazon ECR images just pull.
///
/// Checks that an ECR image is a full registry/repository:tag reference, makes sure that the Pod's namespace holds a
/// pull Secret with a fresh ECR token, and injects that Secret into the Pod, all in one admission call.
#[derive(Debug, Parser)]
#[command(
    name = "ecr-admission",
    version,
    max_term_width = 120,
    propagate_version = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Serve(Box<serve::ServeArgs>),
    Check(CheckCommand),
    Certs(certs::CertsArgs),
    Crd(crd::CrdArgs),
    Cleanup(cleanup::CleanupArgs),
    Login(login::LoginArgs),
    Refresh(Box<refresh::RefreshArgs>),
    Report(Box<report::ReportArgs>),
    Token(token::TokenArgs),
    Verify(verify::VerifyArgs),
    /// Reads one JSON string per line and prints what the reference parser makes of it, as one JSON object per line.
    #[command(hide = true)]
    Parse,
}

/// Gives the webhook's verdicts offline, for manifests.
///
/// Reads YAML and JSON, several documents a file, and finds the images of Pods and of everything that makes Pods.
/// Exit codes: 0 clean, 1 images that would be refused, 2 something that could not be read (the rest is still
/// reported).
#[derive(Args, Debug)]
struct CheckCommand {
    #[command(flatten)]
    check: check::CheckArgs,

    /// A YAML file of settings, as `serve` reads it; only its `policy` counts here.
    #[arg(
        long,
        env = "ECR_ADMISSION_CONFIG",
        value_name = "FILE",
        help_heading = "Policy"
    )]
    config: Option<PathBuf>,

    #[command(flatten)]
    policy: PolicySettings,

    #[command(flatten)]
    policies: policies::PolicyArgs,
}

impl Cli {
    /// Runs the command that was asked for.
    ///
    /// # Errors
    /// What went wrong, as a chain of sentences for people.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        check_environment::<Self>(
            std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()),
        )?;
        match self.command {
            Command::Demo(args) => runtime()?.block_on(demo::run(&args))?,
            Command::Serve(args) => return run(serve::run(*args)),
            Command::Check(command) => return command.run(),
            Command::Certs(args) => {
                let (clock, mut stdout) = (Clock::system(), io::stdout());
                runtime()?.block_on(certs::run(&args, &clock, &mut stdout))?;
            }
            Command::Crd(args) => crd::run(&args, &mut io::stdout())?,
            Command::Cleanup(args) => {
                return runtime()?.block_on(cleanup::run(&args, &Clock::system()));
            }
            Command::Login(args) => return run(login::run(&args)),
            Command::Refresh(args) => return run(refresh::run(*args)),
            Command::Report(args) => return run(report::run(*args)),
            Command::Token(args) => return run(token::run(&args)),
            Command::Verify(args) => return run(verify::run(args)),
            Command::Parse => parse::run(io::stdin().lock(), io::stdout().lock())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl CheckCommand {
    fn run(self) -> anyhow::Result<ExitCode> {
        let file = self.config.as_deref().map(config::read_file).transpose()?;
        let file = file.unwrap_or_default().policy;
        let base = config::policy(self.policy.or(file))?;
        let policies = self.policies.read(base)?;
        let (mut stdin, mut stdout) = (io::stdin().lock(), io::stdout().lock());
        match check::run(
            &self.check,
            &policies,
            &mut stdin,
            &mut stdout,
            &mut io::stderr(),
        ) {
            Ok(outcome) => Ok(outcome.exit_code().into()),
            // Whoever reads has seen enough, as `head` does.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
            Err(error) => Err(error.into()),
        }
    }
}

/// Waits for the command alone: neither a second signal nor a slow name server may find the process hanging on other
/// tasks.
fn run(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let ended = runtime.block_on(command);
    runtime.shutdown_background();
    ended
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}
