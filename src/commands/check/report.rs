//! What was found, before it is written in any format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::Outcome;
use crate::manifest::{Place, Slot};
use crate::policy::{Action, Rule};

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// In the order of files, and in each by place.
    pub(super) findings: Vec<Finding>,
    pub(super) files: usize,
    /// Documents that are not empty.
    pub(super) documents: usize,
    /// Pods, and objects that make Pods.
    pub(super) pods: usize,
    pub(super) images: usize,
    /// Objects of other kinds, by `Kind` or `Kind.group`.
    pub(super) unknown_kinds: BTreeMap<String, usize>,
    /// Documents without a kind.
    pub(super) not_objects: usize,
    /// Directories named by the user in which there is no manifest.
    pub(super) empty_directories: Vec<PathBuf>,
}

impl Report {
    pub(super) fn count(&self, level: Level) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.level() == level)
            .count()
    }

    pub(super) fn unreadable(&self) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.check.is_unreadable())
            .count()
    }

    pub(super) fn violations(&self) -> usize {
        self.count(Level::Error) - self.unreadable()
    }

    pub(super) fn outcome(&self) -> Outcome {
        if self.unreadable() > 0 {
            Outcome::Unreadable
        } else if self.violations() > 0 {
            Outcome::Violations
        } else {
            Outcome::Clean
        }
    }
}

/// Where a manifest came from.
#[derive(Debug)]
pub(super) enum File {
    Stdin,
    Path(PathBuf),
}

impl File {
    /// For people.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Stdin => "<stdin>".to_owned(),
            Self::Path(path) => path.display().to_string(),
        }
    }

    /// As a tool wants it: without a leading `./`, with forward slashes.
    pub(super) fn portable(&self) -> String {
        match self {
            Self::Stdin => self.name(),
            Self::Path(path) => {
                let path: &Path = path.strip_prefix(".").unwrap_or(path);
                path.to_string_lossy()
                    .replace(std::path::MAIN_SEPARATOR, "/")
            }
        }
    }
}

/// One thing to say.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) file: Rc<File>,
    /// `None` for a file of which nothing could be read.
    pub(super) place: Option<Place>,
    pub(super) check: Check,
    /// A sentence about the image or the document.
    pub(super) message: String,
    /// The object that it is about.
    pub(super) subject: Option<Rc<Subject>>,
    /// Whose image.
    pub(super) slot: Option<Slot>,
    /// The image, if it is about one.
    pub(super) image: Option<String>,
    /// What Helm says the document was made from.
    pub(super) source: Option<Rc<str>>,
}

/// An object's names.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) api_version: Option<String>,
    pub(super) kind: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
}

/// What was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// An image, by a rule of the policy.
    Rule(Rule, Action),
    /// Whether it can be read.
    Readable,
    /// Whether templates are rendered.
    Rendered,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Error,
    Warning,
    Note,
}

impl Check {
    /// The ids that are no policy rule's, with their help.
    pub(super) const OWN: [Self; 2] = [Self::Readable, Self::Rendered];

    /// The stable id of the rule that is broken.
    pub(super) fn id(self) -> &'static str {
        match self {
            Self::Rule(rule, _) => rule.id(),
            Self::Readable => "unreadable",
            Self::Rendered => "unrendered-template",
        }
    }

    pub(super) fn help(self) -> &'static str {
        match self {
            Self::Rule(rule, _) => rule.help(),
            Self::Readable => {
                "What cannot be read cannot be checked: a manifest must be valid YAML or JSON."
            }
            Self::Rendered => "A template cannot be checked before its values are filled in.",
        }
    }

    fn is_unreadable(self) -> bool {
        matches!(self, Self::Readable | Self::Rendered)
    }
}

impl Finding {
    pub(super) fn level(&self) -> Level {
        match self.check {
            Check::Rule(_, Action::Warn) => Level::Warning,
            Check::Rule(_, Action::Audit) => Level::Note,
            Check::Rule(_, Action::Enforce) | Check::Readable | Check::Rendered => Level::Error,
        }
    }

    /// The whole sentence, on one line and safe to show: whose image, what is wrong, where the document came from.
    pub(super) fn sentence(&self) -> String {
        let whose = match (&self.subject, &self.slot) {
            (Some(subject), Some(slot)) => format!("{subject}, {slot}: "),
            (Some(subject), None) => format!("{subject}: "),
            (None, _) => String::new(),
        };
        let from = match &self.source {
            Some(source) => format!(" (from {source})"),
            None => String::new(),
        };
        printable(&format!("{whose}{}{from}", self.message))
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(self.name.as_deref().unwrap_or("(no name)"))
    }
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Text of others with its control characters escaped: it must neither move a terminal's cursor nor start a line.
pub(super) fn printable(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => safe.push(character),
            other => safe.extend(other.escape_debug()),
        }
    }
    safe
}
