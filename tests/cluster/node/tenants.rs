//! Two tenants in one cluster, each with an account and a role of its own: their tokens open different folders.

use serde_json::json;

use super::front::Front;
use super::machine::{Machine, TWELVE_HOURS};
use super::patiently;
use crate::ecr::Answer;
use crate::harness::namespace::Namespace;

/// As they are applied.
pub(super) const POLICIES: &str = include_str!("../fixtures/tenants.yaml");

/// The repository that a tenant's Pods pull from, with its host.
pub(super) const OF_A: &str = "111111111111.dkr.ecr.eu-west-1.amazonaws.com/team-a/app";
pub(super) const OF_B: &str = "222222222222.dkr.ecr.eu-west-1.amazonaws.com/team-b/app";

/// The password that the sessions of each tenant's role get, by their access keys, and the folder that it opens.
pub(super) const PASSWORDS: [(&str, &str); 2] = [
    ("team-a", "password-of-AKIDecr-team-a"),
    ("team-b", "password-of-AKIDecr-team-b"),
];

/// The tenants' namespaces, of their own names, and their policies; in force in every replica.
pub(super) struct Tenants {
    pub(super) front: Front,
}

impl Tenants {
    pub(super) async fn settle(machine: &Machine) -> Self {
        let plane = &machine.plane;
        let front = Front::of_folders(plane, &PASSWORDS).await;
        for ((tenant, password), image) in PASSWORDS.into_iter().zip([OF_A, OF_B]) {
            let (host, repository) = image.split_once('/').unwrap();
            let image = format!("{repository}:v1");
            machine.registry.vary("stand-in:v1", &image).await;
            for node in &machine.nodes {
                node.lead(plane, host, &front.address);
            }
            let key = format!("AKIDecr-{tenant}");
            machine
                .ecr
                .always_for(&key, Answer::Token(password.to_owned(), TWELVE_HOURS));
            let team = tenant.strip_prefix("team-").unwrap();
            Namespace::create_labelled(plane, tenant, &json!({"team": team})).await;
        }
        patiently("the policies are taken", async || {
            plane.kubectl(&["apply", "-f", "-"], POLICIES).await.ok
        })
        .await;
        for (tenant, foreign) in [("team-a", OF_B), ("team-b", OF_A)] {
            not_granted(
                &Namespace::existing(plane, tenant),
                &format!("{foreign}:v1"),
            )
            .await;
        }
        Self { front }
    }

    /// Takes their policies and namespaces away.
    pub(super) async fn leave(self, machine: &Machine) {
        let plane = &machine.plane;
        let said = plane.kubectl(&["delete", "-f", "-"], POLICIES).await;
        assert!(said.ok, "{}", said.err);
        for (tenant, _) in PASSWORDS {
            let path = format!("/api/v1/namespaces/{tenant}");
            plane.api.delete(&path).await.unwrap();
        }
    }
}

/// Waits until every replica refuses this image here because no policy grants it.
pub(super) async fn not_granted(namespace: &Namespace<'_>, image: &str) {
    patiently("the policy is in force in both replicas", async || {
        // One of them is asked, at random.
        let mut refused = true;
        for _ in 0..8 {
            let probe = ["run", "probe", "--image", image, "--dry-run=server"];
            let said = namespace.kubectl(&probe, "").await;
            refused &= said.err.contains("[granted]");
        }
        refused
    })
    .await;
}
