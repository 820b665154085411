//! The Kubernetes API server: the only place that knows a kube client.
//!
//! | module | does |
//! |---|---|
//! | [`census`] | Pods and what makes Pods, page by page |
//! | [`certificate_secret`] | the one Secret of self-managed certificates |
//! | [`client`] | finds the cluster; one client for requests, one for watches |
//! | [`installation`] | [`Installation`](crate::cleanup::Installation): what `cleanup` takes away |
//! | [`repositories`] | [`RepositoryStore`](crate::repository::RepositoryStore): Argo CD's repository Secrets |
//! | [`secrets`] | [`SecretStore`](crate::secret::SecretStore) over the API, and the metadata watch of the pull Secrets |
//! | [`inventory`] | namespaces, and the images that Pods and workload templates name, asked once |
//! | [`events`] | [`EventSink`](crate::event::EventSink): Events about objects that somebody must act on |
//! | [`live`] | [`LiveReads`](crate::rulebook::LiveReads): a namespace or a policy as it is now |
//! | [`namespaces`] | the metadata watch of namespaces |
//! | [`policies`] | [`PolicyStore`](crate::policy_book::PolicyStore) over the API, and the watch of EcrPolicies |
//! | [`policy_list`] | the EcrPolicies, asked once |
//! | [`pods`] | [`PodImages`](crate::secret::PodImages): the images that a namespace's Pods name |
//! | [`service_accounts`] | [`ServiceAccountStore`](crate::service_account::ServiceAccountStore) over the API |
//! | [`watch`] | list, then watch, forever: what feeds a [`Mirror`](crate::watch::Mirror) |
//! | `watch_one` | the same for one object by name, of which nothing is kept |
//! | [`webhooks`] | the `caBundle` of our webhook configurations, and nothing else of them |

pub mod census;
pub mod certificate_secret;
pub mod client;
mod dates;
mod errors;
pub mod events;
mod forbidden;
pub mod installation;
pub mod inventory;
mod list;
pub mod live;
mod managed_fields;
pub mod namespaces;
pub mod pods;
pub mod policies;
pub mod policy_list;
pub mod repositories;
pub mod secrets;
pub mod service_accounts;
pub mod watch;
mod watch_one;
pub mod webhooks;
mod wire;

pub use census::KubeCensus;
pub use certificate_secret::{KubeCertificateStore, watch_certificate_secret};
pub use client::{Cluster, ConnectError, connect};
pub use events::KubeEvents;
pub use installation::KubeInstallation;
pub use inventory::KubeInventory;
pub use live::KubeLive;
pub use namespaces::watch_namespaces;
pub use pods::KubePodImages;
pub use policies::{KubePolicies, watch_policies};
pub use policy_list::{ListedPolicies, list_policies};
pub use repositories::{KubeRepositories, watch_repository_annotation};
pub use secrets::{KubeSecretStore, watch_secrets};
pub use service_accounts::{KubeServiceAccounts, watch_service_accounts};
pub use watch::{Pace, Watch, WatchState};
pub use webhooks::{ConfigurationKind, KubeWebhookConfigurations, watch_webhook_configuration};
