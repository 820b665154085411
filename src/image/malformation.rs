//! What exactly is wrong with a text that is no reference, in words for people.

use super::grammar::{TAG_BYTES_MAX, is_component, is_domain, is_tag};
use super::lookalike::{registry_text, scheme_len};
use super::reference::{ParseError, Reference};

/// Why a text is no reference, as the end of a sentence; `None` when it is one. The answer repeats nothing of the text
/// but a single character.
pub fn malformation(text: &str) -> Option<String> {
    let error = Reference::parse(text).err()?;
    let detail = match error {
        ParseError::InvalidFormat | ParseError::UppercaseRepository => detail(text, error),
        _ => None,
    };
    Some(detail.unwrap_or_else(|| error.to_string()))
}

fn detail(text: &str, error: ParseError) -> Option<String> {
    if scheme_len(text).is_some() {
        return Some("it begins like a URL".to_owned());
    }
    if let Some(odd) = text.chars().find(|c| "{}$<>%".contains(*c)) {
        return Some(format!(
            "it has a {odd:?} in it, perhaps of a template that was not filled in"
        ));
    }
    if text.contains(char::is_whitespace) {
        return Some("it has white space in it".to_owned());
    }
    if let Some(odd) = text.chars().find(|c| !is_reference_character(*c)) {
        return Some(format!("it has a {odd:?} in it"));
    }
    if error == ParseError::UppercaseRepository {
        return None;
    }
    let registry = registry_text(text);
    let remainder = text.get(registry.len() + 1..)?;
    detail_of_parts(registry, remainder).map(str::to_owned)
}

fn is_reference_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || ".-_/:@+[]".contains(c)
}

/// Says which part is wrong where all characters are possible ones.
fn detail_of_parts(registry: &str, remainder: &str) -> Option<&'static str> {
    if registry.contains('@') {
        return Some("it has a user or a password before an @");
    }
    if !is_domain(registry) && !is_component(registry) {
        return Some("what stands before the first slash is no host");
    }
    let (named, digest) = match remainder.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (remainder, None),
    };
    let (path, tag) = match named.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (named, None),
    };
    if path.split('/').any(str::is_empty) {
        return Some("its repository has an empty part before, between or behind slashes");
    }
    if !path.split('/').all(is_component) {
        return Some(
            "the words of its repository may be joined only by one dot, one or two underscores, or hyphens",
        );
    }
    match tag {
        Some("") => return Some("no tag follows the colon"),
        Some(tag) if tag.contains(':') => return Some("it has more than one tag"),
        Some(tag) if tag.starts_with(['.', '-']) => {
            return Some("its tag begins with a dot or a hyphen");
        }
        Some(tag) if tag.len() > TAG_BYTES_MAX => {
            return Some("its tag has more than 128 characters");
        }
        Some(tag) if !is_tag(tag) => {
            return Some("a tag holds only letters, digits, underscores, dots and hyphens");
        }
        _ => {}
    }
    digest.map(|_| "its digest does not have the form sha256: and 64 hexadecimal digits")
}

#[cfg(test)]
mod tests {
    use super::malformation;

    #[test]
    fn each_kind_of_mistake_is_called_by_its_name() {
        let mistakes = [
            "https://a.b/c:1",
            " a.b/c:1",
            "a.b/c:{{ .tag }}",
            "a.b/c:$TAG",
            "a.b/c!",
            "a.b/C",
            "a..b/c",
            "user:password@a.b/c:1",
            "a.b//c",
            "a.b/",
            "a.b/c_",
            "a.b/c:",
            "a.b/c:.1",
            "a.b/c:1+2",
            "a.b/c:1:2",
            "a.b/c@sha256",
            "a.b/c@sha256:00",
            &format!("a.b/c:{}", "1".repeat(129)),
            &format!("a.b/{}", "c".repeat(256)),
            &format!("a.b/c@sha256:{}", "0".repeat(63)),
            &format!("a.b/c@md5:{}", "0".repeat(32)),
            &format!("a.b/c@sha256:{}", "A".repeat(64)),
            &"0".repeat(64),
            "",
        ];
        let answers: Vec<String> = mistakes
            .iter()
            .map(|text| {
                let shown: String = text.chars().take(24).collect();
                format!("{shown:24} {}", malformation(text).unwrap())
            })
            .collect();
        insta::assert_snapshot!(answers.join("\n"), @"
        https://a.b/c:1          it begins like a URL
         a.b/c:1                 it has white space in it
        a.b/c:{{ .tag }}         it has a '{' in it, perhaps of a template that was not filled in
        a.b/c:$TAG               it has a '$' in it, perhaps of a template that was not filled in
        a.b/c!                   it has a '!' in it
        a.b/C                    the repository must be in lower case
        a..b/c                   what stands before the first slash is no host
        user:password@a.b/c:1    it has a user or a password before an @
        a.b//c                   its repository has an empty part before, between or behind slashes
        a.b/                     its repository has an empty part before, between or behind slashes
        a.b/c_                   the words of its repository may be joined only by one dot, one or two underscores, or hyphens
        a.b/c:                   no tag follows the colon
        a.b/c:.1                 its tag begins with a dot or a hyphen
        a.b/c:1+2                a tag holds only letters, digits, underscores, dots and hyphens
        a.b/c:1:2                it has more than one tag
        a.b/c@sha256             its digest does not have the form sha256: and 64 hexadecimal digits
        a.b/c@sha256:00          its digest does not have the form sha256: and 64 hexadecimal digits
        a.b/c:111111111111111111 its tag has more than 128 characters
        a.b/cccccccccccccccccccc the repository has more than 255 characters
        a.b/c@sha256:00000000000 the digest has the wrong length for its algorithm
        a.b/c@md5:00000000000000 the digest's algorithm is none of sha256, sha384 and sha512
        a.b/c@sha256:AAAAAAAAAAA the digest must be in lower case
        000000000000000000000000 64 hexadecimal digits are an image's identifier, not its name
                                 it does not have the form registry/repository:tag
        ");
        assert_eq!(malformation("a.b/c:1"), None);
    }
}
