//! A whole cluster: two nodes whose kubelets pull from a real registry, with ecr-admission as its chart installs it.
//!
//! In namespaces of Linux that `tests/cluster/run` makes; `enter` says what is in them. The tests share the cluster and
//! are run one after the other, because some of them restart, or take away, what they share.

mod burst;
mod cron_job;
mod front;
mod host_network;
mod installation;
mod killed;
mod kubelet;
pub(crate) mod machine;
mod names;
mod permissions;
mod playground;
mod pods;
mod ports;
mod pulls;
pub(crate) mod registry;
mod rollout;
mod rotation;
mod scaled_to_zero;
mod short_lives;
mod sidecar;
mod stream;
mod tenants;
mod two_identities;
mod uninstalling;
mod upgrade;
mod workloads;

use std::time::Duration;

use tokio::sync::OnceCell;

use crate::harness::{RUNTIME, within};
use machine::Machine;

static SHARED: OnceCell<Machine> = OnceCell::const_new();

/// Runs a test in the one cluster.
fn in_machine(test: impl AsyncFnOnce(&Machine)) {
    RUNTIME.block_on(async {
        test(SHARED.get_or_init(Machine::start).await).await;
    });
}

/// Waits for what several containers, pulls and backoffs lie before, on a busy machine.
async fn patiently(what: &str, holds: impl AsyncFn() -> bool) {
    within(Duration::from_mins(5), what, holds).await;
}
