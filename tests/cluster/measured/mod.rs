//! What is measured, and recorded in `results/`: by `tests/cluster/run --full`, one after the other, from a build that is
//! optimised. Nothing here fails for being slow. It fails for a Pod that is refused or not injected, and for a token more
//! than was promised.

mod bursts;
mod crowd;
mod many;
mod noop;
mod numbers;
mod overhead;
mod policies;
pub(crate) mod report;
mod soak;
mod stale;

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::api::{Api, Refusal};
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::Target;
use crate::harness::install::register_as;

/// Longer than the chart's five seconds: how long an admission takes is measured, and none may be cut off by that.
pub(crate) const PATIENT_SECONDS: u32 = 25;

/// Registers the webhooks with time for a busy machine; a Pod that nobody was asked about is refused.
async fn register_patiently(plane: &ControlPlane, target: Target) {
    register_as(plane, target, |webhook| {
        webhook["timeoutSeconds"] = json!(PATIENT_SECONDS);
        webhook["failurePolicy"] = json!("Fail");
    })
    .await;
}

/// The Pod, which must have been admitted.
fn admitted(answer: Result<Value, Refusal>) -> Value {
    answer.unwrap_or_else(|refusal| panic!("a Pod was refused: {refusal:?}"))
}

/// Deletes what is at `path`, however often a busy API server gives no answer.
async fn delete(api: &Api, path: &str) {
    for _ in 0..60 {
        match api.delete(path).await {
            Err(Refusal { code: 0, .. }) => sleep(Duration::from_secs(1)).await,
            Ok(_) | Err(Refusal { code: 404, .. }) => return,
            Err(refusal) => panic!("{path}: {refusal:?}"),
        }
    }
    panic!("the API server never said whether it deleted {path}");
}
