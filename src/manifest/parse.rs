//! One document's bytes → its tree, or a sentence that says why not.

use std::borrow::Cow;

use serde_saphyr::{
    Error, Localizer, Location, MessageFormatter, NonFiniteFloatPolicy, UserMessageFormatter,
};

use super::node::{Node, position};
use super::split::{newlines, saturate};

/// Levels of mappings and lists. The deepest CRD schemas in use have about 60.
const MAX_DEPTH: usize = 200;

/// Stack that [`tree`] needs for [`MAX_DEPTH`] levels: 60 KiB a level in a build without optimisation, measured, times
/// two and a half.
pub(super) const STACK_BYTES: usize = 32 << 20;

/// Values in one document. A Pod has about 300, so this is a List of some 13,000 Pods.
const MAX_NODES: usize = 4_000_000;

/// Why a document has no tree. Line and column are the document's own, from 1.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) message: String,
}

/// The document's text.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Failure> {
    let (valid, message) = match std::str::from_utf8(bytes) {
        Ok(text) => match text.find('\0') {
            None => return Ok(text),
            Some(at) => (at, "it holds a NUL byte, so it is no text"),
        },
        Err(error) => (error.valid_up_to(), "it is not UTF-8 text"),
    };
    let before = &bytes[..valid];
    Err(Failure {
        line: newlines(before).saturating_add(1),
        column: saturate(
            before
                .iter()
                .rev()
                .take_while(|byte| **byte != b'\n')
                .count(),
        )
        .saturating_add(1),
        message: message.to_owned(),
    })
}

/// The document's tree.
pub(super) fn tree(text: &str) -> Result<Node<'_>, Failure> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_events: 2 * MAX_NODES,
            // One anchor used a hundred times is a manifest, not an attack; what aliases expand to is bounded.
            enforce_alias_anchor_ratio: false,
        },
        emit_comments: false,
        with_snippet: false,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), position);
        Failure {
            line,
            column,
            message: sentence(&error),
        }
    })
}

fn sentence(error: &Error) -> String {
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{key}` stands here twice")
        }
        Error::Budget { .. } => {
            "it is nested too deeply, or too large once its aliases are expanded".to_owned()
        }
        Error::AliasError { error, .. } => sentence(error),
        other => other.render_with_formatter(&WithoutPlace),
    }
}

/// The library's wording for users, without its "at line 1, column 1": that would count from the document's start.
struct WithoutPlace;

impl MessageFormatter for WithoutPlace {
    fn localizer(&self) -> &dyn Localizer {
        self
    }

    fn format_message<'a>(&self, error: &'a Error) -> Cow<'a, str> {
        UserMessageFormatter.format_message(error)
    }
}

impl Localizer for WithoutPlace {
    fn attach_location<'a>(&self, base: Cow<'a, str>, _: Location) -> Cow<'a, str> {
        base
    }
}
