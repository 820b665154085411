//! Who is asked about the Pods whose creation is measured, and what they are called.

use std::fmt;

/// What happens to the Pods of one namespace.
pub(super) struct Variant {
    pub(super) asked: Asked,
    /// The validating webhook is asked besides the mutating one.
    pub(super) validating: bool,
    /// The API server injects by its own policy, as the chart has it where it can: then nobody has anything to patch.
    pub(super) injected: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Asked {
    Nobody,
    Noop,
    /// A no-op that answers a patch.
    Patching,
    Ours,
}

pub(super) const VARIANTS: [Variant; 11] = [
    variant(Asked::Nobody, false, false),
    variant(Asked::Noop, false, false),
    variant(Asked::Patching, false, false),
    variant(Asked::Ours, false, false),
    variant(Asked::Noop, true, false),
    variant(Asked::Patching, true, false),
    variant(Asked::Ours, true, false),
    variant(Asked::Noop, false, true),
    variant(Asked::Ours, false, true),
    variant(Asked::Noop, true, true),
    variant(Asked::Ours, true, true),
];

const fn variant(asked: Asked, validating: bool, injected: bool) -> Variant {
    Variant {
        asked,
        validating,
        injected,
    }
}

impl Variant {
    pub(super) fn namespace(&self) -> String {
        let both = if self.validating { "-both" } else { "" };
        let injected = if self.injected { "-injected" } else { "" };
        format!("{}{both}{injected}", self.asked)
    }

    /// Whether its Pods end with the Secret.
    pub(super) fn is_served(&self) -> bool {
        self.injected || matches!(self.asked, Asked::Patching | Asked::Ours)
    }

    /// The same with another one asked.
    pub(super) fn with(&self, asked: Asked) -> Option<usize> {
        VARIANTS.iter().position(|one| {
            one.asked == asked && one.validating == self.validating && one.injected == self.injected
        })
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Nobody => "nobody",
            Self::Noop => "no-op",
            Self::Patching => "no-op-patching",
            Self::Ours => "ours",
        })
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.asked {
            Asked::Nobody => return formatter.write_str("no webhook"),
            Asked::Noop => "no-op",
            Asked::Patching => "no-op that patches",
            Asked::Ours => "ours",
        })?;
        formatter.write_str(if self.validating {
            ", mutating and validating"
        } else {
            ", mutating"
        })?;
        formatter.write_str(if self.injected { ", injected" } else { "" })
    }
}
