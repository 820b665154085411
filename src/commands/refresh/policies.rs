//! The policies that a refresh goes by.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;

use super::CALL_TIMEOUT;
use crate::files::read_policies;
use crate::kubernetes::{Cluster, KubeLive, list_policies};
use crate::policy::{Policy, PolicySet};
use crate::rulebook::Rulebook;

/// Where EcrPolicies come from.
#[derive(Args, Clone, Debug)]
pub(super) struct PolicySourceArgs {
    /// EcrPolicies to go by, as files or directories (comma-separated, or given more than once) [default: none, the
    /// settings alone].
    #[arg(
        long = "policy",
        value_name = "FILE|DIR",
        value_delimiter = ',',
        help_heading = "Policy"
    )]
    policies: Vec<PathBuf>,

    /// Go by the EcrPolicies of the cluster.
    #[arg(long, conflicts_with = "policies", help_heading = "Policy")]
    ecr_policies: bool,
}

impl PolicySourceArgs {
    /// Reads the policies that stand on `base`.
    ///
    /// # Errors
    /// When they cannot be read: by half of them, a Secret could get what another half withholds.
    pub(super) async fn read(&self, base: Policy, cluster: &Cluster) -> anyhow::Result<Rulebook> {
        let (policies, unreadable) = if self.ecr_policies {
            let listed = list_policies(&cluster.requests).await?;
            for fault in &listed.faults {
                tracing::warn!("{fault}");
            }
            if listed.policies.is_empty() && listed.unreadable.is_empty() {
                bail!(
                    "there is no EcrPolicy in the cluster: leave --ecr-policies out to go by the settings alone"
                );
            }
            (listed.policies, listed.unreadable)
        } else if self.policies.is_empty() {
            (Vec::new(), Vec::new())
        } else {
            (read_policies(&self.policies)?, Vec::new())
        };
        let set = PolicySet::new(base, policies, unreadable);
        let live = KubeLive::new(cluster.requests.clone()).with_timeout(CALL_TIMEOUT);
        Ok(Rulebook::new(set, Arc::default(), Arc::new(live)))
    }
}
