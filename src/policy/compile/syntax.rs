//! What single values must look like: the patterns of the schema, said in Rust.

/// Whether a text is an RFC 1123 subdomain, as the names of Kubernetes objects are.
pub(super) fn is_object_name(name: &str) -> bool {
    let label = |label: &str| is_edged(label, |byte| is_lower(byte) || byte == b'-', is_lower);
    name.len() <= 253 && name.split('.').all(label)
}

/// A name of a namespace in which `*` stands for any run of characters.
pub(super) fn is_namespace_pattern(text: &str) -> bool {
    let edge = |byte| is_lower(byte) || byte == b'*';
    text.len() <= 63 && is_edged(text, |byte| edge(byte) || byte == b'-', edge)
}

/// A name of a ServiceAccount in which `*` stands for any run of characters.
pub(super) fn is_service_account_pattern(text: &str) -> bool {
    let edge = |byte| is_lower(byte) || byte == b'*';
    let inner = |byte| edge(byte) || matches!(byte, b'-' | b'.');
    text.len() <= 253 && is_edged(text, inner, edge)
}

/// A label's key: a name of at most 63 characters, perhaps behind a DNS name and a slash.
pub(super) fn is_label_key(key: &str) -> bool {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let edge = |byte: u8| byte.is_ascii_alphanumeric();
    let inner = |byte| edge(byte) || matches!(byte, b'-' | b'_' | b'.');
    prefix.is_none_or(is_object_name) && name.len() <= 63 && is_edged(name, inner, edge)
}

/// A label's value: empty, or a name of at most 63 characters.
pub(super) fn is_label_value(value: &str) -> bool {
    value.is_empty() || (!value.contains('/') && is_label_key(value))
}

/// A tag in which `*` stands for any run of characters.
pub(super) fn is_tag_pattern(text: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'*');
    let rest = |byte| first(byte) || matches!(byte, b'.' | b'-');
    text.len() <= 128 && text.bytes().next().is_some_and(first) && text.bytes().all(rest)
}

/// A region such as `eu-west-1`.
pub(super) fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    let number =
        |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    match parts.as_slice() {
        [area, places @ .., last] => {
            (2..=5).contains(&area.len())
                && (1..=2).contains(&places.len())
                && text.len() <= 40
                && word(area)
                && places.iter().all(word)
                && number(last)
        }
        _ => false,
    }
}

/// A repository pattern: segments in which `*` stands for any run of characters, `**` as the last one.
pub(super) fn is_repository_pattern(text: &str) -> bool {
    text.len() <= 256 && is_path_pattern(text)
}

fn is_path_pattern(text: &str) -> bool {
    let text_of_segment = |byte| is_lower(byte) || matches!(byte, b'.' | b'_' | b'-' | b'*');
    let segment = |segment: &str| {
        !segment.is_empty() && !segment.contains("**") && segment.bytes().all(text_of_segment)
    };
    let (folders, last) = text
        .rsplit_once('/')
        .map_or((None, text), |(folders, last)| (Some(folders), last));
    (last == "**" || segment(last)) && folders.is_none_or(|folders| folders.split('/').all(segment))
}

/// An image pattern: a registry host, a slash, a repository pattern.
pub(super) fn is_image_pattern(text: &str) -> bool {
    let Some((registry, repository)) = text.split_once('/') else {
        return false;
    };
    let (host, port) = match registry.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (registry, None),
    };
    let edge = |byte| is_lower(byte) || byte == b'*';
    let inner = |byte| edge(byte) || matches!(byte, b'-' | b'.');
    let number =
        |text: &str| (1..=5).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    text.len() <= 511
        && is_edged(host, inner, edge)
        && port.is_none_or(number)
        && is_path_pattern(repository)
}

/// A role's ARN.
pub(super) fn is_role_arn(text: &str) -> bool {
    let Some((_, rest)) = partition_of_role(text) else {
        return false;
    };
    let (path, name) = rest.rsplit_once('/').unwrap_or(("", rest));
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    text.len() <= 640
        && (1..=64).contains(&name.len())
        && name.bytes().all(of_name)
        && (path.is_empty() != rest.contains('/'))
        && path.len() <= 510
        && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The partition in a role's ARN, and what follows `role/`.
pub(super) fn partition_of_role(arn: &str) -> Option<(&str, &str)> {
    let (partition, rest) = arn.strip_prefix("arn:")?.split_once(":iam::")?;
    let (account, rest) = rest.split_once(":role/")?;
    let known = crate::image::ecr::Partition::ALL
        .iter()
        .any(|known| known.name() == partition);
    (known && crate::image::ecr::is_account(account)).then_some((partition, rest))
}

/// An external id of STS.
pub(super) fn is_external_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@:/_-".contains(&byte);
    (2..=1_224).contains(&text.len()) && text.bytes().all(fits)
}

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// Whether a text is made of `inner` and begins and ends with `edge`.
fn is_edged(text: &str, inner: impl Fn(u8) -> bool, edge: impl Fn(u8) -> bool) -> bool {
    let (first, last) = (text.bytes().next(), text.bytes().last());
    first.is_some_and(&edge) && last.is_some_and(&edge) && text.bytes().all(inner)
}
