//! `ecr-admission verify`: experiments in a person's own AWS account, about what nobody has documented.

mod scope;
mod token_life;
mod trial;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::logging;
use crate::clock::Clock;
use crate::config::LogFormat;

/// Tries in your AWS account what AWS does not document about tokens of roles.
///
/// Two settings of a role in an EcrPolicy depend on how ECR treats a token whose session has ended or is limited. Each
/// command makes tokens with the role as `serve` would, asks the registry for images as a pull begins (it downloads
/// nothing and writes nothing), and says which setting is right.
///
/// AWS credentials are found as the AWS CLI finds them, and must be those of an identity that may assume the role.
/// HTTPS_PROXY, NO_PROXY and AWS_CA_BUNDLE apply.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    #[command(subcommand)]
    command: VerifyCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum VerifyCommand {
    TokenLife(token_life::TokenLifeArgs),
    Scope(scope::ScopeArgs),
}

/// The role, as a policy would name it.
#[derive(Clone, Debug, Args)]
struct RoleArgs {
    /// The ARN of the role.
    #[arg(long, value_name = "ARN")]
    role: String,

    /// The external id that its trust policy asks for, if it does.
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
}

/// Runs the experiment and tells it, step by step, on standard output.
///
/// # Errors
/// What was asked for makes no sense, or AWS cannot be used as the environment says.
pub async fn run(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    logging::start(LogFormat::Text, "warn")?;
    let clock = Clock::system();
    let concluded = match args.command {
        VerifyCommand::TokenLife(args) => token_life::run(&args, &clock).await?,
        VerifyCommand::Scope(args) => scope::run(&args, &clock).await?,
    };
    match concluded {
        Ok(found) => {
            trial::tell(&found.sentence)?;
            Ok(if found.good {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Err(trial::Inconclusive(why)) => {
            eprintln!("ecr-admission: nothing can be told: {why}");
            Ok(ExitCode::FAILURE)
        }
    }
}
