//! Registries that a namespace asks for before any Pod does.

use std::sync::Arc;

/// The annotation of a namespace that names them: hosts of private ECR registries, separated by commas.
pub const REGISTRIES_ANNOTATION: &str = "ecr-admission.dev/registries";

/// The most of the annotation that is read, in bytes: what a Secret can hold, 64 registries of as many letters. An
/// annotation may have 256 KiB, and those of 10,000 namespaces are kept.
const LONGEST: usize = 64 * 64;

/// The registries that a namespace pins, as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// Absent when there are none, which is usual.
    list: Option<Arc<str>>,
    cut: bool,
}

impl Pins {
    /// Those of an annotation's value.
    pub fn of(annotation: &str) -> Self {
        let mut end = annotation.len().min(LONGEST);
        while !annotation.is_char_boundary(end) {
            end -= 1;
        }
        let mut list = &annotation[..end];
        let cut = list.len() < annotation.len();
        if cut {
            // The last one is not whole.
            list = list.rsplit_once(',').map_or("", |(whole, _)| whole);
        }
        let has_entries = entries(list).next().is_some();
        Self {
            list: has_entries.then(|| list.into()),
            cut,
        }
    }

    /// Each registry as it is written, spaces around it left out.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        entries(self.list.as_deref().unwrap_or_default())
    }

    /// Whether the annotation is too long to be read whole.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(annotation: &str) -> Vec<String> {
        Pins::of(annotation).entries().map(str::to_owned).collect()
    }

    #[test]
    fn registries_are_separated_by_commas_and_space_does_not_matter() {
        assert_eq!(
            read("a.example, b.example\n,c.example"),
            ["a.example", "b.example", "c.example"]
        );
        for nothing in ["", " ", ",", " , ,\n"] {
            assert!(Pins::of(nothing).is_empty(), "{nothing:?}");
        }
    }

    #[test]
    fn what_is_kept_of_an_annotation_is_bounded_and_whole() {
        let long = "registry.example,".repeat(10_000);
        let pins = Pins::of(&long);
        assert!(pins.is_cut() && pins.list.as_ref().unwrap().len() <= LONGEST);
        assert!(pins.entries().all(|entry| entry == "registry.example"));
        let endless = "ä".repeat(LONGEST);
        let pins = Pins::of(&endless);
        assert!(pins.is_cut() && !pins.is_empty() && pins.entries().next().is_none());
    }
}
