//! A watch of one object by name, of which nothing is kept: it tells that something may have changed.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use kube::Client;
use tokio::sync::Notify;

use super::watch::{Kind, Pace, Watch};
use crate::clock::Clock;
use crate::watch::Mirror;

struct Wake(Arc<Notify>);

impl Mirror<()> for Wake {
    fn apply(&self, _key: &str, (): ()) {
        self.0.notify_one();
    }

    fn delete(&self, _key: &str, _resource_version: &str) {
        self.0.notify_one();
    }

    fn listed(&self, _keys: &HashSet<String>, _resource_version: &str) {
        // An object that is not listed any more was deleted.
        self.0.notify_one();
    }

    fn heard(&self) {}
}

/// A watch of the metadata of `name` in the collection at `path`, which notifies `changed`.
pub(super) fn watch_one(
    client: Client,
    path: impl Into<Cow<'static, str>>,
    name: &str,
    changed: Arc<Notify>,
    clock: Clock,
) -> Watch<()> {
    let kind = Kind {
        path: path.into(),
        // RBAC allows a list and a watch of a resourceName only with exactly this selector.
        field_selector: Some(format!("metadata.name={name}")),
        whole: false,
        where_unknown: None,
        key: |metadata| metadata.name.as_str().into(),
        project: drop,
    };
    Watch::new(
        client,
        kind,
        Arc::new(Wake(changed)),
        clock,
        Pace::default(),
    )
}
