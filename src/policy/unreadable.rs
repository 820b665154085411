//! A policy that cannot be read, and whom it was about.

use super::compile::{Compiled, Labels, PolicyVersion, Selector};
use super::spec::NamespaceSelector;

/// A policy that cannot be read: what it said is lost, so the namespaces that it selected are granted nothing.
#[derive(Clone, Debug)]
pub struct Unreadable {
    name: String,
    selector: Option<Selector>,
    version: Option<PolicyVersion>,
}

impl Unreadable {
    /// A policy that cannot be read. `namespaces` is its selector where that alone can be read; where it cannot, `last` is
    /// what it was when it could.
    pub fn new(
        name: &str,
        namespaces: Option<&NamespaceSelector>,
        last: Option<&Compiled>,
    ) -> Self {
        let readable = namespaces.and_then(Selector::readable);
        Self {
            name: name.to_owned(),
            selector: readable.or_else(|| last.map(|last| last.selector.clone())),
            version: None,
        }
    }

    /// The same, as that version of an object in the cluster is.
    #[must_use]
    pub fn of_version(self, version: PolicyVersion) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }

    /// The policy's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which version of an object in the cluster it is; none when it came from a file.
    pub(super) fn version(&self) -> Option<&PolicyVersion> {
        self.version.as_ref()
    }

    /// The same; where nothing tells whom it is about, what was known of it `before` still does.
    #[must_use]
    pub fn or(self, before: &Self) -> Self {
        Self {
            selector: self.selector.or_else(|| before.selector.clone()),
            ..self
        }
    }

    /// Whether it is known to select a namespace. Without a selector, nobody knows whom it was about: no namespace in
    /// particular, but as long as it is there no namespace is granted anything by default.
    pub fn selects(&self, namespace: &str, labels: &Labels) -> bool {
        let selector = self.selector.as_ref();
        selector.is_some_and(|selector| selector.matches(namespace, labels))
    }
}
