//! ecr-admission in a real control plane: etcd, kube-apiserver and kube-controller-manager, without a node. Started by
//! `tests/cluster/run`, which builds them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what a test sets up must work, and clippy's exemption for tests leaves their helpers out"
)]

mod admission;
mod all_pods;
mod certificates;
mod chart;
#[path = "../blackbox/secret_store/contract.rs"]
mod contract;
#[path = "../blackbox/support/ecr.rs"]
#[expect(dead_code, reason = "shared with tests/blackbox, which uses the rest")]
mod ecr;
mod full;
mod harness;
#[path = "../blackbox/support/https.rs"]
#[expect(dead_code, reason = "shared with tests/blackbox, which uses the rest")]
mod https;
mod inject_policy;
mod measured;
mod node;
mod one_shot;
mod outages;
mod permissions;
mod pins;
#[path = "../blackbox/support/pki.rs"]
#[expect(dead_code, reason = "shared with tests/blackbox, which uses the rest")]
mod pki;
mod policies;
mod policies_in_force;
mod policies_removed;
#[path = "../blackbox/support/proxy.rs"]
mod proxy;
mod reconciliation;
mod registration;
mod replicas;
mod report;
mod repositories;
mod rewriters;
mod secret;
mod service_accounts;
mod store;
#[path = "../blackbox/support/sts.rs"]
#[expect(dead_code, reason = "shared with tests/blackbox, which uses the rest")]
mod sts;
mod tenants;
mod verdicts;
#[path = "../blackbox/support/volume.rs"]
mod volume;
