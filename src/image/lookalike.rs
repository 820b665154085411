//! Hosts that a reader would take for ECR.

use super::ecr::SUFFIXES;
use super::split_once_at;

/// Cheap and coarse: whether an image *may* concern ECR. Every image that names ECR or breaks a rule passes; most
/// others do not, and need no parsing.
///
/// Everything that is ECR or looks like it has `ecr`, in any case, behind a dot, a hyphen, an underscore or nothing,
/// before the first slash.
pub fn may_concern_ecr(image: &str) -> bool {
    let registry = registry_text(image).as_bytes();
    registry.windows(3).enumerate().any(|(at, window)| {
        // The letter in the middle first: few windows have it.
        matches!(window, [_, b'c' | b'C', _])
            && window.eq_ignore_ascii_case(b"ecr")
            && (at == 0 || matches!(registry[at - 1], b'.' | b'-' | b'_'))
    })
}

/// The text before the first slash, a scheme cut off; all of it when there is no slash.
pub fn registry_text(image: &str) -> &str {
    let rest = scheme_len(image).map_or(image, |len| &image[len..]);
    split_once_at(rest, b'/').map_or(rest, |(registry, _)| registry)
}

/// The length of a scheme with its `://` at the front of an image. A dot makes it a host, though RFC 3986 allows one.
pub fn scheme_len(image: &str) -> Option<usize> {
    let (before, _) = split_once_at(image, b'/')?;
    let scheme = before.strip_suffix(':')?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-'));
    (is_scheme && image[before.len()..].starts_with("//")).then_some(before.len() + 2)
}

/// The host without a port behind it.
pub fn without_port(registry: &str) -> &str {
    registry.split_once(':').map_or(registry, |(host, _)| host)
}

/// Whether a host without a port, in any case, looks like ECR: it contains `.dkr.ecr`, `.dkr-ecr` or `dkr_ecr`, or it
/// has a label `ecr` or `ecr-fips` and ends in a suffix of ECR's. Real ECR hosts look like it too. Other names under
/// AWS's suffixes (load balancers, instances) are legitimate registries.
pub fn looks_like_ecr(host: &str) -> bool {
    [".dkr.ecr", ".dkr-ecr", "dkr_ecr"]
        .iter()
        .any(|mark| contains_ignoring_case(host, mark))
        || (host.split('.').any(|label| {
            label.eq_ignore_ascii_case("ecr") || label.eq_ignore_ascii_case("ecr-fips")
        }) && SUFFIXES.iter().any(|suffix| ends_in(host, suffix.name)))
}

fn contains_ignoring_case(text: &str, part: &str) -> bool {
    text.as_bytes()
        .windows(part.len())
        .any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

/// Whether a host ends in whole labels of `suffix`, in any case.
fn ends_in(host: &str, suffix: &str) -> bool {
    let Some(at) = host.len().checked_sub(suffix.len()) else {
        return false;
    };
    host.as_bytes()[at..].eq_ignore_ascii_case(suffix.as_bytes())
        && (at == 0 || host.as_bytes()[at - 1] == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_is_cut_off_but_a_host_with_a_port_is_not() {
        for (image, registry) in [
            ("https://a.b/c", "a.b"),
            ("OCI+x-y://a.b", "a.b"),
            ("docker:///a", ""),
            ("a.b:443/c", "a.b:443"),
            ("a.b://c", "a.b:"),
            ("1x://c", "1x:"),
            ("://c", ":"),
            ("https:/a.b/c", "https:"),
            ("nginx:1", "nginx:1"),
            ("", ""),
        ] {
            assert_eq!(registry_text(image), registry, "{image}");
        }
    }

    #[test]
    fn only_marks_of_ecr_in_the_host_make_a_lookalike() {
        for host in [
            "x.dkr.ecr",
            "x.dkr.ecrets.example",
            "X.DKR-ECR.example",
            "dkr_ecr",
            "a.ecr.amazonaws.com",
            "ecr.eu-west-1.AMAZONAWS.com.cn",
            "x.ecr-fips.c2s.ic.gov",
            "ecr.on.aws",
        ] {
            assert!(looks_like_ecr(host), "{host}");
        }
        for host in [
            "",
            "ecr",
            "dkr.ecr",
            "ecr.example",
            "xecr.amazonaws.com",
            "ecr.xamazonaws.com",
            "amazonaws.com",
            "x.elb.amazonaws.com",
            "ecr.amazonaws.com.example",
        ] {
            assert!(!looks_like_ecr(host), "{host}");
        }
    }
}
