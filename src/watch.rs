//! What a watch feeds: local mirrors of the cluster's objects, projected to the few fields that are used.

use std::collections::HashSet;

/// A local mirror of one kind of object. The adapter that lists and watches calls it in order; each call is cheap and
/// never waits. `resource_version` is the API server's; an older event never undoes a newer write of our own.
pub trait Mirror<T>: Send + Sync + 'static {
    /// An object was listed, added or modified. `key` is the namespace of a namespaced object (there is one object of
    /// interest a namespace), or the name of a cluster-scoped one.
    fn apply(&self, key: &str, object: T);

    /// An object was deleted.
    fn delete(&self, key: &str, resource_version: &str);

    /// A complete list was delivered through [`Mirror::apply`]: whatever is older than it and not in `keys` is gone.
    fn listed(&self, keys: &HashSet<String>, resource_version: &str);

    /// The watch is alive: an event or a bookmark has arrived.
    fn heard(&self);
}
