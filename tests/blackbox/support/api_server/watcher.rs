//! Watches: changes as a stream of lines, with bookmarks.

use std::sync::Arc;

use axum::body::Body;
use futures_util::stream;
use hyper::Response;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};

use super::serve::Call;
use super::status::Status;
use super::{GoneAs, Shared};

pub(super) fn watch(shared: &Arc<Shared>, call: Call) -> Result<Response<Body>, Status> {
    let from: u64 = call.query("resourceVersion").parse().unwrap_or_default();
    let (compacted, gone_as) = (shared.objects().compacted, shared.gone_as());
    if from < compacted {
        let status = Status::expired(from, compacted);
        return match gone_as {
            GoneAs::Status => Err(status),
            GoneAs::Event => Ok(Response::new(Body::from(line("ERROR", &status.body)))),
        };
    }
    let seconds = call.query("timeoutSeconds").parse().unwrap_or(1800);
    let watcher = Watcher {
        changes: shared.changes(),
        shared: Arc::clone(shared),
        call,
        position: from,
        deadline: Instant::now() + Duration::from_secs(seconds),
    };
    let lines = stream::unfold(watcher, |mut watcher| async {
        let line = watcher.next().await?;
        Some((Ok::<_, std::io::Error>(line), watcher))
    });
    Ok(Response::new(Body::from_stream(lines)))
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

struct Watcher {
    shared: Arc<Shared>,
    changes: tokio::sync::watch::Receiver<u64>,
    call: Call,
    position: u64,
    deadline: Instant,
}

impl Watcher {
    /// The next line of the stream; `None` ends it.
    async fn next(&mut self) -> Option<String> {
        loop {
            self.changes.borrow_and_update();
            if self.shared.is_frozen() {
                self.changes.changed().await.ok()?;
                continue;
            }
            if let Some(line) = self.event() {
                return Some(line);
            }
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                () = tokio::time::sleep(self.shared.bookmark_pause()) => return Some(self.bookmark()),
                () = tokio::time::sleep_until(self.deadline) => return None,
            }
        }
    }

    fn event(&mut self) -> Option<String> {
        let objects = self.shared.objects();
        let event = objects.history.iter().find(|event| {
            event.version > self.position && self.call.selects(&event.key, &event.object)
        })?;
        self.position = event.version;
        Some(line(event.kind, &self.call.view(&event.object)))
    }

    fn bookmark(&mut self) -> String {
        self.position = self.shared.objects().version;
        let metadata =
            json!({"resourceVersion": self.position.to_string(), "creationTimestamp": null});
        let object = json!({"metadata": metadata});
        let mut object = self.call.view(&object);
        if !self.call.metadata_only {
            object["kind"] = json!(self.call.resource.kind());
            object["apiVersion"] = json!(self.call.resource.api_version());
        }
        line("BOOKMARK", &object)
    }
}
