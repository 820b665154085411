//! One watch, and how it ends.

use futures_util::StreamExt;
use kube::api::{WatchEvent, WatchParams};
use kube::core::Request;
use tokio::time::timeout;

use super::super::wire::PartialObject;
use super::Watch;

/// What we ask the API server to end a watch after, in seconds; it holds less than five minutes in any case.
const WATCH_SECONDS: u32 = 290;

/// Why following a watch has ended.
pub(super) enum End {
    /// The server or the network closed it after it had worked.
    Closed,
    /// Our version is too old: events have been missed.
    Gone,
    /// It does not work; the cause for people.
    Failed(String),
}

impl<T: Send + 'static> Watch<T> {
    /// One watch, from `version`, which moves with each event.
    pub(super) async fn watch(&self, version: &mut String, heard: &mut bool) -> End {
        let params = WatchParams {
            field_selector: self.kind.field_selector.clone(),
            timeout: Some(WATCH_SECONDS),
            ..WatchParams::default()
        };
        let request = Request::new(&*self.kind.path);
        let request = if self.kind.whole {
            request.watch(&params, version)
        } else {
            request.watch_metadata(&params, version)
        };
        let request = match request {
            Ok(request) => request,
            Err(error) => return End::Failed(error.to_string()),
        };
        let silence = self.pace.silence;
        let opened = timeout(
            silence,
            self.client.request_events::<PartialObject>(request),
        )
        .await;
        let mut events = match opened {
            Ok(Ok(events)) => events.boxed(),
            Ok(Err(error)) => return self.ended(&error),
            Err(_) => return End::Failed(format!("no answer to a watch within {silence:?}")),
        };
        self.works();
        loop {
            match timeout(silence, events.next()).await {
                Err(_) => return End::Failed(format!("the watch was silent for {silence:?}")),
                Ok(None) => return End::Closed,
                Ok(Some(Err(error))) => return self.ended(&error),
                Ok(Some(Ok(WatchEvent::Error(status)))) => {
                    return self.ended(&kube::Error::Api(status));
                }
                Ok(Some(Ok(event))) => {
                    *version = self.deliver(event, std::mem::take(version));
                    *heard = true;
                    self.heard();
                }
            }
        }
    }

    /// Gives an event to the mirror; returns the version that a next watch can start from.
    fn deliver(&self, event: WatchEvent<PartialObject>, before: String) -> String {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let key = (self.kind.key)(&object.metadata).into_owned();
                let version = object.metadata.resource_version.clone();
                self.mirror.apply(&key, (self.kind.project)(object));
                version
            }
            WatchEvent::Deleted(object) => {
                let version = object.metadata.resource_version.clone();
                self.mirror
                    .delete(&(self.kind.key)(&object.metadata), &version);
                version
            }
            WatchEvent::Bookmark(bookmark) => bookmark.metadata.resource_version,
            WatchEvent::Error(_) => before,
        }
    }

    fn ended(&self, error: &kube::Error) -> End {
        if is_gone(error) {
            End::Gone
        } else {
            End::Failed(self.explain(error))
        }
    }
}

fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 410)
}
