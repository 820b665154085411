//! A document's tree → the objects in it, and the images of their Pods.

use super::kind::{group, pod_spec_pointer, pod_spec_pointer_of_any_group};
use super::node::{Node, Value};
use super::{Body, Image, Object, Place, Problem, Slot, TEMPLATE_HINT, is_template};

type MakeSlot = fn(String) -> Slot;

/// Lists that hold a Pod's containers.
const CONTAINERS: [(&str, MakeSlot); 3] = [
    ("initContainers", Slot::InitContainer),
    ("containers", Slot::Container),
    ("ephemeralContainers", Slot::EphemeralContainer),
];

/// The document that a tree comes from.
pub(super) struct Origin<'a> {
    /// Its text, to quote from.
    pub(super) text: &'a str,
    /// Line and column in the file of the document's first character, from 1 and from 0.
    pub(super) line: u32,
    pub(super) indent: u32,
}

impl Origin<'_> {
    /// A place in the document as a place in the file.
    pub(super) fn place(&self, line: u32, column: u32) -> Place {
        Place {
            line: self.line.saturating_add(line).saturating_sub(1),
            column: if line == 1 {
                column.saturating_add(self.indent)
            } else {
                column
            },
        }
    }

    fn place_of(&self, node: &Node<'_>) -> Place {
        self.place(node.line, node.column)
    }

    fn source_of(&self, node: &Node<'_>) -> &str {
        self.text
            .get(node.source.start as usize..node.source.end as usize)
            .unwrap_or_default()
    }
}

/// What is no Kubernetes object.
const ANONYMOUS: Object = Object {
    api_version: None,
    kind: None,
    namespace: None,
    name: None,
    body: Body::Unknown,
};

/// All objects of a document, those in Lists (and Lists in Lists) one by one.
pub(super) fn objects(root: &Node<'_>, origin: &Origin<'_>) -> Vec<Object> {
    let mut objects = Vec::new();
    collect(root, None, origin, &mut objects);
    objects
}

/// `inherited` is the (apiVersion, kind) that a typed list such as a `PodList` gives to items that do not say theirs.
fn collect(
    node: &Node<'_>,
    inherited: Option<(&str, &str)>,
    origin: &Origin<'_>,
    objects: &mut Vec<Object>,
) {
    let kind = node.text("kind").or(inherited.map(|(_, kind)| kind));
    let Some(kind) = kind else {
        objects.push(ANONYMOUS);
        return;
    };
    let api_version = node
        .text("apiVersion")
        .or(inherited.map(|(version, _)| version));
    if let Some((item_kind, items)) = list_items(node, kind) {
        let inherited =
            (!item_kind.is_empty()).then_some((api_version.unwrap_or_default(), item_kind));
        for item in items {
            collect(item, inherited, origin, objects);
        }
        return;
    }
    let pointer = match api_version {
        Some(version) => pod_spec_pointer(group(version), kind),
        None => pod_spec_pointer_of_any_group(kind),
    };
    let metadata = node.get("metadata");
    objects.push(Object {
        api_version: api_version.map(str::to_owned),
        kind: Some(kind.to_owned()),
        namespace: metadata
            .and_then(|metadata| metadata.text("namespace"))
            .map(str::to_owned),
        name: metadata.and_then(name_of),
        body: pointer.map_or(Body::Unknown, |pointer| pod(node, pointer, origin)),
    });
}

