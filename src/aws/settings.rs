//! What this adapter can be told, beside what the SDK reads itself (profiles, `AWS_REGION`, `AWS_ENDPOINT_URL…`,
//! `AWS_USE_FIPS_ENDPOINT`, `AWS_USE_DUALSTACK_ENDPOINT` and the variables of each kind of credentials).

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::answer::TokenLife;

/// How to reach AWS. The default is: straight, with the machine's own trusted certificates.
#[derive(Clone, Debug)]
pub struct AwsSettings {
    /// A PEM file of certificate authorities that are trusted beside the machine's own.
    pub ca_bundle: Option<PathBuf>,
    /// The HTTP proxy for `https://` requests, as `http[s]://[user:password@]host:port`; a missing scheme means
    /// `http`. Requests to `http://` never go through a proxy: they carry credentials from a link-local address.
    pub proxy: Option<SecretString>,
    /// Hosts that are reached without the proxy: names (with their subdomains), addresses and networks, by commas.
    pub no_proxy: String,
    /// ECR's endpoint, instead of the one that the SDK finds.
    pub endpoint: Option<String>,
    /// STS's endpoint for the roles that policies name, instead of the one that the SDK finds.
    pub sts_endpoint: Option<String>,
    /// The region whose STS is asked for credentials when neither the environment nor the profile names a region.
    pub fallback_region: String,
    /// The role that a web identity is to assume, as messages name it.
    pub role: Option<String>,
    /// How long a token is taken to live when AWS's answer cannot be believed.
    pub token_life: TokenLife,
    /// How long the session of a role that a policy names is to last; AWS's default, an hour, unless it is said. AWS takes
    /// 15 minutes at least.
    pub session_length: Option<Duration>,
    /// How long one mint may take, credentials and one retry included: less than an admission's deadline.
    pub mint_timeout: Duration,
}

impl Default for AwsSettings {
    fn default() -> Self {
        Self {
            ca_bundle: None,
            proxy: None,
            no_proxy: String::new(),
            endpoint: None,
            sts_endpoint: None,
            fallback_region: region_of_partition("aws").to_owned(),
            role: None,
            token_life: TokenLife::default(),
            session_length: None,
            mint_timeout: Duration::from_secs(4),
        }
    }
}

impl AwsSettings {
    /// What the usual environment variables say; `variable` looks one up. Upper case goes before lower case, and
    /// `HTTPS_PROXY` before `ALL_PROXY`; an empty value counts as none.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Self {
        let first = |names: &[&str]| {
            let mut values = names.iter().filter_map(|name| variable(name));
            values.find(|value| !value.trim().is_empty())
        };
        let role = first(&["AWS_ROLE_ARN"]);
        Self {
            ca_bundle: first(&["AWS_CA_BUNDLE"]).map(PathBuf::from),
            proxy: first(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
                .map(SecretString::from),
            no_proxy: first(&["NO_PROXY", "no_proxy"]).unwrap_or_default(),
            fallback_region: region_of_role(role.as_deref().unwrap_or_default()).to_owned(),
            role,
            ..Self::default()
        }
    }
}

/// The region of the role's partition in which its STS surely answers.
fn region_of_role(arn: &str) -> &'static str {
    region_of_partition(arn.split(':').nth(1).unwrap_or_default())
}

/// Source: `implicitGlobalRegion` of the SDK's partitions.
fn region_of_partition(partition: &str) -> &'static str {
    match partition {
        "aws-cn" => "cn-northwest-1",
        "aws-us-gov" => "us-gov-west-1",
        "aws-eusc" => "eusc-de-east-1",
        "aws-iso" => "us-iso-east-1",
        "aws-iso-b" => "us-isob-east-1",
        "aws-iso-e" => "eu-isoe-west-1",
        "aws-iso-f" => "us-isof-south-1",
        _ => "us-east-1",
    }
}

/// Why AWS cannot be used as told: found at start, before any call.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The file of `AWS_CA_BUNDLE` cannot be read.
    #[error(
        "cannot read the CA bundle {path} (AWS_CA_BUNDLE): {source}",
        path = path.display()
    )]
    UnreadableBundle {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds no usable certificate.
    #[error(
        "the CA bundle {path} (AWS_CA_BUNDLE) holds no usable certificate: it must be PEM, with one or more blocks \
         \"BEGIN CERTIFICATE\"",
        path = path.display()
    )]
    EmptyBundle {
        /// The file.
        path: PathBuf,
    },
    /// The proxy is no URL that we can use. Does not show it: it may hold a password.
    #[error(
        "the proxy (HTTPS_PROXY or ALL_PROXY) is no URL like http://user:password@proxy.example.com:3128; only http \
         and https proxies are supported"
    )]
    Proxy,
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> AwsSettings {
        AwsSettings::from_environment(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_specific_proxy_goes_before_the_general_and_an_empty_one_is_none() {
        let proxy = |variables: &[(&str, &str)]| {
            let proxy = read(variables).proxy;
            proxy.map(|proxy| proxy.expose_secret().to_owned())
        };
        assert_eq!(proxy(&[]), None);
        assert_eq!(proxy(&[("HTTPS_PROXY", " ")]), None);
        assert_eq!(proxy(&[("HTTP_PROXY", "http://a:1")]), None);
        assert_eq!(
            proxy(&[("https_proxy", "b:1"), ("ALL_PROXY", "c:1")]).as_deref(),
            Some("b:1")
        );
        assert_eq!(
            proxy(&[("HTTPS_PROXY", ""), ("all_proxy", "c:1")]).as_deref(),
            Some("c:1")
        );
    }

    #[test]
    fn a_role_without_a_region_is_assumed_in_its_own_partition() {
        let region = |arn| read(&[("AWS_ROLE_ARN", arn)]).fallback_region;
        assert_eq!(
            region("arn:aws-cn:iam::123456789012:role/r"),
            "cn-northwest-1"
        );
        assert_eq!(region("arn:aws:iam::123456789012:role/r"), "us-east-1");
        assert_eq!(region("garbage"), "us-east-1");
    }

    #[test]
    fn a_proxys_password_is_not_shown() {
        let settings = read(&[("HTTPS_PROXY", "http://user:hunter2@proxy:1")]);
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
