//! Texts with stars.

/// A pattern that many texts are matched against: what stands before its first star and behind its last one is compared at
/// once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Glob {
    text: Box<str>,
    /// The places of the first and of the last star.
    stars: Option<(usize, usize)>,
}

impl Glob {
    pub(super) fn new(text: &str) -> Self {
        Self {
            stars: text.find('*').zip(text.rfind('*')),
            text: text.into(),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// As [`glob`].
    pub(super) fn matches(&self, text: &str, boundary: u8) -> bool {
        let Some((first, last)) = self.stars else {
            return *self.text == *text;
        };
        let (head, tail) = (&self.text[..first], &self.text[last + 1..]);
        let rest = text.strip_prefix(head);
        let Some(starred) = rest.and_then(|rest| rest.strip_suffix(tail)) else {
            return false;
        };
        if first == last {
            !starred.as_bytes().contains(&boundary)
        } else {
            glob(&self.text[first..=last], starred, boundary)
        }
    }
}

/// Matches `text` against a pattern whose `*` is any run of bytes other than `boundary`.
pub(super) fn glob(pattern: &str, text: &str, boundary: u8) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and how far it reaches by now.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() || p < pattern.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && t < text.len() && pattern[p] == text[t] {
            p += 1;
            t += 1;
        } else if let Some((star_at, reach)) = star
            && reach < text.len()
            && text[reach] != boundary
        {
            star = Some((star_at, reach + 1));
            p = star_at + 1;
            t = reach + 1;
        } else {
            return false;
        }
    }
    true
}

/// Whether one of the patterns, in which `*` is any run of characters, matches a name.
pub(super) fn any_name(patterns: &[String], name: &str) -> bool {
    // No name holds a slash, so nothing bounds the star.
    patterns.iter().any(|pattern| glob(pattern, name, b'/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_short_ways_match_what_the_long_one_does(
            pattern in "[ab.*]{0,6}",
            text in "[ab.]{0,8}",
        ) {
            let short = Glob::new(&pattern).matches(&text, b'.');
            prop_assert_eq!(short, glob(&pattern, &text, b'.'), "{} {}", pattern, text);
        }
    }

    #[test]
    fn a_star_is_any_run_within_its_part() {
        for (pattern, text, matches) in [
            ("", "", true),
            ("*", "", true),
            ("*", "a.b", false),
            ("*.b", "a.b", true),
            ("*.b", ".b", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b.b-c", false),
        ] {
            assert_eq!(glob(pattern, text, b'.'), matches, "{pattern} {text}");
        }
    }
}
