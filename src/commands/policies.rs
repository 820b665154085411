//! Policies as they are given on the command line.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::check::{DEFAULT_NAMESPACE, Policies};
use crate::files::read_policies;
use crate::policy::{Labels, Policy, PolicySet};

/// Policies from files, and what they are to be applied to.
#[derive(Args, Clone, Debug)]
pub struct PolicyArgs {
    /// EcrPolicies, as files or directories of .yaml, .yml and .json (comma-separated, or given more than once).
    #[arg(
        long = "policy",
        value_name = "FILE|DIR",
        value_delimiter = ',',
        help_heading = "Policy"
    )]
    pub files: Vec<PathBuf>,

    /// The namespace of objects that name none.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAMESPACE, help_heading = "Policy")]
    pub namespace: String,

    /// The labels of all namespaces, for policies that select by label, as key=value (comma-separated).
    #[arg(
        long,
        value_name = "LABELS",
        value_delimiter = ',',
        help_heading = "Policy"
    )]
    pub namespace_labels: Vec<String>,
}

impl PolicyArgs {
    /// Reads the policies that stand on `base`.
    ///
    /// # Errors
    /// Everything that is wrong with them, or with a label.
    pub fn read(&self, base: Policy) -> anyhow::Result<Policies> {
        let mut labels = Labels::new();
        for label in &self.namespace_labels {
            let Some((key, value)) = label.split_once('=') else {
                bail!("--namespace-labels holds {label:?}, which is not of the form key=value");
            };
            labels.insert(key.trim().to_owned(), value.trim().to_owned());
        }
        let policies = if self.files.is_empty() {
            Vec::new()
        } else {
            read_policies(&self.files)?
        };
        let set = PolicySet::new(base, policies, Vec::new());
        Ok(Policies::new(set, &self.namespace, labels))
    }
}
