//! The HTTP client under every call to AWS, credential providers included: with a proxy and extra certificate
//! authorities, which the SDK's own client does not read from the environment.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::dns::{DnsFuture, ResolveDns, ResolveDnsError};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use secrecy::ExposeSecret;

use super::settings::{AwsSettings, SetupError};

/// Builds the client. Reads the CA bundle and the machine's certificates; no network.
pub(super) async fn client(settings: &AwsSettings) -> Result<SharedHttpClient, SetupError> {
    Ok(SharedHttpClient::new(Client::new(settings).await?))
}

/// Its connector alone, for calls that are not the SDK's.
pub(super) async fn connector(
    settings: &AwsSettings,
    timeouts: &HttpConnectorSettings,
) -> Result<SharedHttpConnector, SetupError> {
    Ok(Client::new(settings).await?.connector(timeouts))
}

struct Client {
    tls: TlsContext,
    proxy: ProxyConfig,
    /// One connector (a pool of connections) for each pair of time-outs; there are a handful.
    connectors: Mutex<HashMap<Timeouts, SharedHttpConnector>>,
}

impl Client {
    async fn new(settings: &AwsSettings) -> Result<Self, SetupError> {
        let trust = TrustStore::empty().with_pem_certificate(pem(&roots(settings).await?));
        // Cannot fail: building a context only moves the trust store. The SDK's signature says otherwise.
        let tls = TlsContext::builder().with_trust_store(trust).build();
        Ok(Self {
            tls: tls.unwrap_or_default(),
            proxy: proxy(settings)?,
            connectors: Mutex::default(),
        })
    }

    fn connector(&self, settings: &HttpConnectorSettings) -> SharedHttpConnector {
        let timeouts: Timeouts = (settings.connect_timeout(), settings.read_timeout());
        let mut connectors = self
            .connectors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let connector = connectors.entry(timeouts).or_insert_with(|| {
            let connector = Connector::builder()
                .connector_settings(settings.clone())
                .sleep_impl(TokioSleep::new())
                .proxy_config(self.proxy.clone())
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(self.tls.clone())
                .build_with_resolver(Resolver);
            SharedHttpConnector::new(connector)
        });
        connector.clone()
    }
}

/// To connect and to read.
type Timeouts = (Option<Duration>, Option<Duration>);

impl fmt::Debug for Client {
    /// Shows nothing: the proxy's URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.connector(settings)
    }
}

/// The certificates to trust: the machine's own and those of the bundle. All are known to parse, for the SDK panics
/// over one that does not (and, in debug builds, when the machine has none).
async fn roots(settings: &AwsSettings) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let native = rustls_native_certs::load_native_certs();
    let mut roots: Vec<_> = native.certs.into_iter().filter(is_usable).collect();
    if roots.is_empty() {
        tracing::warn!(
            "this machine has no trusted certificates (is the package ca-certificates missing?): AWS can be reached \
             only through a CA bundle (AWS_CA_BUNDLE)"
        );
    }
    if let Some(path) = &settings.ca_bundle {
        let pem = tokio::fs::read(path).await;
        let pem = pem.map_err(|source| SetupError::UnreadableBundle {
            path: path.clone(),
            source,
        })?;
        let blocks: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect();
        let found = blocks.len();
        let usable: Vec<_> = blocks.into_iter().flatten().filter(is_usable).collect();
        if usable.is_empty() {
            return Err(SetupError::EmptyBundle { path: path.clone() });
        }
        if usable.len() < found {
            tracing::warn!(
                bundle = %path.display(),
                "{} of {found} certificates in the CA bundle are malformed and not trusted",
                found - usable.len()
            );
        }
        roots.extend(usable);
    }
    Ok(roots)
}

fn is_usable(certificate: &CertificateDer<'static>) -> bool {
    rustls::RootCertStore::empty()
        .add(certificate.clone())
        .is_ok()
}

/// The SDK's trust store takes PEM only.
fn pem(certificates: &[CertificateDer<'_>]) -> Vec<u8> {
    let mut pem = String::new();
    for certificate in certificates {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        BASE64_STANDARD.encode_string(certificate, &mut pem);
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    pem.into_bytes()
}

/// A proxy for `https://` only. Plain HTTP is spoken to link-local addresses (instance metadata, container
/// credentials), which no proxy can reach and whose answers are credentials.
fn proxy(settings: &AwsSettings) -> Result<ProxyConfig, SetupError> {
    let Some(url) = &settings.proxy else {
        return Ok(ProxyConfig::disabled());
    };
    let url = url.expose_secret().trim();
    let proxy = if url.contains("://") {
        ProxyConfig::https(url)
    } else {
        ProxyConfig::https(format!("http://{url}"))
    };
    // curl and Go read "*.example.com" as "example.com and below it"; the SDK's matcher knows only the latter.
    let no_proxy: Vec<_> = settings
        .no_proxy
        .split(',')
        .map(|rule| rule.trim().trim_start_matches("*."))
        .collect();
    proxy
        .map(|proxy| proxy.no_proxy(no_proxy.join(",")))
        .map_err(|_| SetupError::Proxy)
}

/// The system's resolver, with errors that say which name they are about.
#[derive(Clone, Debug)]
struct Resolver;

impl ResolveDns for Resolver {
    fn resolve_dns<'a>(&'a self, name: &'a str) -> DnsFuture<'a> {
        DnsFuture::new(async move {
            match tokio::net::lookup_host((name, 0)).await {
                Ok(addresses) => Ok(addresses.map(|address| address.ip()).collect()),
                Err(cause) => Err(ResolveDnsError::new(LookupFailed {
                    host: name.to_owned(),
                    cause: cause.to_string(),
                })),
            }
        })
    }
}

/// A name that could not be resolved.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot resolve {host}: {cause}")]
pub(super) struct LookupFailed {
    pub(super) host: String,
    pub(super) cause: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(proxy: &str) -> AwsSettings {
        AwsSettings {
            proxy: Some(proxy.to_owned().into()),
            ..AwsSettings::default()
        }
    }

    #[test]
    fn a_proxy_may_lack_its_scheme_but_must_speak_http() {
        for good in [
            "proxy:3128",
            "http://proxy:3128",
            "https://u:p@proxy:3128",
            "[::1]:1",
        ] {
            assert!(proxy(&settings(good)).is_ok(), "{good}");
        }
        for bad in [
            "socks5://u:hunter2@proxy:1",
            "http://",
            "http://a b",
            "u:hunter2@",
        ] {
            let error = proxy(&settings(bad)).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_bundle_that_is_missing_or_no_pem_is_refused_at_start() {
        let bundle = tempfile::NamedTempFile::new().unwrap();
        for (content, reason) in [
            ("", "no usable certificate"),
            ("not PEM", "no usable certificate"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "no usable certificate",
            ),
        ] {
            std::fs::write(bundle.path(), content).unwrap();
            let told = AwsSettings {
                ca_bundle: Some(bundle.path().to_owned()),
                ..AwsSettings::default()
            };
            let error = client(&told).await.unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let gone = AwsSettings {
            ca_bundle: Some("/nonexistent/bundle.pem".into()),
            ..AwsSettings::default()
        };
        let error = client(&gone).await.unwrap_err().to_string();
        assert!(error.contains("/nonexistent/bundle.pem"), "{error}");
    }
}
