//! Why no HTTP answer came: names, connections, TLS, proxies.

use std::error::Error;
use std::io;
use std::iter;

use rustls::CertificateError;

use super::http::LookupFailed;
use crate::token::MintErrorKind as Kind;

/// What a resolver says when it could not ask, rather than that there is no such name (glibc, musl).
const RESOLVER_DOWN: [&str; 2] = ["Temporary failure", "Try again"];

/// Explains a failure to reach `who` (as in "cannot connect to …"), when one is found in the chain of causes. A name
/// that cannot be resolved and belongs to `region` may be that of a region that does not exist.
pub(super) fn explain(
    cause: &(dyn Error + 'static),
    who: &str,
    region: Option<&str>,
) -> Option<(Kind, String)> {
    // The proxy's errors have no public type; their text begins so (hyper-util's `TunnelError`).
    let tunnel = chain(cause)
        .map(ToString::to_string)
        .find(|text| text.starts_with("tunnel error"));
    if let Some(failed) = find::<LookupFailed>(cause) {
        return Some(lookup(failed, who, region, tunnel.is_some()));
    }
    if let Some(failed) = find::<rustls::Error>(cause) {
        return Some((Kind::Unreachable, tls(failed, who)));
    }
    let io = chain(cause)
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .filter(|io| !is_about_a_file(io))
        .last();
    match (tunnel, io) {
        (Some(tunnel), io) => Some((Kind::Unreachable, proxy(&tunnel, io, who))),
        (None, Some(io)) => Some((
            Kind::Unreachable,
            format!(
                "cannot reach {who} ({io}): check the egress rules, and set HTTPS_PROXY where a proxy is needed"
            ),
        )),
        (None, None) => None,
    }
}

/// All messages of the chain of causes, for people.
pub(super) fn words(cause: &(dyn Error + 'static)) -> String {
    let all: Vec<_> = chain(cause).map(ToString::to_string).collect();
    all.join(": ")
}

fn lookup(
    failed: &LookupFailed,
    who: &str,
    region: Option<&str>,
    of_proxy: bool,
) -> (Kind, String) {
    let LookupFailed { host, cause } = failed;
    if of_proxy {
        let message = format!(
            "the name of the proxy, {host}, cannot be resolved ({cause}): check HTTPS_PROXY"
        );
        return (Kind::Unreachable, message);
    }
    let resolver_down = RESOLVER_DOWN.iter().any(|text| cause.contains(text));
    match region {
        Some(region) if !resolver_down && host.contains(&format!(".{region}.")) => {
            let message = format!(
                "{host} cannot be resolved ({cause}): there is no AWS region {region}, or DNS fails; check the \
                 image's registry first"
            );
            (Kind::UnknownRegion, message)
        }
        _ => {
            let message = format!(
                "cannot reach {who}, because {host} cannot be resolved ({cause}): check DNS"
            );
            (Kind::Unreachable, message)
        }
    }
}

fn tls(failed: &rustls::Error, who: &str) -> String {
    use CertificateError as Bad;
    let rustls::Error::InvalidCertificate(bad) = failed else {
        return format!(
            "TLS with {who} failed ({failed}): check what answers there, a proxy or a firewall perhaps"
        );
    };
    match bad {
        Bad::UnknownIssuer => format!(
            "the TLS certificate of {who} is signed by an authority that is not trusted here: where a firewall or \
             proxy opens TLS, set AWS_CA_BUNDLE to its CA certificate; else install ca-certificates"
        ),
        Bad::Expired
        | Bad::ExpiredContext { .. }
        | Bad::NotValidYet
        | Bad::NotValidYetContext { .. } => format!(
            "the TLS certificate of {who} is not valid at this time ({failed}): check this machine's clock"
        ),
        _ => format!(
            "the TLS certificate of {who} is refused ({failed}): check what answers there, and AWS_ENDPOINT_URL"
        ),
    }
}

fn proxy(tunnel: &str, io: Option<&io::Error>, who: &str) -> String {
    if tunnel.contains("authorization required") {
        return format!(
            "the proxy wants a user and password to reach {who}: put them into HTTPS_PROXY \
             (http://user:password@host:port)"
        );
    }
    match io {
        Some(io) => format!(
            "cannot reach {who}, because the proxy cannot be reached ({io}): check HTTPS_PROXY"
        ),
        None => format!(
            "the proxy refuses to connect to {who}: allow the host there, or name it in NO_PROXY"
        ),
    }
}

/// Credentials come from files too, and those errors have the same type.
fn is_about_a_file(error: &io::Error) -> bool {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
    matches!(
        error.kind(),
        IsADirectory | NotADirectory | NotFound | PermissionDenied
    )
}

fn find<'a, E: Error + 'static>(cause: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(cause).find_map(|error| error.downcast_ref::<E>())
}

/// The causes, outermost first. `io::Error::source` skips the error that it wraps, so that one is asked otherwise.
fn chain<'a>(cause: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(cause), |&error| {
        match error.downcast_ref::<io::Error>() {
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup_of(host: &str, cause: &str) -> (Kind, String) {
        let failed = LookupFailed {
            host: host.into(),
            cause: cause.into(),
        };
        let wrapped = io::Error::other(io::Error::other(failed));
        explain(&wrapped, "ECR in xx-new-1", Some("xx-new-1")).unwrap()
    }

    #[test]
    fn a_name_that_does_not_exist_may_be_an_invented_region_but_a_dead_resolver_is_none() {
        let (kind, message) = lookup_of(
            "api.ecr.xx-new-1.amazonaws.com",
            "Name or service not known",
        );
        assert_eq!(kind, Kind::UnknownRegion);
        assert!(
            message.contains("no AWS region xx-new-1, or DNS fails"),
            "{message}"
        );

        for (host, cause) in [
            (
                "api.ecr.xx-new-1.amazonaws.com",
                "Temporary failure in name resolution",
            ),
            ("api.ecr.xx-new-1.amazonaws.com", "Try again"),
            ("ecr.example.com", "Name or service not known"),
        ] {
            let (kind, message) = lookup_of(host, cause);
            assert_eq!(kind, Kind::Unreachable, "{message}");
            assert!(message.contains(host), "{message}");
        }
    }

    #[test]
    fn an_expired_certificate_points_to_the_clock_and_a_wrong_name_to_the_endpoint() {
        let sentence = |bad| tls(&rustls::Error::InvalidCertificate(bad), "ECR");
        assert!(sentence(CertificateError::Expired).contains("clock"));
        assert!(sentence(CertificateError::NotValidForName).contains("AWS_ENDPOINT_URL"));
        assert!(tls(&rustls::Error::HandshakeNotComplete, "ECR").contains("firewall"));
    }
}
