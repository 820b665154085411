//! Text of others in our sentences.

use std::fmt;

use crate::image::lookalike::{looks_like_ecr, registry_text, scheme_len};

/// The most bytes of somebody's text that a sentence repeats.
const BYTES_MAX: usize = 256;

/// Somebody's text in quotation marks: on one line, free of control characters, cut when it is long.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.floor_char_boundary(BYTES_MAX);
        let (head, cut) = (&self.0[..end], end < self.0.len());
        // Debug escapes what a terminal or an HTTP header must not see, quotation marks included.
        write!(f, "{head:?}{}", if cut { "…" } else { "" })
    }
}

/// An image in quotation marks, as [`Shown`], without what a URL carries before an `@`: it may be a password.
pub(super) struct ShownImage<'a>(pub(super) &'a str);

impl fmt::Display for ShownImage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = self.0;
        let registry_at = scheme_len(image).unwrap_or(0);
        let registry = registry_text(image);
        let has_slash = registry_at + registry.len() < image.len();
        match registry.rfind('@') {
            // Elsewhere an @ begins a digest.
            Some(at) if has_slash || looks_like_ecr(&registry[at + 1..]) => {
                let (scheme, rest) = image.split_at(registry_at);
                Shown(&format!("{scheme}[REDACTED]{}", &rest[at..])).fmt(f)
            }
            _ => Shown(image).fmt(f),
        }
    }
}
