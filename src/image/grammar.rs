//! The words of the grammar of [`super::reference`]: which texts are a domain, a component of a path, a tag, a digest.

use super::split_once_at;

/// The longest tag, in bytes.
pub(super) const TAG_BYTES_MAX: usize = 128;
/// The fewest hex digits for which a digest's text is looked at as one.
const DIGEST_HEX_MIN: usize = 32;
/// The bytes of an image identifier, the hex digits of a SHA-256.
const IDENTIFIER_BYTES: usize = 64;

/// As Go's `unicode.ToLower`: one letter to one letter.
pub(super) fn lower_case(letter: char) -> char {
    letter.to_lowercase().next().unwrap_or(letter)
}

pub(super) fn has_uppercase(text: &str) -> bool {
    if text.is_ascii() {
        text.bytes().any(|b| b.is_ascii_uppercase())
    } else {
        text.chars().any(|letter| lower_case(letter) != letter)
    }
}

pub(super) fn is_identifier(text: &str) -> bool {
    text.len() == IDENTIFIER_BYTES && text.bytes().all(is_lower_hex)
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

pub(super) fn is_all_lower_hex(text: &str) -> bool {
    all_bytes(text, is_lower_hex)
}

/// Looks at every byte, also behind one that does not fit: compilers make that a few vector instructions, and most
/// digests are good.
fn all_bytes(text: &str, fits: impl Fn(u8) -> bool) -> bool {
    text.bytes().fold(true, |all, byte| all & fits(byte))
}

pub(super) fn is_domain(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[') {
        return address.split_once(']').is_some_and(|(address, port)| {
            !address.is_empty()
                && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
        });
    }
    match split_once_at(text, b':') {
        Some((host, port)) => is_host_name(host) && is_port(port),
        None => is_host_name(text),
    }
}

/// Labels between dots, none of them empty, with a hyphen at the front, or with one at the end.
fn is_host_name(text: &str) -> bool {
    let mut before = b'.';
    for byte in text.bytes() {
        let fits = match byte {
            b'.' => before.is_ascii_alphanumeric(),
            b'-' => before != b'.',
            _ => byte.is_ascii_alphanumeric(),
        };
        if !fits {
            return false;
        }
        before = byte;
    }
    before.is_ascii_alphanumeric()
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

pub(super) fn is_path(text: &str) -> bool {
    text.as_bytes().split(|b| *b == b'/').all(is_component)
}

pub(super) fn is_component(text: impl AsRef<[u8]>) -> bool {
    let alnum = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9');
    let mut rest = text.as_ref();
    loop {
        let letters = rest.iter().take_while(|b| alnum(b)).count();
        if letters == 0 {
            return false;
        }
        rest = &rest[letters..];
        let separator = match rest {
            [] => return true,
            [b'_', b'_', ..] => 2,
            [b'.' | b'_', ..] => 1,
            [b'-', ..] => rest.iter().take_while(|b| **b == b'-').count(),
            _ => return false,
        };
        rest = &rest[separator..];
    }
}

pub(super) fn is_tag(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=TAG_BYTES_MAX).contains(&text.len())
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

/// Whether a text has the outer form of a digest: `algorithm:` and at least 32 hex digits of any case.
pub(super) fn is_digest_shaped(text: &str) -> bool {
    split_once_at(text, b':').is_some_and(|(algorithm, hex)| {
        hex.len() >= DIGEST_HEX_MIN
            && all_bytes(hex, |b| b.is_ascii_hexdigit())
            && algorithm.split(['-', '_', '+', '.']).all(|part| {
                part.starts_with(|c: char| c.is_ascii_alphabetic())
                    && part.bytes().all(|b| b.is_ascii_alphanumeric())
            })
    })
}
