//! Registries that are choosier than the one that they are a front of, which takes no password: one that takes each
//! password until its own end, as ECR does, and one in which each folder has its own.
//!
//! A password says itself when it ends ([`PASSWORD`]), so the front needs to know nothing of what AWS hands out.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use ecr_admission::certificate::{CertificatePair, ServedCertificate};
use ecr_admission::clock::Clock;
use ecr_admission::server::listener::{self, Options, Transport};
use ecr_admission::server::metrics::ServerMetrics;
use ecr_admission::server::shutdown::Shutdown;
use ecr_admission::server::tls;
use http_body_util::Full;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::machine::DOUBLES;
use super::registry::OPEN;
use crate::harness::control_plane::ControlPlane;
use crate::https::Client;

/// For the double of ECR, which puts the end of the token's life in.
pub(super) const PASSWORD: &str = "until-EXPIRY";

/// A running front.
pub(super) struct Front {
    /// Host and port.
    pub(super) address: String,
    gate: Arc<Gate>,
    /// It stops serving when this goes.
    _shutdown: Shutdown,
    _serving: AbortOnDropHandle<()>,
}

/// Who gets in.
struct Gate {
    open: Client,
    rule: Rule,
    /// How many requests came with a password that is not taken.
    refused: AtomicUsize,
    /// Every repository, with each password that it was asked for with.
    tried: Mutex<BTreeSet<(String, String)>>,
}

/// What a password must be.
enum Rule {
    /// One that has not ended.
    Living {
        clock: Clock,
        /// Passwords that end then or earlier are not taken, whatever life they have (Unix seconds).
        revoked: AtomicI64,
    },
    /// That of the folder that the repository is in.
    OfFolder(&'static [(&'static str, &'static str)]),
}

impl Front {
    /// One that takes each password until its end.
    pub(super) async fn start(plane: &ControlPlane) -> Self {
        let rule = Rule::Living {
            clock: Clock::system(),
            revoked: AtomicI64::new(0),
        };
        Self::with(rule, plane).await
    }

    /// One in which each of these folders has a password of its own, and there are no others.
    pub(super) async fn of_folders(
        plane: &ControlPlane,
        folders: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self::with(Rule::OfFolder(folders), plane).await
    }

    async fn with(rule: Rule, plane: &ControlPlane) -> Self {
        let clock = Clock::system();
        let pair = CertificatePair::check(&plane.ca.pem_pair(), &[], clock.now()).unwrap();
        let tls = tls::server_config(ServedCertificate::new(pair)).unwrap();
        let open = Client::trusting(&[&plane.ca.ca_pem], OPEN.parse().unwrap());
        let gate = Arc::new(Gate {
            open: open.asking_for(DOUBLES),
            rule,
            refused: AtomicUsize::new(0),
            tried: Mutex::default(),
        });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&gate));
        let metrics = ServerMetrics::register(&mut Registry::default());
        let shutdown = Shutdown::new();
        let options = Options::new("front", &shutdown, clock, metrics);
        let tcp = TcpListener::bind((DOUBLES, 0)).await.unwrap();
        Self {
            address: tcp.local_addr().unwrap().to_string(),
            gate,
            _shutdown: shutdown,
            _serving: AbortOnDropHandle::new(tokio::spawn(listener::serve(
                tcp,
                Transport::tls(tls),
                router,
                options,
            ))),
        }
    }

    /// From now on no password is taken that ends by then (Unix seconds).
    pub(super) fn revoke(&self, end: i64) {
        if let Rule::Living { revoked, .. } = &self.gate.rule {
            revoked.store(end, Ordering::SeqCst);
        }
    }

    /// Every repository, with each password that it was asked for with.
    pub(super) fn tried(&self) -> BTreeSet<(String, String)> {
        self.gate.tried.lock().unwrap().clone()
    }

    /// How many requests came with a password that was not taken.
    pub(super) fn refused(&self) -> usize {
        self.gate.refused.load(Ordering::SeqCst)
    }
}

/// When a password ends (Unix seconds), if it is one of ours.
pub(super) fn end_of(password: &str) -> Option<i64> {
    password.strip_prefix("until-")?.parse().ok()
}

impl Rule {
    fn takes(&self, repository: &str, password: &str) -> bool {
        match self {
            Self::Living { clock, revoked } => end_of(password).is_some_and(|end| {
                clock.now().as_second() < end && end > revoked.load(Ordering::SeqCst)
            }),
            Self::OfFolder(folders) => {
                let folder = repository.split('/').next().unwrap_or_default();
                folders.contains(&(folder, password))
            }
        }
    }
}

impl Gate {
    fn takes(&self, path: &str, authorization: &HeaderValue) -> bool {
        let (repository, password) = (repository(path), password(authorization));
        let password = password.unwrap_or_default();
        let taken = self.rule.takes(repository, &password);
        if !taken {
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
        let mut tried = self.tried.lock().unwrap();
        tried.insert((repository.to_owned(), password));
        taken
    }

    /// Asks the registry that takes no password, and gives its answer.
    async fn pass_on(&self, request: Request) -> Response {
        let (mut head, _) = request.into_parts();
        head.headers.remove(AUTHORIZATION);
        head.headers.insert(HOST, HeaderValue::from_static(OPEN));
        // Pulls have no body.
        let request = hyper::Request::from_parts(head, Full::new(Bytes::new()));
        let mut connection = self.open.http1().await;
        match connection.sender.send_request(request).await {
            Ok(response) => response.map(Body::new),
            Err(error) => answer(StatusCode::BAD_GATEWAY, &error.to_string()),
        }
    }
}

async fn serve(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    match request.headers().get(AUTHORIZATION) {
        Some(authorization) if gate.takes(request.uri().path(), authorization) => {
            gate.pass_on(request).await
        }
        _ => {
            let mut response = answer(StatusCode::UNAUTHORIZED, "no, or no longer");
            let basic = HeaderValue::from_static("Basic realm=\"front\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, basic);
            response
        }
    }
}

/// Which repository a request is about, by the paths of the distribution specification.
fn repository(path: &str) -> &str {
    let rest = path.strip_prefix("/v2/").unwrap_or_default();
    let end = ["/manifests/", "/blobs/"]
        .iter()
        .find_map(|part| rest.find(part));
    &rest[..end.unwrap_or_default()]
}

/// What `Basic` says of the user `AWS`.
fn password(authorization: &HeaderValue) -> Option<String> {
    let encoded = authorization.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    Some(pair.strip_prefix("AWS:")?.to_owned())
}

fn answer(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    response
}
