//! Misspelt environment variables are refused, because a setting that silently does nothing is worse than an error.

use clap::CommandFactory;

use super::ConfigError;

/// What every one of our variables starts with.
const PREFIX: &str = "ECR_ADMISSION_";

/// Refuses a variable of our prefix that no flag of `C` reads.
///
/// Kubernetes itself sets some for a Service named `ecr-admission` (`ECR_ADMISSION_SERVICE_HOST`,
/// `ECR_ADMISSION_PORT_443_TCP`, …: pkg/kubelet/envvars/envvars.go); those are passed over.
///
/// # Errors
/// [`ConfigError`] naming the variable.
pub fn check_environment<C: CommandFactory>(
    names: impl Iterator<Item = String>,
) -> Result<(), ConfigError> {
    let command = C::command();
    let commands = std::iter::once(&command).chain(command.get_subcommands());
    let known: Vec<&str> = commands
        .flat_map(clap::Command::get_arguments)
        .filter_map(|argument| argument.get_env()?.to_str())
        .collect();
    let mut unknown = names.filter(|name| {
        name.strip_prefix(PREFIX)
            .is_some_and(|rest| !is_service_link(rest) && !known.contains(&name.as_str()))
    });
    match unknown.next() {
        None => Ok(()),
        Some(name) => Err(ConfigError(format!(
            "the environment variable {name} is no setting of ecr-admission; see `ecr-admission serve --help`"
        ))),
    }
}

fn is_service_link(rest: &str) -> bool {
    rest.starts_with("SERVICE_") || rest == "PORT" || rest.starts_with("PORT_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServeSettings;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        _serve: ServeSettings,
    }

    fn check(names: &[&str]) -> Result<(), ConfigError> {
        check_environment::<Cli>(names.iter().map(|name| (*name).to_owned()))
    }

    #[test]
    fn a_misspelt_variable_is_refused_and_service_links_are_not() {
        let links = [
            "ECR_ADMISSION_SERVICE_HOST",
            "ECR_ADMISSION_SERVICE_PORT_HTTPS",
            "ECR_ADMISSION_PORT",
            "ECR_ADMISSION_PORT_443_TCP_ADDR",
            "PATH",
            "ECR_ADMISSION_LISTEN",
            "ECR_ADMISSION_ON_FAILURE",
        ];
        assert_eq!(check(&links), Ok(()));
        insta::assert_snapshot!(
            check(&["ECR_ADMISSION_LISTN"]).unwrap_err(),
            @"the environment variable ECR_ADMISSION_LISTN is no setting of ecr-admission; see `ecr-admission serve --help`"
        );
    }
}
