//! The settings about the serving certificate, checked.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

use super::settings::{SelfManagedSettings, ServeSettings};
use super::{ConfigError, duration, required};
use crate::certificate::managed::Plan;
use crate::namespace::is_subdomain;

const SERVICE: &str = "ecr-admission";
const TLS_SECRET: &str = "ecr-admission-tls";
/// What our webhook configurations are called where nothing else is set. They sort last on purpose.
pub const DEFAULT_WEBHOOK_CONFIGURATION: &str = "zz-ecr-admission";
/// The longest life that can be set: ten years.
const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

/// Where the serving certificate comes from.
#[derive(Clone, Debug)]
pub enum CertificateConfig {
    /// From files that somebody else keeps.
    Files {
        /// The certificate chain's file.
        cert: PathBuf,
        /// The private key's file.
        key: PathBuf,
        /// Names that a certificate must be for to be served.
        names: Vec<String>,
    },
    /// From ourselves.
    SelfManaged(SelfManaged),
}

/// The checked settings about self-managed certificates.
#[derive(Clone, Debug)]
pub struct SelfManaged {
    /// The name of our webhook configurations.
    pub webhook_configuration: String,
    /// The name of the Secret in our own namespace.
    pub secret_name: String,
    service: String,
    /// Its names are those in no namespace yet.
    plan: Plan,
}

impl SelfManaged {
    /// What is to be made for a Service in `namespace`.
    pub fn plan(&self, namespace: &str) -> Plan {
        Plan {
            names: Plan::for_service(&self.service, namespace).names,
            ..self.plan.clone()
        }
    }
}

impl CertificateConfig {
    /// Files when both are given, ourselves when neither is.
    pub(super) fn new(settings: &mut ServeSettings) -> Result<Self, ConfigError> {
        let (cert, key) = (settings.tls_cert.take(), settings.tls_key.take());
        if cert.is_none() && key.is_none() {
            let settings = std::mem::take(&mut settings.self_managed);
            return self_managed(settings).map(Self::SelfManaged);
        }
        Ok(Self::Files {
            cert: required(cert, "tls-cert")?,
            key: required(key, "tls-key")?,
            names: settings.tls_names.take().unwrap_or_default(),
        })
    }
}

fn self_managed(settings: SelfManagedSettings) -> Result<SelfManaged, ConfigError> {
    let service = name(settings.service, "service", SERVICE)?;
    if service.contains('.') || service.len() > 63 {
        return Err(ConfigError(format!(
            "service {service:?} cannot name a Service: use at most 63 lower-case letters, digits and -"
        )));
    }
    let default = Plan::for_service(&service, "");
    let plan = Plan {
        leaf_life: life(settings.tls_leaf_life, "tls-leaf-life", default.leaf_life)?,
        authority_life: life(
            settings.tls_authority_life,
            "tls-authority-life",
            default.authority_life,
        )?,
        propagation: duration(
            settings.tls_propagation,
            "tls-propagation",
            default.propagation,
        )?,
        clock_skew: duration(
            settings.tls_clock_skew,
            "tls-clock-skew",
            default.clock_skew,
        )?,
        leaf_renewal: optional(settings.tls_leaf_renewal, "tls-leaf-renewal")?,
        authority_renewal: optional(settings.tls_authority_renewal, "tls-authority-renewal")?,
        names: Vec::new(),
    };
    if plan.authority_life < plan.leaf_life * 3 {
        return Err(ConfigError(
            "tls-authority-life must be at least three times tls-leaf-life: an authority that is being replaced has to \
             outlive the certificates that it has signed"
                .to_owned(),
        ));
    }
    Ok(SelfManaged {
        webhook_configuration: name(
            settings.webhook_configuration,
            "webhook-configuration",
            DEFAULT_WEBHOOK_CONFIGURATION,
        )?,
        secret_name: name(settings.tls_secret_name, "tls-secret-name", TLS_SECRET)?,
        service,
        plan,
    })
}

fn name(given: Option<String>, setting: &str, default: &str) -> Result<String, ConfigError> {
    let name = given.unwrap_or_else(|| default.to_owned());
    if is_subdomain(&name) {
        return Ok(name);
    }
    Err(ConfigError(format!(
        "{setting} {name:?} is no name of Kubernetes: use lower-case letters, digits, - and . only"
    )))
}

fn life(
    given: Option<SignedDuration>,
    name: &str,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let given = given.map(|given| {
        Duration::try_from(given)
            .ok()
            .filter(|life| *life >= Duration::from_secs(1) && *life <= LONGEST)
            .ok_or_else(|| {
                ConfigError(format!(
                    "{name} must lie between 1s and 87600h, not {given:#}"
                ))
            })
    });
    given.unwrap_or(Ok(default))
}

fn optional(given: Option<SignedDuration>, name: &str) -> Result<Option<Duration>, ConfigError> {
    let positive = |given: SignedDuration| {
        Duration::try_from(given)
            .ok()
            .filter(|age| !age.is_zero())
            .ok_or_else(|| ConfigError(format!("{name} must be more than 0s, not {given:#}")))
    };
    given.map(positive).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(yaml: &str) -> Result<CertificateConfig, ConfigError> {
        CertificateConfig::new(&mut serde_saphyr::from_str(yaml).unwrap())
    }

    #[test]
    fn certificates_are_self_managed_unless_files_are_given() {
        let CertificateConfig::SelfManaged(config) = config("listen: 127.0.0.1:1").unwrap() else {
            panic!("files");
        };
        assert_eq!(config.webhook_configuration, "zz-ecr-admission");
        let plan = config.plan("ours");
        assert_eq!(plan, Plan::for_service("ecr-admission", "ours"));
        let files = super::super::ServeSettings {
            tls_cert: Some("a".into()),
            tls_key: Some("b".into()),
            ..ServeSettings::default()
        };
        let files = CertificateConfig::new(&mut files.clone()).unwrap();
        assert!(matches!(files, CertificateConfig::Files { .. }));
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name() {
        let refusal = |yaml| config(yaml).unwrap_err().to_string();
        insta::assert_snapshot!(refusal("tlsCert: a"), @"--tls-key is missing: give it as a flag, as ECR_ADMISSION_TLS_KEY, or in the --config file");
        insta::assert_snapshot!(refusal("selfManaged: {service: a.b}"), @r#"service "a.b" cannot name a Service: use at most 63 lower-case letters, digits and -"#);
        insta::assert_snapshot!(refusal("selfManaged: {tlsSecretName: A}"), @r#"tls-secret-name "A" is no name of Kubernetes: use lower-case letters, digits, - and . only"#);
        insta::assert_snapshot!(refusal("selfManaged: {tlsLeafLife: 0s}"), @"tls-leaf-life must lie between 1s and 87600h, not 0s");
        insta::assert_snapshot!(refusal("selfManaged: {tlsLeafLife: 4000h}"), @"tls-authority-life must be at least three times tls-leaf-life: an authority that is being replaced has to outlive the certificates that it has signed");
    }
}
