//! `ecr-admission crd`: the CustomResourceDefinition of EcrPolicy.

use std::io::{self, Write};

use anyhow::Context;

use crate::policy::spec;

/// What the definition says of itself when it is YAML.
const HEAD: &str = "# Written by `ecr-admission crd`: change the types in src/policy/spec.\n";

/// Prints the CustomResourceDefinition of EcrPolicy, as YAML for kubectl apply.
///
/// It is part of the chart (crd.install=true) and of the plain manifests (manifests/crd.yaml).
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Example:\n  ecr-admission crd | kubectl apply --server-side -f -")]
pub struct CrdArgs {
    /// Print JSON instead.
    #[arg(long)]
    pub json: bool,
}

/// Writes the definition.
///
/// # Errors
/// Only those of writing.
pub fn run(args: &CrdArgs, stdout: &mut dyn Write) -> anyhow::Result<()> {
    let definition = spec::definition()?;
    let text = if args.json {
        serde_json::to_string_pretty(&definition)? + "\n"
    } else {
        let yaml = serde_saphyr::to_string(&definition);
        HEAD.to_owned() + &yaml.context("the definition cannot be written as YAML")?
    };
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
