//! The policies of `demo`: two tenants with a role each, or what somebody brings along.

use std::path::PathBuf;

use crate::files::{parse_policies, read_policies};
use crate::policy::{DefaultGrant, Policy, PolicySet};

/// What the demo goes by and prints.
const TENANTS: &str = include_str!("tenants.yaml");

/// The policies of these files, or the two tenants, on settings that leave all other namespaces as they are.
///
/// # Errors
/// What is wrong with a file.
pub(super) fn policies(files: &[PathBuf]) -> anyhow::Result<PolicySet> {
    let base = Policy {
        default_grant: Some(DefaultGrant::Controller),
        ..Policy::default()
    };
    let policies = if files.is_empty() {
        parse_policies("tenants.yaml", TENANTS)?
    } else {
        read_policies(files)?
    };
    Ok(PolicySet::new(base, policies, Vec::new()))
}
