//! Replicas whose clocks are wrong.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use jiff::Timestamp;
use serde_json::Value;

use super::{asked, pods, register, self_managed, trusted_leaf};
use crate::ecr::EcrDouble;
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::install_permissions;
use crate::harness::namespace::Namespace;
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::wire::Wire;
use crate::harness::{eventually, run};

const TEN_MINUTES: i64 = 600;

/// Leaves and authorities live for hours, as they must where clocks are ten minutes off, and are renewed early.
const RENEWED_EARLY: [&str; 5] = [
    "--tls-leaf-life=2h",
    "--tls-authority-life=8h",
    "--tls-propagation=3s",
    "--tls-leaf-renewal=2s",
    "--tls-authority-renewal=4s",
];

/// What makes a process take another time for the right one.
pub(crate) fn wrong_clock(folder: &Path) -> PathBuf {
    let source = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/cluster/fixtures/clock.c"
    );
    let made = folder.join("clock.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", source, "-o"]);
    assert!(compiler.arg(&made).status().unwrap().success());
    made
}

/// By how many seconds the clock of a replica is off, by its last words.
fn seconds_off(replica: &Webhook) -> i64 {
    let log = replica.process.log();
    let said = log.lines().rev().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["timestamp"].as_str()?.parse::<Timestamp>().ok()
    });
    said.unwrap().as_second() - Timestamp::now().as_second()
}

/// Two authorities come and go while Pods are created, and each replica serves what is trusted.
async fn rotate(
    plane: &ControlPlane,
    replicas: [&Webhook; 2],
    namespace: &Namespace<'_>,
    made: &AtomicUsize,
) {
    let done = AtomicBool::new(false);
    let series = "ecr_admission_certificate_rotations_total{part=\"authority\"";
    let authorities =
        async || replicas[0].counted(series).await + replicas[1].counted(series).await;
    let before = authorities().await;
    let rotating = async {
        for next in before..before + 2 {
            eventually("the next authority", async || authorities().await > next).await;
            for replica in replicas {
                assert!(replica.is_ready().await, "{}", replica.process.log());
                trusted_leaf(plane, replica).await.unwrap();
            }
        }
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(pods(namespace, &done, made), rotating);
}

#[test]
fn replicas_whose_clocks_are_ten_minutes_behind_and_ahead_rotate_and_no_call_fails() {
    run(async {
        let plane = ControlPlane::start("clocks").await;
        install_permissions(&plane).await;
        let ecr = EcrDouble::start().await;
        let clock = wrong_clock(&plane.folder);
        let off = |seconds| self_managed(&RENEWED_EARLY).with_clock_off(&clock, seconds);
        let start = async |name, settings: Settings| {
            Webhook::start_with(&plane, &ecr, name, settings).await
        };
        let (right, behind) = tokio::join!(
            start("right", self_managed(&RENEWED_EARLY)),
            start("behind", off(-TEN_MINUTES))
        );
        let wire = Wire::to([right.address, behind.address]).await;
        register(&plane, &wire).await;
        let (namespace, made) = (
            Namespace::create(&plane, "clocks").await,
            AtomicUsize::new(0),
        );
        asked(&namespace).await;
        assert!((seconds_off(&behind) + TEN_MINUTES).abs() < 120);
        rotate(&plane, [&right, &behind], &namespace, &made).await;
        drop(behind);

        let ahead = start("ahead", off(TEN_MINUTES)).await;
        let wire = Wire::to([right.address, ahead.address]).await;
        register(&plane, &wire).await;
        asked(&namespace).await;
        assert!((seconds_off(&ahead) - TEN_MINUTES).abs() < 120);
        rotate(&plane, [&right, &ahead], &namespace, &made).await;
    });
}
