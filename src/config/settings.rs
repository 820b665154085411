//! Settings as they are given: by flag, by environment, or in a file. Nothing is checked here but the form.
//!
//! One struct serves all three, so that a setting has one name, one type and one description.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use jiff::SignedDuration;
use serde::Deserialize;

use crate::namespace::NamespaceMode;
use crate::policy::{Action, DefaultGrant, NativeRegistry, OnFailure};
use crate::policy_book::RegisteredPods;

/// Declares a struct of optional settings with a merge that lets the first one given win.
macro_rules! settings {
    (
        $(#[$meta:meta])* $name:ident {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        }
        $(nested { $($(#[$nested_meta:meta])* $nested:ident: $nested_type:ty,)* })?
    ) => {
        $(#[$meta])*
        #[derive(Args, Clone, Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: Option<$type>,)*
            $($($(#[$nested_meta])* pub $nested: $nested_type,)*)?
        }

        impl $name {
            /// These settings, and where one was not given, that of `other`.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self {
                    $($field: self.$field.or(other.$field),)*
                    $($($nested: self.$nested.or(other.$nested),)*)?
                }
            }
        }
    };
}

settings! {
    /// What is allowed, and what happens when something fails.
    PolicySettings {
        /// What happens to an ECR image that breaks a rule: Enforce refuses the Pod, Warn lets it pass with a warning,
        /// Audit only records it [default: Enforce]
        #[arg(long, env = "ECR_ADMISSION_ACTION", value_name = "ACTION", help_heading = "Policy")]
        action: Action,

        /// What happens to a Pod for which no pull credential can be had: Admit (it heals by itself) or Deny
        /// [default: Admit]
        #[arg(long, env = "ECR_ADMISSION_ON_FAILURE", value_name = "CHOICE", help_heading = "Policy")]
        on_failure: OnFailure,

        /// What happens to a Pod when ecr-admission itself fails: Admit or Deny [default: Admit]
        #[arg(long, env = "ECR_ADMISSION_ON_INTERNAL_ERROR", value_name = "CHOICE", help_heading = "Policy")]
        on_internal_error: OnFailure,

        /// Registries of your own whose names look like ECR, such as ecr.example.com (comma-separated)
        #[arg(long, env = "ECR_ADMISSION_TRUSTED_HOSTS", value_name = "HOST", value_delimiter = ',', help_heading = "Policy")]
        trusted_hosts: Vec<String>,

        /// Private ECR registries that the nodes can pull from by themselves, as hosts, host patterns with * for a
        /// whole part, or account ids (comma-separated): they get no Secret, their references are still checked
        #[arg(long, env = "ECR_ADMISSION_NATIVE_REGISTRIES", value_name = "REGISTRY", value_delimiter = ',', help_heading = "Policy")]
        native_registries: Vec<NativeRegistry>,

        /// The only AWS accounts whose registries may be used (comma-separated) [default: all]
        #[arg(long, env = "ECR_ADMISSION_ALLOWED_ACCOUNTS", value_name = "ACCOUNT", value_delimiter = ',', help_heading = "Policy")]
        allowed_accounts: Vec<String>,

        /// The only AWS regions whose registries may be used (comma-separated) [default: all]
        #[arg(long, env = "ECR_ADMISSION_ALLOWED_REGIONS", value_name = "REGION", value_delimiter = ',', help_heading = "Policy")]
        allowed_regions: Vec<String>,

        /// What namespaces are granted that no policy with grants selects: Controller (every registry, with the identity of
        /// ecr-admission) or None [default: Controller, and None as soon as a policy names a role]
        #[arg(long, env = "ECR_ADMISSION_DEFAULT_GRANT", value_name = "CHOICE", help_heading = "Policy")]
        default_grant: DefaultGrant,
    }
}

settings! {
    /// Certificates that look after themselves.
    SelfManagedSettings {
        /// The Service that the API server calls: the certificate is for its names [default: ecr-admission]
        #[arg(long, env = "ECR_ADMISSION_SERVICE", value_name = "NAME", help_heading = "Self-managed certificates")]
        service: String,

        /// The name of our mutating and of our validating webhook configuration, whose caBundle is kept right
        /// [default: zz-ecr-admission]
        #[arg(long, env = "ECR_ADMISSION_WEBHOOK_CONFIGURATION", value_name = "NAME", help_heading = "Self-managed certificates")]
        webhook_configuration: String,

        /// The Secret in our own namespace that holds the authority and the certificate [default: ecr-admission-tls]
        #[arg(long, env = "ECR_ADMISSION_TLS_SECRET_NAME", value_name = "NAME", help_heading = "Self-managed certificates")]
        tls_secret_name: String,

        /// For how long a certificate is valid, such as 2160h; it is renewed at two thirds of that [default: 2160h]
        #[arg(long, env = "ECR_ADMISSION_TLS_LEAF_LIFE", value_name = "TIME", help_heading = "Self-managed certificates")]
        tls_leaf_life: SignedDuration,

        /// For how long an authority is valid, at least three times the life of a certificate; it is replaced at two
        /// thirds of that [default: 8760h]
        #[arg(long, env = "ECR_ADMISSION_TLS_AUTHORITY_LIFE", value_name = "TIME", help_heading = "Self-managed certificates")]
        tls_authority_life: SignedDuration,

        /// How long API servers may need to learn of a changed caBundle: a certificate of a new authority is served so
        /// much later than the caBundle carries that authority [default: 1m]
        #[arg(long, env = "ECR_ADMISSION_TLS_PROPAGATION", value_name = "TIME", help_heading = "Self-managed certificates")]
        tls_propagation: SignedDuration,

        /// How far the clocks in the cluster may be apart [default: 20m]
        #[arg(long, env = "ECR_ADMISSION_TLS_CLOCK_SKEW", value_name = "TIME", help_heading = "Self-managed certificates", hide_short_help = true)]
        tls_clock_skew: SignedDuration,

        /// The age at which a certificate is renewed, in place of two thirds of its life
        #[arg(long, env = "ECR_ADMISSION_TLS_LEAF_RENEWAL", value_name = "TIME", help_heading = "Self-managed certificates", hide_short_help = true)]
        tls_leaf_renewal: SignedDuration,

        /// The age at which an authority is replaced, in place of two thirds of its life
        #[arg(long, env = "ECR_ADMISSION_TLS_AUTHORITY_RENEWAL", value_name = "TIME", help_heading = "Self-managed certificates", hide_short_help = true)]
        tls_authority_renewal: SignedDuration,
    }
}

settings! {
    /// The settings of `serve`. Each can be a flag, an environment variable, or a key of the --config file (camelCase;
    /// those about self-managed certificates under `selfManaged`, those about policy under `policy`); a flag wins over
    /// the environment, the environment over the file.
    ServeSettings {
        /// Where the webhooks listen, with TLS [default: 0.0.0.0:8443]
        #[arg(long, env = "ECR_ADMISSION_LISTEN", value_name = "ADDRESS", help_heading = "Serving")]
        listen: SocketAddr,

        /// Where /livez, /readyz and /metrics listen, without TLS [default: 0.0.0.0:8080]
        #[arg(long, env = "ECR_ADMISSION_ADMIN_LISTEN", value_name = "ADDRESS", help_heading = "Serving")]
        admin_listen: SocketAddr,

        /// The certificate chain that is served, PEM, the leaf first; read again when its contents change. Without it
        /// and --tls-key, certificates are self-managed
        #[arg(long, env = "ECR_ADMISSION_TLS_CERT", value_name = "FILE", help_heading = "Serving")]
        tls_cert: PathBuf,

        /// The private key of that certificate, PEM
        #[arg(long, env = "ECR_ADMISSION_TLS_KEY", value_name = "FILE", help_heading = "Serving")]
        tls_key: PathBuf,

        /// Names that the certificate in those files must be for, such as ecr-admission.ecr-admission.svc; one that lacks a
        /// name is not served (comma-separated) [default: any]
        #[arg(long, env = "ECR_ADMISSION_TLS_NAMES", value_name = "NAME", value_delimiter = ',', help_heading = "Serving")]
        tls_names: Vec<String>,

        /// How often the certificate files are looked at [default: 5s]
        #[arg(long, env = "ECR_ADMISSION_TLS_POLL", value_name = "TIME", help_heading = "Serving")]
        tls_poll: SignedDuration,

        /// The authorities of clients, PEM; read again when its contents change. A client without a certificate of
        /// theirs is refused [default: clients need none]
        #[arg(long, env = "ECR_ADMISSION_CLIENT_CA", value_name = "FILE", help_heading = "Serving")]
        client_ca: PathBuf,

        /// The most connections at once; more are refused [default: 1024]
        #[arg(long, env = "ECR_ADMISSION_MAX_CONNECTIONS", value_name = "COUNT", help_heading = "Serving")]
        max_connections: usize,

        /// How long to go on serving after SIGTERM, while /readyz already says no [default: 5s]
        #[arg(long, env = "ECR_ADMISSION_GRACE_TIME", value_name = "TIME", help_heading = "Serving")]
        grace_time: SignedDuration,

        /// How long requests under way may take to end after that [default: 20s]
        #[arg(long, env = "ECR_ADMISSION_DRAIN_TIME", value_name = "TIME", help_heading = "Serving")]
        drain_time: SignedDuration,

        /// The name of the pull Secret in every namespace [default: ecr-pull-secret]
        #[arg(long, env = "ECR_ADMISSION_SECRET_NAME", value_name = "NAME", help_heading = "Kubernetes")]
        secret_name: String,

        /// Namespaces that are left alone, kube-system and our own always among them (comma-separated)
        #[arg(long, env = "ECR_ADMISSION_EXCLUDED_NAMESPACES", value_name = "NAMESPACE", value_delimiter = ',', help_heading = "Kubernetes")]
        excluded_namespaces: Vec<String>,

        /// The namespace that ecr-admission itself runs in [default: that of the Pod's ServiceAccount]
        #[arg(long, env = "ECR_ADMISSION_NAMESPACE", value_name = "NAMESPACE", help_heading = "Kubernetes")]
        namespace: String,

        /// Which namespaces are selected by the label ecr-admission.dev/admission, as the registration of the webhooks
        /// has it: OptOut (all but those that say disabled) or OptIn (those that say enabled) [default: OptOut]
        #[arg(long, env = "ECR_ADMISSION_NAMESPACE_MODE", value_name = "MODE", ignore_case = true, help_heading = "Kubernetes")]
        namespace_mode: NamespaceMode,

        /// Which Pods the API server asks about, as the registration of the webhooks has it: Ecr (those that name something
        /// like ECR) or All (webhooks.allImages of the chart), which policies with allowedImages or onlyEcr need; their
        /// status says so [default: Ecr]
        #[arg(long, env = "ECR_ADMISSION_REGISTERED_PODS", value_name = "PODS", ignore_case = true, help_heading = "Kubernetes")]
        registered_pods: RegisteredPods,

        /// What is done with the imagePullSecrets of ServiceAccounts: Never (nothing), Add (the pull Secret is named in
        /// those of the selected namespaces) or Remove (it is taken out of all; choose it before Never) [default: Never]
        #[arg(long, env = "ECR_ADMISSION_SERVICE_ACCOUNT_MODE", value_name = "MODE", ignore_case = true, help_heading = "Kubernetes")]
        service_account_mode: ServiceAccountMode,

        /// The ServiceAccounts of each selected namespace that Add is about; * for all of them (comma-separated)
        /// [default: default]
        #[arg(long, env = "ECR_ADMISSION_SERVICE_ACCOUNTS", value_name = "NAME", value_delimiter = ',', help_heading = "Kubernetes")]
        service_accounts: Vec<String>,

        /// Namespaces of Argo CD that may ask for repository Secrets, by the annotation
        /// ecr-admission.dev/argocd-repositories (comma-separated)
        #[arg(long, env = "ECR_ADMISSION_ARGOCD_NAMESPACES", value_name = "NAMESPACE", value_delimiter = ',', help_heading = "Kubernetes")]
        argocd_namespaces: Vec<String>,

        /// What this cluster is called in AWS: in the names of the sessions of roles that policies grant, hence in
        /// CloudTrail, and in their tags where a policy wants them
        #[arg(long, env = "ECR_ADMISSION_CLUSTER_NAME", value_name = "NAME", help_heading = "AWS")]
        cluster_name: String,

        /// Where EcrPolicies come from: None, Cluster (the objects in the cluster, whose CustomResourceDefinition must be
        /// there) or Files [default: Files where there are some, and None otherwise]
        #[arg(long, env = "ECR_ADMISSION_POLICY_SOURCE", value_name = "SOURCE", ignore_case = true, help_heading = "Kubernetes")]
        policy_source: PolicySource,

        /// EcrPolicies as files, or directories of .yaml, .yml and .json, read again every five seconds (comma-separated)
        #[arg(long, alias = "policy", env = "ECR_ADMISSION_POLICY_FILES", value_name = "FILE|DIR", value_delimiter = ',', help_heading = "Kubernetes")]
        policy_files: Vec<PathBuf>,

        /// How log lines look: text or json [default: text]
        #[arg(long, env = "ECR_ADMISSION_LOG_FORMAT", value_name = "FORMAT", help_heading = "Logging")]
        log_format: LogFormat,

        /// What is logged: error, warn, info or debug, or directives such as info,ecr_admission=debug
        /// [default: info]
        #[arg(long, env = "ECR_ADMISSION_LOG", value_name = "LEVEL", help_heading = "Logging")]
        log: String,
    }
    nested {
        /// Settings about self-managed certificates.
        #[command(flatten)]
        self_managed: SelfManagedSettings,
        /// Settings about policy.
        #[command(flatten)]
        policy: PolicySettings,
    }
}

/// What is done with ServiceAccounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum ServiceAccountMode {
    /// Nothing.
    #[default]
    Never,
    /// Ours is put in where it is missing.
    Add,
    /// Ours is taken out everywhere.
    Remove,
}

/// Where EcrPolicies come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum PolicySource {
    /// There are none.
    None,
    /// From files.
    Files,
    /// From the cluster.
    Cluster,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Lists as sets; an absent or empty list is no restriction.
pub(super) fn set(list: Option<Vec<String>>) -> Option<BTreeSet<String>> {
    let set: BTreeSet<String> = list
        .unwrap_or_default()
        .iter()
        .map(|item| item.trim().to_owned())
        .filter(|item| !item.is_empty())
        .collect();
    (!set.is_empty()).then_some(set)
}
