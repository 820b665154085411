//! Many Pods, so and so many at once.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde_json::Value;

use super::admitted;
use crate::harness::namespace::{IMAGE, Namespace, SECRET, one_container, pull_secrets};

/// How long each of them took from the request to the answer, and all of them together.
pub(super) struct Times {
    pub(super) each: Vec<Duration>,
    pub(super) all: Duration,
}

/// Creates one Pod of this name prefix for each namespace of the list, `at_once` of them at any time. Each must be
/// admitted, and have the Secret when somebody of ours is asked.
pub(super) async fn create<'a, 'b: 'a>(
    namespaces: impl IntoIterator<Item = &'a Namespace<'b>>,
    prefix: &str,
    at_once: usize,
    ours: bool,
) -> Times {
    let spec = one_container(IMAGE);
    let started = Instant::now();
    let creating = namespaces
        .into_iter()
        .enumerate()
        .map(|(number, namespace)| {
            let name = format!("{prefix}-{number}");
            let spec = &spec;
            async move { create_one(namespace, &name, spec, ours).await }
        });
    let each = stream::iter(creating).buffer_unordered(at_once);
    let each: Vec<Duration> = each.collect().await;
    Times {
        each,
        all: started.elapsed(),
    }
}

async fn create_one(namespace: &Namespace<'_>, name: &str, spec: &Value, ours: bool) -> Duration {
    let started = Instant::now();
    let answer = namespace.create_pod_patiently(name, spec).await;
    let took = started.elapsed();
    let pod = admitted(answer);
    let expected: &[&str] = if ours { &[SECRET] } else { &[] };
    assert_eq!(pull_secrets(&pod), expected, "{}/{name}", namespace.name);
    took
}
