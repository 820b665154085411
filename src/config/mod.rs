//! Configuration: flags over environment over file, checked once, before anything starts.

mod certificate;
mod environment;
mod policies;
mod service_accounts;
mod settings;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::SignedDuration;

pub use certificate::{CertificateConfig, DEFAULT_WEBHOOK_CONFIGURATION, SelfManaged};
pub use environment::check_environment;
pub use policies::PolicyConfig;
pub use service_accounts::ServiceAccountConfig;
pub use settings::{
    LogFormat, PolicySettings, PolicySource, SelfManagedSettings, ServeSettings, ServiceAccountMode,
};

use crate::image::ecr::is_account;
use crate::namespace::{NamespaceMode, is_subdomain, is_valid_name};
use crate::policy::{Policy, is_cluster_name};
use crate::policy_book::RegisteredPods;

/// The name of the pull Secret where none is set.
pub const DEFAULT_SECRET_NAME: &str = "ecr-pull-secret";
/// Where system Pods live: a webhook in their way can take a cluster down.
const ALWAYS_EXCLUDED: &str = "kube-system";

/// A setting that cannot be used. One sentence that names it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// The checked configuration of `serve`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the webhooks listen.
    pub listen: SocketAddr,
    /// Where the admin routes listen.
    pub admin_listen: SocketAddr,
    /// Where the serving certificate comes from.
    pub certificate: CertificateConfig,
    /// The file of the authorities of clients, where they need a certificate.
    pub client_ca: Option<PathBuf>,
    /// How often the files of both are looked at.
    pub tls_poll: Duration,
    /// The most connections at once.
    pub max_connections: usize,
    /// How long to serve on after SIGTERM.
    pub grace_time: Duration,
    /// How long requests under way may take after that.
    pub drain_time: Duration,
    /// The pull Secret's name.
    pub secret_name: String,
    /// Namespaces that are left alone.
    pub excluded_namespaces: BTreeSet<String>,
    /// Our own namespace, where it was set.
    pub namespace: Option<String>,
    /// Which namespaces are selected.
    pub namespace_mode: NamespaceMode,
    /// Which Pods we are asked about.
    pub registered_pods: RegisteredPods,
    /// What is done with ServiceAccounts, if anything.
    pub service_accounts: Option<ServiceAccountConfig>,
    /// Namespaces that may ask for repository Secrets, in order.
    pub argocd_namespaces: Vec<String>,
    /// Where policies come from.
    pub policies: PolicyConfig,
    /// What is allowed, whatever policies add.
    pub policy: Policy,
}

impl Config {
    /// Checks settings and fills in defaults.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting that cannot be used.
    pub fn new(mut settings: ServeSettings) -> Result<Self, ConfigError> {
        let certificate = CertificateConfig::new(&mut settings)?;
        let service_accounts = ServiceAccountConfig::new(&mut settings)?;
        let policies = PolicyConfig::new(&mut settings)?;
        let secret_name = secret_name(settings.secret_name)?;
        let mut excluded = excluded_namespaces(settings.excluded_namespaces);
        excluded.extend(settings.namespace.clone());
        Ok(Self {
            listen: settings.listen.unwrap_or(any_address(8443)),
            admin_listen: settings.admin_listen.unwrap_or(any_address(8080)),
            certificate,
            client_ca: settings.client_ca,
            tls_poll: duration(settings.tls_poll, "tls-poll", Duration::from_secs(5))?,
            max_connections: count(settings.max_connections, "max-connections", 1_024)?,
            grace_time: duration_or_zero(
                settings.grace_time,
                "grace-time",
                Duration::from_secs(5),
            )?,
            drain_time: duration_or_zero(
                settings.drain_time,
                "drain-time",
                Duration::from_secs(20),
            )?,
            secret_name,
            excluded_namespaces: excluded,
            namespace: settings.namespace,
            namespace_mode: settings.namespace_mode.unwrap_or_default(),
            registered_pods: settings.registered_pods.unwrap_or_default(),
            service_accounts,
            argocd_namespaces: argocd_namespaces(settings.argocd_namespaces)?,
            policies,
            policy: Policy {
                cluster_name: cluster_name(settings.cluster_name)?,
                ..policy(settings.policy)?
            },
        })
    }
}

