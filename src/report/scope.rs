//! Which namespaces are judged.

use std::collections::BTreeSet;

use crate::inventory::Found;
use crate::namespace::{ADMISSION_LABEL, Label, NamespaceMode};

/// Which namespaces are asked about, and which of them the webhook leaves alone.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// These; none means all that the selector selects.
    pub names: Vec<String>,
    /// A label selector.
    pub selector: Option<String>,
    /// Namespaces that `serve` leaves alone.
    pub excluded: BTreeSet<String>,
    /// How the registration of the webhooks selects namespaces.
    pub mode: NamespaceMode,
}

impl Scope {
    /// Why the webhook judges nothing in a namespace; `None` where it does.
    pub(super) fn left_out(&self, found: &Found) -> Option<&'static str> {
        let label = found.labels.get(ADMISSION_LABEL).map(String::as_str);
        match (self.mode, Label::of(label)) {
            _ if self.excluded.contains(&found.name) => Some("it is excluded"),
            _ if found.terminating => Some("it is being deleted"),
            (NamespaceMode::OptOut, Label::Disabled) => {
                Some("its label ecr-admission.dev/admission is \"disabled\"")
            }
            (NamespaceMode::OptIn, Label::Unset | Label::Disabled) => {
                Some("its label ecr-admission.dev/admission is not \"enabled\"")
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_webhook_leaves_alone_is_left_out() {
        let scope = |mode| Scope {
            excluded: ["kube-system".to_owned()].into(),
            mode,
            ..Scope::default()
        };
        let found = |name: &str, label: Option<&str>| Found {
            name: name.to_owned(),
            labels: label
                .map(|label| (ADMISSION_LABEL.to_owned(), label.to_owned()))
                .into_iter()
                .collect(),
            ..Found::default()
        };
        let (out, into) = (scope(NamespaceMode::OptOut), scope(NamespaceMode::OptIn));
        for (name, label, opt_out, opt_in) in [
            ("a", None, true, false),
            ("a", Some("enabled"), true, true),
            ("a", Some("disabled"), false, false),
            ("a", Some("else"), true, false),
            ("kube-system", Some("enabled"), false, false),
        ] {
            let found = found(name, label);
            assert_eq!(out.left_out(&found).is_none(), opt_out, "{found:?}");
            assert_eq!(into.left_out(&found).is_none(), opt_in, "{found:?}");
        }
        let terminating = Found {
            terminating: true,
            ..found("a", Some("enabled"))
        };
        assert_eq!(into.left_out(&terminating), Some("it is being deleted"));
    }
}
