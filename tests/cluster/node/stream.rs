//! Pods that are created all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::pods::unscheduled;
use crate::harness::api::{Api, Refusal};
use crate::harness::control_plane::ControlPlane;
use crate::harness::namespace::{IMAGE, Namespace, SECRET, pull_secrets};

/// A Pod that was not asked about is neither hidden by the API server's own injection, nor admitted.
pub(super) const NOTHING_HIDDEN: [&str; 2] = [
    "injectPolicy.mode=Never",
    "webhooks.mutating.failurePolicy=Fail",
];

/// Load is no subject here.
const USUAL: Pace = Pace {
    at_once: 3,
    pause: Duration::from_millis(50),
};
/// For who does something with each Pod.
const SLOW: Pace = Pace {
    at_once: 1,
    pause: Duration::from_millis(500),
};
/// No stream is longer.
const MOST: usize = 20_000;

#[derive(Clone, Copy)]
struct Pace {
    /// How many Pods are being created at any time.
    at_once: usize,
    /// How long whoever has created one waits before the next.
    pause: Duration,
}

/// A Pod that does not name the Secret.
#[derive(Debug)]
pub(super) struct Uninjected {
    pub(super) name: String,
    /// In whole seconds.
    pub(super) created: Timestamp,
}

impl From<&Value> for Uninjected {
    fn from(pod: &Value) -> Self {
        let text = |field: &str| pod["metadata"][field].as_str().unwrap();
        Self {
            name: text("name").to_owned(),
            created: text("creationTimestamp").parse().unwrap(),
        }
    }
}

/// What became of the Pods of a stream.
#[derive(Debug, Default)]
pub(super) struct Fates {
    pub(super) served: usize,
    pub(super) uninjected: Vec<Uninjected>,
    pub(super) refused: Vec<String>,
}

impl Fates {
    /// None was refused, and none is without the Secret; and there were some.
    pub(super) fn assert_all_served(&self) {
        println!("{self:?}");
        assert!(self.served > 10, "{self:?}");
        assert!(
            self.uninjected.is_empty() && self.refused.is_empty(),
            "{self:?}"
        );
    }
}

/// Pods that are created one after the other until told to stop. None of them is ever run.
pub(super) struct Stream {
    stop: Arc<AtomicBool>,
    creating: Vec<JoinHandle<Fates>>,
}

impl Stream {
    /// Starts to create Pods in a namespace of this name.
    pub(super) async fn start(plane: &ControlPlane, name: &str) -> Self {
        Self::start_at(USUAL, plane, name).await
    }

    /// Starts to create two Pods a second, at most.
    pub(super) async fn start_slowly(plane: &ControlPlane, name: &str) -> Self {
        Self::start_at(SLOW, plane, name).await
    }

    async fn start_at(pace: Pace, plane: &ControlPlane, name: &str) -> Self {
        let namespace = Namespace::create(plane, name).await;
        let stop = Arc::new(AtomicBool::new(false));
        let creating = (0..pace.at_once).map(|_| {
            let (api, path) = (plane.api.clone(), namespace.path("pods"));
            tokio::spawn(create(api, path, pace, Arc::clone(&stop)))
        });
        Self {
            creating: creating.collect(),
            stop,
        }
    }

    pub(super) async fn stop(self) -> Fates {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Fates::default();
        for one in self.creating {
            let fates = one.await.unwrap();
            sum.served += fates.served;
            sum.uninjected.extend(fates.uninjected);
            sum.refused.extend(fates.refused);
        }
        sum
    }
}

async fn create(api: Api, path: String, pace: Pace, stop: Arc<AtomicBool>) -> Fates {
    let pod = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "app-"},
        "spec": unscheduled(IMAGE),
    });
    let mut fates = Fates::default();
    for _ in 0..MOST / pace.at_once {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        match api.create(&path, &pod).await {
            // No answer of a busy API server: what became of the Pod is not known.
            Err(Refusal { code: 0, .. }) => {}
            Err(refusal) => fates.refused.push(refusal.message),
            Ok(pod) if pull_secrets(&pod) == [SECRET] => fates.served += 1,
            Ok(pod) => fates.uninjected.push(Uninjected::from(&pod)),
        }
        tokio::time::sleep(pace.pause).await;
    }
    fates
}
