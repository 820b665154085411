//! The servers: one listener, one TLS, one body reader, two handlers.

use std::io::Read;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use ecr_admission::certificate::development::{DevelopmentCa, LEAF_LIFE_DEFAULT};
use ecr_admission::certificate::{CertificatePair, ServedCertificate};
use ecr_admission::clock::Clock;
use ecr_admission::commands::logging;
use ecr_admission::config::LogFormat;
use ecr_admission::server::body::{BodyLimits, BodyReader, Received};
use ecr_admission::server::listener::{self, Options, Transport};
use ecr_admission::server::metrics::ServerMetrics;
use ecr_admission::server::shutdown::Shutdown;
use ecr_admission::server::{routes, tls};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::support::service::Service;

/// What a server does with a review.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// Reads the uid and allows.
    Noop,
    /// What `serve` does.
    Webhook,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::Webhook => "webhook",
        }
    }

    pub(crate) fn is_patching(self) -> bool {
        matches!(self, Self::Webhook)
    }
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match name {
            "noop" => Ok(Self::Noop),
            "webhook" => Ok(Self::Webhook),
            _ => bail!("there is no server {name:?}"),
        }
    }
}

/// The first line that a server prints.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Announcement {
    pub(crate) address: SocketAddr,
    pub(crate) ca_pem: String,
}

/// Serves until its input ends, hence no longer than the process that started it.
pub(crate) fn run(kind: Kind) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let shutdown = Shutdown::new();
    runtime.block_on(start(kind, &shutdown))?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

async fn start(kind: Kind, shutdown: &Shutdown) -> anyhow::Result<()> {
    let clock = Clock::system();
    let mut registry = Registry::default();
    let names = ["localhost".to_owned()];
    let ca = DevelopmentCa::new(clock.now(), &names, LEAF_LIFE_DEFAULT)?;
    let pair = CertificatePair::check(&ca.pem_pair(), &names, clock.now())?;
    let tls = tls::server_config(ServedCertificate::new(pair))?;

    let bodies = BodyReader::new(BodyLimits::default());
    let router = match kind {
        Kind::Noop => Router::new().route("/mutate", post(noop).with_state(Arc::new(bodies))),
        Kind::Webhook => {
            let service = Service::warm(&mut registry).await?;
            let router = routes::router(&service.admission, &bodies);
            tokio::spawn(async move { service.keep_watch().await });
            router
        }
    };
    let metrics = ServerMetrics::register(&mut registry);
    let options = Options::new("webhook", shutdown, clock, metrics);
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let announcement = Announcement {
        address: tcp.local_addr()?,
        ca_pem: ca.ca_pem,
    };
    logging::start(LogFormat::Text, "info")?;
    println!("{}", serde_json::to_string(&announcement)?);
    tokio::spawn(listener::serve(tcp, Transport::tls(tls), router, options));
    Ok(())
}

#[derive(Deserialize)]
struct Review<'a> {
    #[serde(borrow)]
    request: ReviewRequest<'a>,
}

#[derive(Deserialize)]
struct ReviewRequest<'a> {
    uid: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Allowed<'a>,
}

#[derive(Serialize)]
struct Allowed<'a> {
    uid: &'a str,
    allowed: bool,
}

async fn noop(State(bodies): State<Arc<BodyReader>>, request: Request) -> Response {
    let answer = match bodies.read(request.into_body()).await {
        Ok(Received::Whole(body)) => allow(&body),
        _ => Err(anyhow::anyhow!("the body could not be read")),
    };
    match answer {
        Ok(json) => {
            let mut response = Response::new(Body::from(json));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(error) => {
            let mut response = Response::new(Body::from(error.to_string()));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    }
}

fn allow(body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let review: Review<'_> = serde_json::from_slice(body).context("no review")?;
    let answer = Answer {
        api_version: "admission.k8s.io/v1",
        kind: "AdmissionReview",
        response: Allowed {
            uid: review.request.uid,
            allowed: true,
        },
    };
    Ok(serde_json::to_vec(&answer)?)
}
