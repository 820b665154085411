//! A registry itself, as whoever pulls meets it: whether a token opens an image there.

use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::http;
use super::settings::{AwsSettings, SetupError};
use super::transport::{self, words};
use crate::token::{Token, USERNAME};

/// A person waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// What a puller understands; a registry answers 404 to one that does not understand an image's own kind.
const KINDS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A client of registries.
#[derive(Debug)]
pub struct Registry(SharedHttpConnector);

/// What a registry says to somebody who wants an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The image can be pulled.
    Allowed,
    /// Not with this token, with this HTTP status: 401 or 403.
    Refused(u16),
}

impl Registry {
    /// Reads the CA bundle and the machine's certificates; no network.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub async fn new(settings: &AwsSettings) -> Result<Self, SetupError> {
        let timeouts = HttpConnectorSettings::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build();
        http::connector(settings, &timeouts).await.map(Self)
    }

    /// Asks for the manifest of an image, of this tag or digest, as a pull begins.
    ///
    /// # Errors
    /// A sentence, when the answer is neither yes nor no.
    pub async fn read(
        &self,
        host: &str,
        repository: &str,
        version: &str,
        token: &Token,
    ) -> Result<Reading, String> {
        let image = format!("{host}/{repository}, {version},");
        let request = request(host, repository, version, token)
            .ok_or_else(|| format!("{image} makes no URL"))?;
        let answer = self.0.call(request).await.map_err(|error| {
            let known = transport::explain(&error, host, None);
            known.map_or_else(|| words(&error), |(_, sentence)| sentence)
        })?;
        match answer.status().as_u16() {
            200 => Ok(Reading::Allowed),
            status @ (401 | 403) => Ok(Reading::Refused(status)),
            404 => Err(format!(
                "{image} does not exist (HTTP 404): name an image that does"
            )),
            429 => Err(format!("{host} asks to slow down (HTTP 429)")),
            status => Err(format!("{host} answers HTTP {status} for {image}")),
        }
    }
}

fn request(host: &str, repository: &str, version: &str, token: &Token) -> Option<HttpRequest> {
    let mut request = HttpRequest::empty();
    request.set_method("HEAD").ok()?;
    let url = format!("https://{host}/v2/{repository}/manifests/{version}");
    request.set_uri(url).ok()?;
    let login = Zeroizing::new(format!("{USERNAME}:{}", token.password()));
    let login = BASE64_STANDARD.encode(login.as_bytes());
    let headers = request.headers_mut();
    headers
        .try_insert("authorization", format!("Basic {login}"))
        .ok()?;
    headers.try_insert("accept", KINDS).ok()?;
    Some(request)
}
