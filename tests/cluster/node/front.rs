//! A registry that takes each password until its own end, as ECR does: a front of the one that takes none.
//!
//! A password says itself when it ends ([`PASSWORD`]), so the front needs to know nothing of what AWS hands out.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

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
    clock: Clock,
    open: Client,
    /// Passwords that end then or earlier are not taken, whatever life they have (Unix seconds).
    revoked: AtomicI64,
    /// How many requests came with a password that is not taken.
    refused: AtomicUsize,
}

impl Front {
    pub(super) async fn start(plane: &ControlPlane) -> Self {
        let clock = Clock::system();
        let pair = CertificatePair::check(&plane.ca.pem_pair(), &[], clock.now()).unwrap();
        let tls = tls::server_config(ServedCertificate::new(pair)).unwrap();
        let open = Client::trusting(&[&plane.ca.ca_pem], OPEN.parse().unwrap());
        let gate = Arc::new(Gate {
            clock: clock.clone(),
            open: open.asking_for(DOUBLES),
            revoked: AtomicI64::new(0),
            refused: AtomicUsize::new(0),
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
        self.gate.revoked.store(end, Ordering::SeqCst);
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

impl Gate {
    fn takes(&self, authorization: &HeaderValue) -> bool {
        let end = password(authorization).and_then(|password| end_of(&password));
        let now = self.clock.now().as_second();
        let taken = end.is_some_and(|end| now < end && end > self.revoked.load(Ordering::SeqCst));
        if !taken {
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
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
        Some(authorization) if gate.takes(authorization) => gate.pass_on(request).await,
        _ => {
            let mut response = answer(StatusCode::UNAUTHORIZED, "no, or no longer");
            let basic = HeaderValue::from_static("Basic realm=\"front\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, basic);
            response
        }
    }
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