/// The kind of the items (empty for `List`, whose items say theirs) and the items, when this is a list.
fn list_items<'n, 'a, 'k>(node: &'n Node<'a>, kind: &'k str) -> Option<(&'k str, &'n [Node<'a>])> {
    let item_kind = kind.strip_suffix("List")?;
    match &node.get("items")?.value {
        Value::List(items) => Some((item_kind, items)),
        _ => None,
    }
}

fn name_of(metadata: &Node<'_>) -> Option<String> {
    let generated = || {
        metadata
            .text("generateName")
            .map(|prefix| format!("{prefix}*"))
    };
    metadata.text("name").map(str::to_owned).or_else(generated)
}

fn pod(root: &Node<'_>, pointer: &[&str], origin: &Origin<'_>) -> Body {
    let mut found = Found {
        origin,
        images: Vec::new(),
        problems: Vec::new(),
        service_account: None,
    };
    let mut spec = root;
    for key in pointer {
        match spec.get(key) {
            Some(
                next @ Node {
                    value: Value::Map(_),
                    ..
                },
            ) => spec = next,
            Some(other) => {
                found.wrong_shape(other, &format!("`{key}`"), "a mapping");
                return found.into();
            }
            // A patch for Kustomize may well have none.
            None => return found.into(),
        }
    }
    // The second is the old name of the first.
    let account = spec
        .text("serviceAccountName")
        .or(spec.text("serviceAccount"));
    found.service_account = account.map(str::to_owned);
    for (key, slot) in CONTAINERS {
        for container in found.list(spec, key) {
            found.image(
                container,
                "image",
                slot(container.text("name").unwrap_or("?").to_owned()),
            );
        }
    }
    for volume in found.list(spec, "volumes") {
        if let Some(source) = volume.get("image") {
            let name = volume.text("name").unwrap_or("?").to_owned();
            found.image(source, "reference", Slot::Volume(name));
        }
    }
    found.into()
}

/// What a Pod spec gave so far.
struct Found<'o> {
    origin: &'o Origin<'o>,
    images: Vec<Image>,
    problems: Vec<Problem>,
    service_account: Option<String>,
}

impl Found<'_> {
    /// The mappings in the list `key`; anything else in it is a problem.
    fn list<'n, 'a>(&mut self, spec: &'n Node<'a>, key: &str) -> Vec<&'n Node<'a>> {
        let items = match spec.get(key) {
            None => return Vec::new(),
            Some(Node {
                value: Value::List(items),
                ..
            }) => items,
            Some(other) => {
                self.wrong_shape(other, &format!("`{key}`"), "a list");
                return Vec::new();
            }
        };
        let (good, bad): (Vec<_>, Vec<_>) = items
            .iter()
            .partition(|item| matches!(item.value, Value::Map(_)));
        for item in bad {
            self.wrong_shape(item, &format!("an item of `{key}`"), "a mapping");
        }
        good
    }

    fn image(&mut self, holder: &Node<'_>, key: &str, slot: Slot) {
        let Some(node) = holder.get(key) else {
            return match holder.value {
                Value::Map(_) => (),
                _ => self.wrong_shape(holder, "`image`", "a mapping"),
            };
        };
        let place = self.origin.place_of(node);
        match &node.value {
            // Kubernetes lets templates leave the image out, for something else to fill in.
            Value::Text(text) if text.is_empty() => (),
            Value::Text(text) if is_template(text) => self.problems.push(Problem {
                place,
                slot: Some(slot),
                is_template: true,
                message: format!("cannot judge the image `{text}`: {TEMPLATE_HINT}"),
            }),
            Value::Text(text) => self.images.push(Image {
                place,
                slot,
                reference: text.clone().into_owned(),
            }),
            Value::Number | Value::Bool => {
                let source = self.origin.source_of(node);
                let message = format!(
                    "the image {source} is {}, not a string: write \"{source}\"",
                    node.what()
                );
                self.problem(node, Some(slot), message);
            }
            Value::Null | Value::List(_) | Value::Map(_) => {
                self.wrong_shape(node, &format!("`{key}`"), "a string");
            }
        }
    }

    fn wrong_shape(&mut self, node: &Node<'_>, what: &str, wanted: &str) {
        self.problem(
            node,
            None,
            format!("{what} is {}, where Kubernetes wants {wanted}", node.what()),
        );
    }

    fn problem(&mut self, node: &Node<'_>, slot: Option<Slot>, message: String) {
        self.problems.push(Problem {
            place: self.origin.place_of(node),
            slot,
            is_template: false,
            message,
        });
    }
}

impl From<Found<'_>> for Body {
    fn from(found: Found<'_>) -> Self {
        Self::Pod {
            images: found.images,
            problems: found.problems,
            service_account: found.service_account,
        }
    }
}
