//! Rotation under load, and a replica that cannot take part in it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::sleep;

use super::{asked, expiry, pods, register, self_managed, trusted_leaf};
use crate::ecr::EcrDouble;
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::install_permissions;
use crate::harness::namespace::Namespace;
use crate::harness::webhook::Webhook;
use crate::harness::wire::Wire;
use crate::harness::{eventually, run};

/// Lives so short that a leaf follows a leaf within a second or so, and an authority an authority within five. What must
/// hold does so for half a minute: a busy machine may well stand still for seconds.
const HURRIED: [&str; 6] = [
    "--tls-leaf-life=30s",
    "--tls-authority-life=3m",
    "--tls-propagation=3s",
    "--tls-clock-skew=5s",
    "--tls-leaf-renewal=1s",
    "--tls-authority-renewal=4s",
];

/// How many leaves are seen to come and go: a few, or as many as `CLUSTER_ROTATIONS=200 tests/cluster/run rotation` says.
fn rotations() -> u64 {
    let asked = std::env::var("CLUSTER_ROTATIONS").ok();
    asked.map_or(20, |asked| asked.parse().unwrap())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

async fn rotated(replicas: &[Webhook; 2], part: &str) -> u64 {
    let series = format!("ecr_admission_certificate_rotations_total{{part=\"{part}\"");
    let [one, two] = replicas;
    one.counted(&series).await + two.counted(&series).await
}

/// Waits for so many rotations, however long it takes as long as they go on.
async fn rotate(replicas: &[Webhook; 2], leaves: u64) {
    let mut seen = 0;
    while seen < leaves {
        eventually("the next leaf", async || {
            rotated(replicas, "leaf").await > seen
        })
        .await;
        seen = rotated(replicas, "leaf").await;
        for replica in replicas {
            assert!(replica.is_ready().await, "{}", replica.process.log());
        }
    }
}

/// Cuts a replica off for longer than its leaf lives. Others go on rotating, and what it serves stays trusted to the end.
async fn cut_off(plane: &ControlPlane, replica: &Webhook, wire: &Wire) {
    wire.cut();
    eventually("it notices", async || {
        replica.is_degraded("certificate-secret").await
    })
    .await;
    let end = expiry(replica).await;
    while now() <= end {
        let leaf = trusted_leaf(plane, replica).await;
        assert!(leaf.is_ok() || now() >= end, "{leaf:?}");
        sleep(Duration::from_millis(500)).await;
    }
    eventually("it is unready", async || !replica.is_ready().await).await;
    let (_, page) = replica.admin("/readyz").await;
    assert!(page.contains("the served certificate expires at"), "{page}");
    assert_eq!(expiry(replica).await, end, "nothing has come through");
    wire.mend();
    eventually("it is ready again", async || replica.is_ready().await).await;
    eventually("it has a new leaf", async || expiry(replica).await > end).await;
    trusted_leaf(plane, replica).await.unwrap();
}

#[test]
fn leaf_and_authority_rotate_and_a_replica_is_cut_off_while_pods_are_created_and_no_call_fails() {
    run(async {
        let plane = ControlPlane::start("rotation").await;
        install_permissions(&plane).await;
        let ecr = EcrDouble::start().await;
        let start =
            async |name| Webhook::start_with(&plane, &ecr, name, self_managed(&HURRIED)).await;
        let (one, two) = tokio::join!(start("replica-a"), start("replica-b"));
        let replicas = [one, two];
        let wire = Wire::to([replicas[0].address, replicas[1].address]).await;
        register(&plane, &wire).await;
        let namespaces = [
            Namespace::create(&plane, "one").await,
            Namespace::create(&plane, "two").await,
        ];
        asked(&namespaces[0]).await;

        // No part of the Service: while it is cut off and ready, nobody would tell apart whose call it was that failed.
        let cable = Wire::to([plane.address()]).await;
        let kubeconfig = plane.kubeconfig_by(cable.port, "replica-c", &plane.token().await);
        let third = self_managed(&HURRIED).connecting_by(kubeconfig);
        let third = Webhook::start_with(&plane, &ecr, "replica-c", third).await;

        let (done, made) = (AtomicBool::new(false), AtomicUsize::new(0));
        let both = async |series: &str| {
            replicas[0].counted(series).await + replicas[1].counted(series).await
        };
        let refused = async || both("ecr_admission_tls_handshake_errors_total").await;
        let repaired =
            async || both("ecr_admission_certificate_bundle_writes_total{reason=\"repair\"").await;
        let before = (refused().await, repaired().await);
        let authorities = rotated(&replicas, "authority").await;
        let started = std::time::Instant::now();
        let rotating = async {
            let all = rotated(&replicas, "leaf").await + rotations();
            tokio::join!(rotate(&replicas, all), cut_off(&plane, &third, &cable));
            done.store(true, Ordering::Relaxed);
        };
        let load = async |namespace| pods(namespace, &done, &made).await;
        tokio::join!(load(&namespaces[0]), load(&namespaces[1]), rotating);

        let authorities = rotated(&replicas, "authority").await - authorities;
        println!(
            "{} leaves, {authorities} authorities, {} Pods, {:?}",
            rotated(&replicas, "leaf").await,
            made.load(Ordering::Relaxed),
            started.elapsed()
        );
        assert!(authorities >= rotations() / 10, "{authorities} authorities");
        assert_eq!(refused().await, before.0, "handshakes were refused");
        assert_eq!(repaired().await, before.1, "nobody else wrote");
        for replica in &replicas {
            assert!(!replica.is_degraded("certificate-secret").await);
            assert!(!replica.process.log().contains("PRIVATE KEY"));
        }
    });
}
