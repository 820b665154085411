//! Kubernetes manifests as people write them: files of YAML or JSON documents → the images of their Pods, each with
//! its line.

mod kind;
mod node;
mod object;
mod parse;
mod split;

use std::fmt;
use std::thread;

pub use kind::{Pointer, group, pod_spec_pointer};

use object::Origin;
use parse::Failure;
use split::Chunk;

/// A place in a file: line and column from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// One document of a file.
#[derive(Debug)]
pub struct Document {
    /// What a comment `# Source: …` at its start says: Helm names the template there.
    pub source: Option<String>,
    /// The objects in it (none in a document that is `null`), or why it cannot be read.
    pub objects: Result<Vec<Object>, Problem>,
}

/// A Kubernetes object, or a mapping or list that is none: then it has no kind.
#[derive(Debug)]
pub struct Object {
    /// Its `apiVersion`.
    pub api_version: Option<String>,
    /// Its `kind`; `None` when this is no Kubernetes object.
    pub kind: Option<String>,
    /// Its namespace, where it names one.
    pub namespace: Option<String>,
    /// Its name, or its `generateName` and a `*`.
    pub name: Option<String>,
    /// What it says about Pods.
    pub body: Body,
}

/// What an object says about Pods.
#[derive(Debug)]
pub enum Body {
    /// It is a Pod, or makes Pods.
    Pod {
        /// The images of its Pod spec.
        images: Vec<Image>,
        /// What cannot be read in its Pod spec.
        problems: Vec<Problem>,
        /// The ServiceAccount that its Pods run under, where it names one.
        service_account: Option<String>,
    },
    /// It makes no Pods, or is of a kind that we do not know.
    Unknown,
}

/// An image of a Pod spec.
#[derive(Debug)]
pub struct Image {
    /// Where the value stands; for a YAML alias, the alias.
    pub place: Place,
    /// Whose image it is.
    pub slot: Slot,
    /// The value; never empty.
    pub reference: String,
}

/// Whose image it is, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// `spec.containers[]`
    Container(String),
    /// `spec.initContainers[]`
    InitContainer(String),
    /// `spec.ephemeralContainers[]`
    EphemeralContainer(String),
    /// `spec.volumes[]`, whose image is `image.reference`
    Volume(String),
}

impl Slot {
    /// What it is, for people.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Container(_) => "container",
            Self::InitContainer(_) => "init container",
            Self::EphemeralContainer(_) => "ephemeral container",
            Self::Volume(_) => "volume",
        }
    }

    /// Its name; `?` where it has none.
    pub fn name(&self) -> &str {
        match self {
            Self::Container(name)
            | Self::InitContainer(name)
            | Self::EphemeralContainer(name)
            | Self::Volume(name) => name,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.what(), self.name())
    }
}

/// Why something cannot be read.
#[derive(Debug)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// Whose image it is about, if it is about one.
    pub slot: Option<Slot>,
    /// Whether this looks like a template that nobody rendered.
    pub is_template: bool,
    /// A sentence for people.
    pub message: String,
}

/// Reads a file's documents in order, without those that are empty. One that cannot be read does not hide the next.
///
/// Time grows with the size of `file`, what its aliases expand to is bounded, and nesting is bounded too; it works on
/// a thread of its own, whose stack is large enough for that.
pub fn read(file: &[u8]) -> Vec<Document> {
    if file.starts_with(b"\xFE\xFF") || file.starts_with(b"\xFF\xFE") {
        return vec![unreadable("it is UTF-16 text: save it as UTF-8")];
    }
    let chunks = split::documents(file);
    if chunks.len() > split::DOCUMENTS_MAX {
        return vec![unreadable(&format!(
            "it holds more than {} documents: split it",
            split::DOCUMENTS_MAX
        ))];
    }
    let read_all = || chunks.iter().map(document).collect();
    thread::scope(|scope| {
        thread::Builder::new()
            .stack_size(parse::STACK_BYTES)
            .spawn_scoped(scope, read_all)
            .map_err(|error| format!("no thread to read it on: {error}"))
            .and_then(|thread| {
                thread
                    .join()
                    .map_err(|_| "the parser failed on it".to_owned())
            })
    })
    .unwrap_or_else(|message| vec![unreadable(&message)])
}

fn unreadable(message: &str) -> Document {
    Document {
        source: None,
        objects: Err(Problem {
            place: Place { line: 1, column: 1 },
            slot: None,
            is_template: false,
            message: format!("cannot read this: {message}"),
        }),
    }
}

fn document(chunk: &Chunk<'_>) -> Document {
    let mut origin = Origin {
        text: "",
        line: chunk.line,
        indent: chunk.indent,
    };
    let text = match parse::text(chunk.bytes) {
        Ok(text) => text,
        Err(failure) => {
            return Document {
                source: None,
                objects: Err(problem(&failure, &origin)),
            };
        }
    };
    origin.text = text;
    let objects = match parse::tree(text) {
        Ok(node::Node {
            value: node::Value::Null,
            ..
        }) => Ok(Vec::new()),
        Ok(root) => Ok(object::objects(&root, &origin)),
        Err(failure) => Err(problem(&failure, &origin)),
    };
    Document {
        source: source_comment(text),
        objects,
    }
}

fn problem(failure: &Failure, origin: &Origin<'_>) -> Problem {
    let is_template = is_template(origin.text);
    let hint = if is_template {
        format!("; {TEMPLATE_HINT}")
    } else {
        String::new()
    };
    let message = format!("cannot read this document: {}{hint}", failure.message);
    Problem {
        place: origin.place(failure.line, failure.column),
        slot: None,
        is_template,
        message,
    }
}

const TEMPLATE_HINT: &str =
    "it looks like a template: render it first, e.g. `helm template … | ecr-admission check -`";

/// Whether somebody meant this text to be filled in first.
fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// The comment `# Source: chart/templates/web.yaml` that `helm template` puts at the start of each document.
fn source_comment(text: &str) -> Option<String> {
    text.lines()
        .filter(|line| !line.starts_with("---"))
        .map(str::trim)
        .take_while(|line| line.is_empty() || line.starts_with('#'))
        .find_map(|line| line.strip_prefix("# Source: "))
        .map(|source| source.trim().to_owned())
}
