//! A registry as people name it: on a command line, in an annotation.

use super::correct::{flaw, guess_host};
use super::shown::{Shown, ShownImage};
use crate::image::ecr::{EcrHost, Host};
use crate::image::lookalike::{looks_like_ecr, registry_text, without_port};

/// Reads the host of a private ECR registry, exactly as credentials name it.
///
/// # Errors
/// [`NotARegistry`], which says what to write instead where that can be guessed.
pub fn private_registry(text: &str) -> Result<EcrHost<'_>, NotARegistry> {
    EcrHost::parse(text).ok_or_else(|| NotARegistry::explain(text))
}

/// Why a text is no private ECR registry, as one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotARegistry(String);

impl NotARegistry {
    fn explain(text: &str) -> Self {
        let registry = registry_text(text.trim());
        let registry = registry.rsplit_once('@').map_or(registry, |(_, host)| host);
        let host = without_port(registry).to_ascii_lowercase();
        Self(match (Host::classify(&host), guess_host(&host)) {
            (Host::Public(_), _) => format!(
                "{} is the public ECR registry, which serves everybody without credentials: there is nothing to do \
                 for it",
                Shown(&host)
            ),
            (_, Some(guess)) if guess == host => format!(
                "{} is more than a registry's host: write \"{guess}\"",
                ShownImage(text)
            ),
            (_, Some(guess)) => not_ecr(text, &flaw(&host), &format!("write \"{guess}\"")),
            (_, None) if looks_like_ecr(&host) => not_ecr(text, &flaw(&host), EXAMPLE),
            (_, None) => format!("{} is no private ECR registry: {EXAMPLE}", ShownImage(text)),
        })
    }
}

const EXAMPLE: &str = "write a host such as \"123456789012.dkr.ecr.eu-west-1.amazonaws.com\"";

fn not_ecr(text: &str, flaw: &str, advice: &str) -> String {
    format!(
        "{} is no private ECR registry, {flaw}: {advice}",
        ShownImage(text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        private_registry(text).unwrap_err().to_string()
    }

    #[test]
    fn an_exact_host_is_taken_as_it_is() {
        let host = "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com";
        let registry = private_registry(host).unwrap();
        assert_eq!((registry.host, registry.region), (host, "us-gov-west-1"));
    }

    #[test]
    fn what_is_more_than_a_host_or_almost_one_is_refused_with_what_was_meant() {
        let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        for text in [
            format!("https://{host}"),
            format!("oci://{host}/charts/shop"),
            format!("{host}/team/app:v1"),
            format!("{host}:443"),
            format!(" {host}\n"),
            host.to_uppercase(),
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.cn".to_owned(),
            "123456789012.dkr-ecr.eu-west-1.amazonaws.com".to_owned(),
            "123456789012.ecr.eu-west-1.amazonaws.com".to_owned(),
        ] {
            let refusal = refusal(&text);
            assert!(refusal.ends_with(&format!("write \"{host}\"")), "{refusal}");
        }
    }

    #[test]
    fn what_cannot_be_guessed_is_refused_with_an_example() {
        insta::assert_snapshot!(refusal("12345.dkr.ecr.eu-west-1.amazonaws.com"), @r#""12345.dkr.ecr.eu-west-1.amazonaws.com" is no private ECR registry, its account ID has 5 digits instead of 12: write a host such as "123456789012.dkr.ecr.eu-west-1.amazonaws.com""#);
        insta::assert_snapshot!(refusal("ghcr.io"), @r#""ghcr.io" is no private ECR registry: write a host such as "123456789012.dkr.ecr.eu-west-1.amazonaws.com""#);
        insta::assert_snapshot!(refusal(""), @r#""" is no private ECR registry: write a host such as "123456789012.dkr.ecr.eu-west-1.amazonaws.com""#);
        insta::assert_snapshot!(refusal("public.ecr.aws"), @r#""public.ecr.aws" is the public ECR registry, which serves everybody without credentials: there is nothing to do for it"#);
        insta::assert_snapshot!(refusal("https://user:hunter2@ghcr.io/x"), @r#""https://[REDACTED]@ghcr.io/x" is no private ECR registry: write a host such as "123456789012.dkr.ecr.eu-west-1.amazonaws.com""#);
    }
}
