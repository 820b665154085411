//! The client side of the demo: a real TLS connection that trusts the demo's CA and nothing else, as an API server
//! trusts a `caBundle`.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A kept-alive HTTPS connection to the demo's own server.
pub(super) struct Client {
    connection: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects to `address`, which must prove with `ca_pem` that it is `localhost`.
    pub(super) async fn connect(address: SocketAddr, ca_pem: &str) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes())?)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(address).await?;
        // Otherwise Nagle's algorithm and delayed acknowledgements add 40 ms to the first answer.
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let tls = TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await?;
        let (connection, driver) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await?;
        tokio::spawn(driver);
        Ok(Self { connection })
    }

    /// Posts a review and returns the `response` of the answer.
    pub(super) async fn post(&mut self, review: &Value) -> anyhow::Result<Value> {
        let request = Request::post("/mutate?timeout=5s")
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(review.to_string()))?;
        self.connection.ready().await?;
        let response = self.connection.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        ensure!(
            status == StatusCode::OK,
            "the demo's server answered {status}"
        );
        let mut answer: Value = serde_json::from_slice(&body).context("the answer is no JSON")?;
        let response = answer.get_mut("response").map(Value::take);
        response.ok_or_else(|| anyhow!("the answer has no response"))
    }
}