/// Checks the name of the pull Secret, or takes the usual one.
///
/// # Errors
/// [`ConfigError`] when no Secret can have this name.
pub fn secret_name(given: Option<String>) -> Result<String, ConfigError> {
    let name = given.unwrap_or_else(|| DEFAULT_SECRET_NAME.to_owned());
    if is_subdomain(&name) {
        return Ok(name);
    }
    Err(ConfigError(format!(
        "secret-name {name:?} cannot name a Secret: use lower-case letters, digits, - and . only"
    )))
}

/// The namespaces that are left alone: those given, and kube-system always.
pub fn excluded_namespaces(given: Option<Vec<String>>) -> BTreeSet<String> {
    let mut excluded = settings::set(given).unwrap_or_default();
    excluded.insert(ALWAYS_EXCLUDED.to_owned());
    excluded
}

fn argocd_namespaces(given: Option<Vec<String>>) -> Result<Vec<String>, ConfigError> {
    let namespaces: Vec<String> = settings::set(given).into_iter().flatten().collect();
    if let Some(odd) = namespaces.iter().find(|name| !is_valid_name(name)) {
        return Err(ConfigError(format!(
            "argocd-namespaces holds {odd:?}, which cannot name a namespace"
        )));
    }
    Ok(namespaces)
}

fn cluster_name(given: Option<String>) -> Result<Box<str>, ConfigError> {
    let name = given.unwrap_or_default();
    if is_cluster_name(&name) {
        return Ok(name.into());
    }
    Err(ConfigError(format!(
        "cluster-name {name:?} cannot stand in AWS's tags: use at most 100 letters, digits and _ . : / = + - @"
    )))
}

/// Checks the settings about policy and fills in defaults.
///
/// # Errors
/// [`ConfigError`] for the first setting that cannot be used.
pub fn policy(settings: PolicySettings) -> Result<Policy, ConfigError> {
    let allowed_accounts = settings::set(settings.allowed_accounts);
    let odd = allowed_accounts.iter().flatten().find(|id| !is_account(id));
    if let Some(odd) = odd {
        return Err(ConfigError(format!(
            "allowed-accounts holds {odd:?}, which is no AWS account id of 12 digits"
        )));
    }
    let trusted_hosts = settings::set(settings.trusted_hosts).unwrap_or_default();
    let odd = trusted_hosts
        .iter()
        .find(|host| host.contains(['/', '*']) || **host != host.to_lowercase());
    if let Some(odd) = odd {
        return Err(ConfigError(format!(
            "trusted-hosts holds {odd:?}, which is no lower-case host name without path and wildcard"
        )));
    }
    Ok(Policy {
        action: settings.action.unwrap_or_default(),
        on_failure: settings.on_failure.unwrap_or_default(),
        on_internal_error: settings.on_internal_error.unwrap_or_default(),
        trusted_hosts,
        native_registries: settings.native_registries.unwrap_or_default(),
        allowed_accounts,
        allowed_regions: settings::set(settings.allowed_regions),
        default_grant: settings.default_grant,
        ..Policy::default()
    })
}

/// Reads a settings file.
///
/// # Errors
/// [`ConfigError`] naming the file, and the line where there is one.
pub fn read_file(path: &Path) -> Result<ServeSettings, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("cannot read {}: {error}", path.display())))?;
    if text.trim().is_empty() {
        return Ok(ServeSettings::default());
    }
    // kube switches on the parser's `comments`, and then 33 lines of comment in a row would be an error.
    let options = serde_saphyr::options! { emit_comments: false, with_snippet: false };
    let settings = serde_saphyr::from_str_with_options(&text, options);
    settings.map_err(|error| ConfigError(format!("{}: {error}", path.display())))
}

