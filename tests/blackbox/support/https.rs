//! A real HTTPS server on loopback, and clients for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use bytes::Bytes;
use ecr_admission::certificate::development::DevelopmentCa;
use ecr_admission::certificate::{CertificatePair, ServedCertificate};
use ecr_admission::clock::Clock;
use ecr_admission::server::body::{BodyLimits, BodyReader, Received};
use ecr_admission::server::listener::{self, Limits, Options, Transport};
use ecr_admission::server::metrics::ServerMetrics;
use ecr_admission::server::shutdown::Shutdown;
use ecr_admission::server::tls::server_config;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longer than anything that is expected to happen takes.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// A limit for tests that wait until it is reached.
pub(crate) const SHORT: Duration = Duration::from_millis(200);

pub(crate) fn development_ca() -> DevelopmentCa {
    let names = ["localhost".to_owned()];
    DevelopmentCa::new(Clock::system().now(), &names, Duration::from_hours(1)).unwrap()
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: Shutdown,
    pub(crate) task: JoinHandle<()>,
    registry: Registry,
}

impl Server {
    /// HTTPS with a certificate of its own, and the client that trusts it.
    pub(crate) async fn start(router: Router, limits: Limits) -> (Self, Client) {
        let ca = development_ca();
        let now = Clock::system().now();
        let pair = CertificatePair::check(&ca.pem_pair(), &[], now).unwrap();
        let server = Self::with_certificate(ServedCertificate::new(pair), router, limits).await;
        let client = Client::trusting(&[&ca.ca_pem], server.address);
        (server, client)
    }

    pub(crate) async fn with_certificate(
        resolver: Arc<dyn ResolvesServerCert>,
        router: Router,
        limits: Limits,
    ) -> Self {
        let transport = Transport::tls(server_config(resolver).unwrap());
        Self::listen(transport, router, limits).await
    }

    pub(crate) async fn listen(transport: Transport, router: Router, limits: Limits) -> Self {
        let tcp = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (shutdown, mut registry) = (Shutdown::new(), Registry::default());
        let metrics = ServerMetrics::register(&mut registry);
        let mut options = Options::new("test", &shutdown, Clock::system(), metrics);
        options.limits = limits;
        Self {
            address: tcp.local_addr().unwrap(),
            task: tokio::spawn(listener::serve(tcp, transport, router, options)),
            shutdown,
            registry,
        }
    }

    pub(crate) fn metrics(&self) -> String {
        let mut page = String::new();
        encode(&mut page, &self.registry).unwrap();
        page
    }

    /// Waits until the metrics hold a line.
    pub(crate) async fn measures(&self, line: &str) {
        let seen = async {
            while !self.metrics().lines().any(|other| other == line) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let seen = timeout(LONG, seen).await;
        assert!(seen.is_ok(), "no {line} in\n{}", self.metrics());
    }
}

/// What the tests ask for: an echo with body limits, something slow, and something that panics.
pub(crate) fn routes(bodies: BodyLimits) -> Router {
    let reader = BodyReader::new(bodies);
    let echo = move |body: axum::body::Body| async move {
        match reader.read(body).await {
            Ok(Received::Whole(bytes)) => (StatusCode::OK, bytes),
            Ok(Received::TooLarge(prefix)) => (StatusCode::PAYLOAD_TOO_LARGE, prefix),
            Err(error) => (StatusCode::REQUEST_TIMEOUT, Bytes::from(error.to_string())),
        }
    };
    Router::new()
        .route("/echo", post(echo))
        .route(
            "/slow",
            get(|| async {
                sleep(Duration::from_millis(500)).await;
                "slow"
            }),
        )
        .route("/never", get(std::future::pending::<&'static str>))
        .route(
            "/panic",
            get(|| async { if true { panic!("on purpose") } else { "" } }),
        )
}

#[derive(Clone)]
pub(crate) struct Client {
    config: ClientConfig,
    pub(crate) address: SocketAddr,
    name: &'static str,
}

impl Client {
    /// A client that trusts the authorities in these bundles.
    pub(crate) fn trusting(authorities: &[&str], address: SocketAddr) -> Self {
        let mut roots = RootCertStore::empty();
        for pem in authorities {
            for authority in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                roots.add(authority.unwrap()).unwrap();
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            config,
            address,
            name: "localhost",
        }
    }

    /// The same client, which asks for another name.
    pub(crate) fn asking_for(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// The same client, which shows a certificate of its own.
    pub(crate) fn showing(mut self, identity: CertifiedKey) -> Self {
        self.config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(identity));
        self
    }

    /// A client of the same server that trusts another authority.
    pub(crate) fn trusting_only(&self, authority: &str) -> Self {
        Self::trusting(&[authority], self.address)
    }

    /// A connection after its handshake that offers `alpn`.
    pub(crate) async fn connect(&self, alpn: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = self.config.clone();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(self.name).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await
    }

    pub(crate) async fn http1(&self) -> Http1 {
        let stream = self.connect(&["http/1.1"]).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        Http1 {
            sender,
            connection: tokio::spawn(connection),
        }
    }

    pub(crate) async fn http2(&self) -> Http2 {
        let stream = self.connect(&["h2"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        Http2 {
            sender,
            connection: tokio::spawn(connection),
        }
    }
}

pub(crate) fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("https://localhost{path}"))
        .header("host", "localhost")
        .body(Full::new(body.into()))
        .unwrap()
}

pub(crate) async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// An HTTP/1.1 connection.
pub(crate) struct Http1 {
    pub(crate) sender: http1::SendRequest<Full<Bytes>>,
    pub(crate) connection: JoinHandle<hyper::Result<()>>,
}

impl Http1 {
    pub(crate) async fn echo(&mut self, body: &'static str) -> hyper::Result<String> {
        self.sender.ready().await?;
        let response = self
            .sender
            .send_request(request("POST", "/echo", body))
            .await?;
        Ok(text(response).await)
    }
}

/// An HTTP/2 connection.
pub(crate) struct Http2 {
    pub(crate) sender: http2::SendRequest<Full<Bytes>>,
    pub(crate) connection: JoinHandle<hyper::Result<()>>,
}
