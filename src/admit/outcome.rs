//! What an admission came to: the answer, and the words under which it is counted and logged.

use crate::review::{Answer, Patch};

/// The kinds of outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Allowed as it is.
    Allowed,
    /// Allowed, with our Secret injected.
    Injected,
    /// Allowed, with a warning.
    Warned,
    /// Refused.
    Refused,
}

impl Verdict {
    /// The value of the `verdict` label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Injected => "injected",
            Self::Warned => "warned",
            Self::Refused => "refused",
        }
    }
}

/// An answer and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What is sent.
    pub answer: Answer,
    /// One of a fixed set of words: the value of the `reason` label in metrics.
    pub reason: &'static str,
}

impl Outcome {
    pub(super) const fn allow(reason: &'static str) -> Self {
        Self {
            answer: Answer::allow(),
            reason,
        }
    }

    pub(super) fn refuse(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            answer: Answer::refuse(message),
            reason,
        }
    }

    pub(super) fn warn(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            answer: Answer::warn(message),
            reason,
        }
    }

    /// The kind of this outcome.
    pub fn verdict(&self) -> Verdict {
        if self.answer.refusal.is_some() {
            Verdict::Refused
        } else if !self.answer.warnings.is_empty() {
            Verdict::Warned
        } else if self.answer.patch == Patch::None {
            Verdict::Allowed
        } else {
            Verdict::Injected
        }
    }
}
