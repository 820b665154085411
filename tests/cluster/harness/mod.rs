//! Starts what the tests need, and stops it.

pub(crate) mod api;
pub(crate) mod component;
pub(crate) mod control_plane;
pub(crate) mod helm;
pub(crate) mod install;
pub(crate) mod moto;
pub(crate) mod namespace;
pub(crate) mod webhook;
pub(crate) mod wire;
pub(crate) mod workloads;

use std::sync::LazyLock;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use tokio::time::{sleep, timeout};

pub(crate) use install::Cluster;

/// Longer than anything that is expected to happen takes, on a busy machine.
const LONG: Duration = Duration::from_mins(6);

/// One for all tests: what the shared cluster runs in this process must outlive the test that happened to be first.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static SHARED: OnceCell<Cluster> = OnceCell::const_new();

/// Runs a test in the cluster that most tests share, each in namespaces of its own.
pub(crate) fn in_shared_cluster(test: impl AsyncFnOnce(&Cluster)) {
    RUNTIME.block_on(async {
        test(SHARED.get_or_init(|| Cluster::start("shared")).await).await;
    });
}

/// Runs a test that starts what it needs, because it breaks it.
pub(crate) fn run(test: impl Future<Output = ()>) {
    RUNTIME.block_on(test);
}

/// Waits until `holds` does.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    within(LONG, what, holds).await;
}

/// Waits until `holds` does, for no longer than `limit`.
pub(crate) async fn within(limit: Duration, what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = timeout(limit, waiting).await;
    assert!(in_time.is_ok(), "never happened in {limit:?}: {what}");
}
