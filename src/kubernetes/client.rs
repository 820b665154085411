//! Finds the cluster and makes the clients for it.

use std::path::Path;
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tower::util::MapResponseLayer;

use super::dates::Dates;
use super::errors::describe;
use crate::clock::Clock;

/// Time for TCP and TLS to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection of the request client that has been silent for so long is closed, in use or not: each call has its own
/// shorter limit, so this only keeps dead connections from waiting in the pool for the next call.
const IDLE_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// What the API server sets in every Pod; without it we are not in a cluster.
const IN_CLUSTER_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";

/// A cluster that was found. The two clients share nothing: a watch must not die of a request's time-outs.
#[derive(Clone)]
pub struct Cluster {
    /// For requests; each call is bounded in time by whoever makes it.
    pub requests: Client,
    /// For lists and watches, which bound their own silence.
    pub watches: Client,
    /// The namespace that we run in; known only inside a cluster.
    pub own_namespace: Option<String>,
    /// The namespace that is meant when none is named: our own, or that of the kubeconfig's context.
    pub default_namespace: String,
    /// The API server's URL, for people.
    pub url: String,
    dates: Dates,
}

impl Cluster {
    /// From now on, what time it is by the API server's answers is told to `clock`; only the first is told.
    pub fn tell_time(&self, clock: &Clock) {
        self.dates.tell(clock);
    }
}

/// Why there is no cluster to talk to: one sentence for people.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(String);

/// Finds the cluster and makes its clients, without talking to it yet. A `kubeconfig` or `context` given here, or the
/// variable `KUBECONFIG`, chooses a kubeconfig; otherwise the Pod's ServiceAccount is used when we run in a Pod, and
/// `~/.kube/config` when not.
///
/// # Errors
/// A sentence that says where a cluster was looked for and what is wrong there.
pub async fn connect(
    kubeconfig: Option<&Path>,
    context: Option<&str>,
) -> Result<Cluster, ConnectError> {
    let chosen = kubeconfig.is_some() || context.is_some() || is_set("KUBECONFIG");
    let (config, own_namespace) = if !chosen && is_set(IN_CLUSTER_VARIABLE) {
        let config = Config::incluster().map_err(|error| {
            ConnectError(format!(
                "no cluster: {IN_CLUSTER_VARIABLE} is set, but the Pod's ServiceAccount cannot be used ({error}); \
                 check automountServiceAccountToken, or give a kubeconfig"
            ))
        })?;
        let namespace = config.default_namespace.clone();
        (config, Some(namespace))
    } else {
        (from_kubeconfig(kubeconfig, context).await?, None)
    };
    clients(config, own_namespace)
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

async fn from_kubeconfig(
    path: Option<&Path>,
    context: Option<&str>,
) -> Result<Config, ConnectError> {
    let missing = |error: KubeconfigError| {
        let source = path.map_or_else(
            || {
                format!(
                    "neither in a Pod ({IN_CLUSTER_VARIABLE} is not set) nor by KUBECONFIG or ~/.kube/config"
                )
            },
            |path| format!("not by {}", path.display()),
        );
        ConnectError(format!("no cluster: {source}: {error}"))
    };
    let file = path.map_or_else(Kubeconfig::read, Kubeconfig::read_from);
    let file = file.map_err(missing)?;
    let explicit_proxy = has_proxy(&file, context);
    let options = KubeConfigOptions {
        context: context.map(str::to_owned),
        ..KubeConfigOptions::default()
    };
    let mut config = Config::from_custom_kubeconfig(file, &options)
        .await
        .map_err(missing)?;
    // kube takes HTTPS_PROXY (set for AWS, perhaps) for every API server, also for one on loopback or in NO_PROXY.
    let direct = is_loopback(&config.cluster_url)
        || Matcher::from_env().intercept(&config.cluster_url).is_none();
    if direct && !explicit_proxy {
        config.proxy_url = None;
    }
    Ok(config)
}

/// Whether the kubeconfig itself names a proxy for the chosen context's cluster.
fn has_proxy(file: &Kubeconfig, context: Option<&str>) -> bool {
    let Some(context) = context.or(file.current_context.as_deref()) else {
        return false;
    };
    let named = file.contexts.iter().find(|named| named.name == context);
    let Some(context) = named.and_then(|named| named.context.as_ref()) else {
        return false;
    };
    file.clusters
        .iter()
        .filter(|named| named.name == context.cluster)
        .filter_map(|named| named.cluster.as_ref()?.proxy_url.as_deref())
        .any(|url| !url.is_empty())
}

fn is_loopback(url: &Uri) -> bool {
    url.host().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}

fn clients(mut config: Config, own_namespace: Option<String>) -> Result<Cluster, ConnectError> {
    let url = config.cluster_url.to_string();
    let default_namespace = config.default_namespace.clone();
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // kube's own retries ignore our deadlines and our jitter; whoever calls decides what is tried again.
    config.default_retry = false;
    let mut for_requests = config.clone();
    for_requests.read_timeout = Some(IDLE_REQUEST_TIMEOUT);
    for_requests.reset_reader_on_write = true;
    let dates = Dates::default();
    let client = |config: Config| {
        let dates = dates.clone();
        let telling = MapResponseLayer::new(move |answer| dates.note(answer));
        let built =
            ClientBuilder::try_from(config).map(|client| client.with_layer(&telling).build());
        built.map_err(|error| {
            ConnectError(format!(
                "no client for the cluster at {url}: {}",
                describe(&error)
            ))
        })
    };
    Ok(Cluster {
        requests: client(for_requests)?,
        watches: client(config)?,
        own_namespace,
        default_namespace,
        url: url.clone(),
        dates,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kubeconfig(proxy: &str) -> Kubeconfig {
        Kubeconfig::from_yaml(&format!(
            "{{clusters: [{{name: c, cluster: {{server: 'https://k', proxy-url: '{proxy}'}}}}], \
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}], current-context: x}}"
        ))
        .unwrap()
    }

    #[test]
    fn a_proxy_named_in_the_kubeconfig_is_kept() {
        assert!(has_proxy(&kubeconfig("http://proxy:3128"), None));
        assert!(has_proxy(&kubeconfig("http://proxy:3128"), Some("x")));
        assert!(!has_proxy(&kubeconfig("http://proxy:3128"), Some("y")));
        assert!(!has_proxy(&kubeconfig(""), None));
    }

    #[test]
    fn loopback_is_recognised_in_every_form() {
        for url in [
            "http://127.0.0.1:1/",
            "https://localhost:6443",
            "https://[::1]:6443/x",
        ] {
            assert!(is_loopback(&url.parse().unwrap()), "{url}");
        }
        for url in [
            "https://10.0.0.1",
            "https://kubernetes.default.svc",
            "https://127.example",
        ] {
            assert!(!is_loopback(&url.parse().unwrap()), "{url}");
        }
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_or_context_is_a_sentence_that_names_it() {
        let error = connect(Some(Path::new("/nowhere/kubeconfig")), None)
            .await
            .err()
            .unwrap();
        assert!(error.to_string().contains("/nowhere/kubeconfig"), "{error}");

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{apiVersion: v1, kind: Config, contexts: []}").unwrap();
        let error = connect(Some(file.path()), Some("production"))
            .await
            .err()
            .unwrap();
        assert!(error.to_string().contains("production"), "{error}");
    }
}
