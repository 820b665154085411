//! What is logged, and how it looks.

use anyhow::anyhow;
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts logging to standard error.
///
/// A level alone is ours; libraries stay at `warn`. Two are quieter still: the AWS configuration prints failed providers
/// with `Debug`, and kube repeats as its own error what we report with its cause.
///
/// # Errors
/// When `directives` are no filter.
pub fn start(format: LogFormat, directives: &str) -> anyhow::Result<()> {
    // Not as a cause: its own text repeats its source.
    let filter = EnvFilter::try_new(expand(directives)).map_err(|error| {
        anyhow!("--log {directives:?} is neither a level nor a list of directives: {error}")
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
    Ok(())
}

fn expand(directives: &str) -> String {
    match directives {
        "warn" | "info" | "debug" | "trace" => {
            format!("warn,aws_config=error,kube_client=off,ecr_admission={directives}")
        }
        _ => directives.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_alone_never_raises_that_of_libraries() {
        for level in ["info", "debug", "trace"] {
            let expanded = expand(level);
            assert!(
                expanded.starts_with("warn,")
                    && expanded.ends_with(&format!(",ecr_admission={level}"))
            );
        }
        assert_eq!(expand("kube=debug"), "kube=debug");
    }
}
