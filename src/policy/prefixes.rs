//! Literal prefixes, so that of many patterns only those are looked at that a path begins with.

use std::ops::{Deref, Range};
use std::sync::Arc;

/// Sorted texts by the places where they stand, equal ones together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Prefixes {
    groups: Vec<Group>,
}

/// The front of a text that others hold too.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prefix {
    text: Arc<str>,
    length: usize,
}

/// Equal texts.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    text: Prefix,
    places: Range<usize>,
    /// The longest other text that this one begins with.
    parent: Option<usize>,
}

impl Prefix {
    /// The first `length` bytes, which end where a character does.
    pub(super) fn new(text: &Arc<str>, length: usize) -> Self {
        Self {
            text: Arc::clone(text),
            length,
        }
    }
}

impl Deref for Prefix {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text[..self.length]
    }
}

impl Prefixes {
    /// Takes texts in their order (that of their bytes).
    pub(super) fn of_sorted(texts: impl Iterator<Item = Prefix>) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        for (place, text) in texts.enumerate() {
            match groups.last_mut() {
                Some(last) if last.text[..] == text[..] => last.places.end = place + 1,
                _ => {
                    let parent = longest(&groups, groups.len().checked_sub(1), &text);
                    groups.push(Group {
                        text,
                        places: place..place + 1,
                        parent,
                    });
                }
            }
        }
        Self { groups }
    }

    /// The places of all texts that `path` begins with, the longest text first.
    pub(super) fn of(&self, path: &str) -> impl Iterator<Item = usize> {
        // Whatever stands between a prefix of the path and the path begins with that prefix too.
        let before = self.groups.partition_point(|group| *group.text <= *path);
        let first = longest(&self.groups, before.checked_sub(1), path);
        let parent = |group: &usize| self.groups.get(*group)?.parent;
        let groups = std::iter::successors(first, parent);
        groups.flat_map(|group| self.groups[group].places.clone())
    }
}

/// Of a group and those that its text begins with, the first that `path` begins with.
fn longest(groups: &[Group], from: Option<usize>, path: &str) -> Option<usize> {
    let parent = |group: &usize| groups.get(*group)?.parent;
    let mut chain = std::iter::successors(from, parent);
    chain.find(|group| path.starts_with(&*groups[*group].text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_found_is_what_a_look_at_each_would_find(
            mut texts in prop::collection::vec("[ab/]{0,5}", 0..20),
            path in "[ab/]{0,8}",
        ) {
            texts.sort();
            let shared = texts.iter().map(|text| Prefix::new(&format!("{text}*").into(), text.len()));
            let prefixes = Prefixes::of_sorted(shared);
            let mut expected: Vec<usize> = (0..texts.len())
                .filter(|place| path.starts_with(&texts[*place]))
                .collect();
            expected.sort_by_key(|place| std::cmp::Reverse(texts[*place].len()));
            prop_assert_eq!(prefixes.of(&path).collect::<Vec<_>>(), expected);
        }
    }
}
