//! What our account did in the cluster with nodes, where the chart has installed it: nothing that it may not.

use crate::harness::install::manifest;
use crate::permissions::{granted, grants, used};

/// What the modes are granted that are on in one or another test.
const MANIFESTS: [&str; 4] = [
    "rbac.yaml",
    "certificates.yaml",
    "policies.yaml",
    "service-accounts.yaml",
];

#[test]
#[ignore = "reads the audit log that the other tests leave, so tests/cluster/run starts it after them"]
fn it_used_nothing_but_what_is_granted_and_was_forbidden_nothing_else() {
    let [used, forbidden] = used(|_| true);
    let granted = granted(&MANIFESTS.map(manifest).concat());
    assert!(used.len() > 10, "{used:?}");
    // Roles that were just installed, or taken away, are known a moment later.
    for this in used.iter().chain(&forbidden) {
        assert!(grants(&granted, this), "what grants {this:?}?");
    }
}
