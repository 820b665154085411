//! Events (`events.k8s.io/v1`) about objects of the core group, and about our policies. Only created, never changed: the name says what an Event
//! is about and why, so of several replicas the first one tells it, and it is told again when the API server has
//! forgotten it (after an hour, unless it is told otherwise).

use std::fmt::Write as _;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kube::Client;
use kube::api::PostParams;
use kube::core::Request;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::errors::{Action, safe};
use crate::clock::Clock;
use crate::event::{Event, EventSink, Kind, Subject, Written};
use crate::secret::{FIELD_MANAGER, StoreError, StoreErrorKind};

/// For one call; nobody waits for it.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Who reports, in every Event.
const CONTROLLER: &str = "ecr-admission";
/// What we were at, in every Event: the API demands a word.
const ACTION: &str = "KeepPullSecret";
/// The longest note, in bytes (pkg/apis/core/validation/events.go).
const LONGEST_NOTE: usize = 1024;
/// The longest name of the reporting instance, in bytes (the same).
const LONGEST_INSTANCE: usize = 128;
/// How much of an object's name starts that of its Event, which must not be longer than 253 bytes.
const LONGEST_PREFIX: usize = 200;

/// Writes Events. Wants `create` on events of the group events.k8s.io.
pub struct KubeEvents {
    client: Client,
    clock: Clock,
    instance: String,
}

impl KubeEvents {
    /// Reports as this instance of ours, such as the name of the Pod.
    pub fn new(client: Client, instance: &str, clock: Clock) -> Self {
        let instance = if instance.is_empty() {
            CONTROLLER
        } else {
            instance
        };
        Self {
            client,
            clock,
            instance: cut(instance, LONGEST_INSTANCE).to_owned(),
        }
    }

    fn object(&self, event: &Event) -> Value {
        let Subject {
            kind,
            namespace,
            name,
            uid,
        } = &event.subject;
        let note = safe(&event.note);
        let mut regarding =
            json!({"apiVersion": "v1", "kind": kind.name(), "name": name, "uid": uid});
        if *kind == Kind::EcrPolicy {
            regarding["apiVersion"] = json!("ecr-admission.dev/v1alpha1");
        } else {
            regarding["namespace"] = json!(namespace);
        }
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name_of(event), "namespace": namespace},
            "eventTime": format!("{:.6}", self.clock.now()),
            "reportingController": CONTROLLER,
            "reportingInstance": self.instance,
            "action": ACTION,
            "reason": event.reason,
            "type": event.severity.name(),
            "note": cut(&note, LONGEST_NOTE),
            "regarding": regarding,
        })
    }

    async fn create(&self, event: &Event) -> kube::Result<()> {
        let namespace = &event.subject.namespace;
        let request = Request::new(format!(
            "/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        ));
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let body = serde_json::to_vec(&self.object(event)).map_err(kube::Error::SerdeError)?;
        let request = request
            .create(&params, body)
            .map_err(kube::Error::BuildRequest)?;
        self.client.request_text(request).await.map(drop)
    }
}

impl EventSink for KubeEvents {
    fn write<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<Written, StoreError>> {
        Box::pin(async move {
            let action = Action {
                verb: "create",
                object: "an Event",
                namespace: &event.subject.namespace,
            };
            match action.within(CALL_TIMEOUT, self.create(event)).await {
                Ok(()) => Ok(Written::New),
                Err(error) if error.kind == StoreErrorKind::AlreadyExists => Ok(Written::Known),
                Err(error) => Err(error),
            }
        })
    }
}

/// The same name for the same object and reason, whoever tells it.
fn name_of(event: &Event) -> String {
    let Subject {
        kind,
        namespace,
        name,
        uid,
    } = &event.subject;
    let mut hash = Sha256::new();
    let uid = uid.as_deref().unwrap_or_default();
    for part in [kind.name(), namespace, name, uid, event.reason] {
        hash.update(part);
        hash.update([0]);
    }
    let prefix = cut(name, LONGEST_PREFIX).trim_end_matches(['.', '-']);
    let mut named = format!("{prefix}.");
    for byte in &hash.finalize()[..8] {
        // Writing to a String cannot fail.
        let _ = write!(named, "{byte:02x}");
    }
    named
}

/// The start of a text, of so many bytes at most.
fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Severity;

    fn event(name: &str, reason: &'static str) -> Event {
        Event {
            subject: Subject::new(Kind::Pod, "team-a", name),
            severity: Severity::Warning,
            reason,
            note: String::new(),
        }
    }

    #[test]
    fn a_name_tells_objects_and_reasons_apart_and_is_one_that_the_api_server_takes() {
        let one = name_of(&event("app", "A"));
        assert_eq!(one, name_of(&event("app", "A")));
        assert!(one.starts_with("app.") && one.len() == 4 + 16, "{one}");
        assert_ne!(one, name_of(&event("app", "B")));
        let mut other = event("app", "A");
        other.subject.uid = Some("1".to_owned());
        assert_ne!(one, name_of(&other));
        let long = format!("{}.{}", "a".repeat(199), "b".repeat(53));
        let named = name_of(&event(&long, "A"));
        assert!(named.starts_with(&format!("{}.", "a".repeat(199))) && !named.contains(".."));
        assert!(named.len() <= 253, "{named}");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("aöb", 2), "a");
        assert_eq!(cut("aöb", 3), "aö");
        assert_eq!(cut("aöb", 9), "aöb");
    }
}
