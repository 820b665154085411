//! `ecr-admission check`: the webhook's verdicts, offline, for manifests.

mod github;
mod inspect;
mod json;
mod policies;
mod report;
mod sarif;
mod text;
mod walk;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;

pub use policies::{DEFAULT_NAMESPACE, Policies};
use report::{File, Report};

/// What `check` reads, and how it answers.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// Manifests: files, directories (searched for .yaml, .yml and .json; hidden ones and links are left out), or -
    /// for standard input
    #[arg(required = true, value_name = "FILE|DIR|-")]
    pub paths: Vec<PathBuf>,
    /// How findings are written to standard output; the summary goes to standard error
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// FILE:LINE: a sentence
    #[default]
    Text,
    /// One JSON object
    Json,
    /// Annotations in a GitHub workflow
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

/// What was found, as an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Nothing that would be refused.
    Clean,
    /// At least one image would be refused.
    Violations,
    /// Something could not be read, whatever the rest says.
    Unreadable,
}

impl Outcome {
    /// The exit code: 0, 1 or 2.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Violations => 1,
            Self::Unreadable => 2,
        }
    }
}

/// Checks all that `args` names: findings to `stdout`, a summary to `stderr`.
///
/// Fails only where `stdout` or `stderr` cannot be written; what cannot be read is a finding.
pub fn run(
    args: &CheckArgs,
    policies: &Policies,
    stdin: &mut dyn Read,
    stdout: &mut dyn Write,
    stderr: &mut dyn Write,
) -> io::Result<Outcome> {
    let mut report = Report::default();
    for path in &args.paths {
        if path.as_os_str() == "-" {
            let bytes = walk::read_bounded(stdin);
            inspect::file(File::Stdin, bytes, policies, &mut report);
        } else {
            inspect_path(path, policies, &mut report);
        }
    }
    match args.format {
        Format::Text => text::write(&report, stdout)?,
        Format::Json => json::write(&report, stdout)?,
        Format::Github => github::write(&report, stdout)?,
        Format::Sarif => sarif::write(&report, stdout)?,
    }
    stdout.flush()?;
    text::write_summary(&report, stderr)?;
    stderr.flush()?;
    Ok(report.outcome())
}

fn inspect_path(path: &Path, policies: &Policies, report: &mut Report) {
    let mut any = false;
    for found in walk::manifests(path) {
        any = true;
        match found {
            Ok(path) => {
                let bytes = walk::read_file(&path);
                inspect::file(File::Path(path), bytes, policies, report);
            }
            Err((path, error)) => inspect::file(File::Path(path), Err(error), policies, report),
        }
    }
    if !any {
        report.empty_directories.push(path.to_owned());
    }
}
