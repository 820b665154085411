//! What must hold for any bytes that claim to be an image.

use ecr_admission::image::reference::Reference;
use ecr_admission::policy::{Policy, decide};

/// Panics when a promise about references is broken. Bytes that are no UTF-8 cannot reach the parser: an image is a
/// JSON string.
pub(super) fn reference(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(reference) = Reference::parse(text) {
        let written = reference.to_string();
        let again = Reference::parse(&written);
        assert_eq!(
            again.map(|again| again.to_string()),
            Ok(written),
            "written out, {text:?} reads differently"
        );
    }
    let policy = Policy::default();
    let decision = decide(&policy, text);
    if let Some(finding) = decision.finding {
        assert!(
            !finding.message.contains(char::is_control),
            "{:?} has a control character",
            finding.message
        );
        assert!(finding.message.len() < 1_500, "the sentence is too long");
    }
}