fn any_address(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

fn required<T>(given: Option<T>, name: &str) -> Result<T, ConfigError> {
    given.ok_or_else(|| {
        let variable = name.to_uppercase().replace('-', "_");
        ConfigError(format!(
            "--{name} is missing: give it as a flag, as ECR_ADMISSION_{variable}, or in the --config file"
        ))
    })
}

fn count(given: Option<usize>, name: &str, default: usize) -> Result<usize, ConfigError> {
    match given.unwrap_or(default) {
        0 => Err(ConfigError(format!("{name} must be more than 0"))),
        count => Ok(count),
    }
}

fn duration(
    given: Option<SignedDuration>,
    name: &str,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let duration = duration_or_zero(given, name, default)?;
    if duration.is_zero() {
        return Err(ConfigError(format!("{name} must be more than 0s")));
    }
    Ok(duration)
}

fn duration_or_zero(
    given: Option<SignedDuration>,
    name: &str,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let Some(given) = given else {
        return Ok(default);
    };
    let longest = Duration::from_hours(1);
    Duration::try_from(given)
        .ok()
        .filter(|duration| *duration <= longest)
        .ok_or_else(|| ConfigError(format!("{name} must lie between 0s and 1h, not {given:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> ServeSettings {
        ServeSettings {
            tls_cert: Some("tls.crt".into()),
            tls_key: Some("tls.key".into()),
            ..ServeSettings::default()
        }
    }

    #[test]
    fn kube_system_and_our_own_namespace_are_always_excluded() {
        let config = Config::new(ServeSettings {
            namespace: Some("ours".into()),
            excluded_namespaces: Some(vec!["more".into()]),
            ..complete()
        });
        let excluded = config.unwrap().excluded_namespaces;
        for name in ["kube-system", "ours", "more"] {
            assert!(excluded.contains(name), "{name}");
        }
    }

    #[test]
    fn the_first_one_given_wins() {
        let flags: ServeSettings =
            serde_saphyr::from_str("secretName: a\npolicy: {action: Warn}").unwrap();
        let file: ServeSettings = serde_saphyr::from_str(
            "secretName: b\nmaxConnections: 7\npolicy: {action: Audit, onFailure: Deny}",
        )
        .unwrap();
        let merged = flags.or(file);
        assert_eq!(merged.secret_name.as_deref(), Some("a"));
        assert_eq!(merged.max_connections, Some(7));
        assert_eq!(merged.policy.action, Some(crate::policy::Action::Warn));
        assert_eq!(
            merged.policy.on_failure,
            Some(crate::policy::OnFailure::Deny)
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let refusal = |text: &str| {
            let settings: ServeSettings = serde_saphyr::from_str(text).unwrap();
            Config::new(settings.or(complete()))
                .unwrap_err()
                .to_string()
        };
        insta::assert_snapshot!(refusal("secretName: Pull_Secret"), @r#"secret-name "Pull_Secret" cannot name a Secret: use lower-case letters, digits, - and . only"#);
        insta::assert_snapshot!(refusal("maxConnections: 0"), @"max-connections must be more than 0");
        insta::assert_snapshot!(refusal("tlsPoll: 0s"), @"tls-poll must be more than 0s");
        insta::assert_snapshot!(refusal("clusterName: my cluster"), @r#"cluster-name "my cluster" cannot stand in AWS's tags: use at most 100 letters, digits and _ . : / = + - @"#);
        insta::assert_snapshot!(refusal("graceTime: 2h"), @"grace-time must lie between 0s and 1h, not 2h");
        insta::assert_snapshot!(refusal("policy: {allowedAccounts: [\"12345\"]}"), @r#"allowed-accounts holds "12345", which is no AWS account id of 12 digits"#);
        insta::assert_snapshot!(refusal("policy: {trustedHosts: [\"*.example.com\"]}"), @r#"trusted-hosts holds "*.example.com", which is no lower-case host name without path and wildcard"#);
    }

    #[test]
    fn an_unknown_key_in_the_file_is_refused_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, "listen: 127.0.0.1:1\npolicy:\n  onFialure: Deny\n").unwrap();
        let refusal = read_file(&path).unwrap_err().to_string();
        assert!(
            refusal.contains("onFialure") && refusal.contains("line 3"),
            "{refusal}"
        );
        let comments = "# a line of comment\n".repeat(100);
        for fine in [
            "",
            &comments,
            &format!("{comments}policy:\n{comments}  action: Warn\n"),
        ] {
            std::fs::write(&path, fine).unwrap();
            assert!(read_file(&path).is_ok(), "{fine}");
        }
    }
}
