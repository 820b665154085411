//! A webhook that does nothing, on the same listener, TLS and runtime as ours: what any webhook costs.
//!
//! It is a process of its own, like ours: this test binary, started again for one test that never ends.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use ecr_admission::certificate::development::DevelopmentCa;
use ecr_admission::certificate::{CertificatePair, ServedCertificate};
use ecr_admission::clock::Clock;
use ecr_admission::commands::logging;
use ecr_admission::config::LogFormat;
use ecr_admission::server::body::{BodyLimits, BodyReader, Received};
use ecr_admission::server::listener::Limits;
use serde::{Deserialize, Serialize};

use crate::harness::component::Component;
use crate::harness::control_plane::ControlPlane;
use crate::harness::{RUNTIME, eventually};
use crate::https::Server;

/// The one that ours has.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Says that this process is one.
const MARK: &str = "CLUSTER_NOOP";

/// A running no-op, killed when dropped.
pub(super) struct Noop {
    pub(super) announcement: Announcement,
    _process: Component,
}

/// The line that it prints.
#[derive(Deserialize, Serialize)]
pub(super) struct Announcement {
    pub(super) address: SocketAddr,
    pub(super) ca_pem: String,
}

impl Noop {
    pub(super) async fn start(plane: &ControlPlane) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let test = "measured::noop::serves_for_the_measurements";
        command.args([test, "--exact", "--ignored", "--nocapture"]);
        command.env(MARK, "1");
        let process = Component::start(&command, &plane.folder.join("no-op.log"));
        eventually("the no-op serves", async || {
            process.must_run();
            announced(&process).is_some()
        })
        .await;
        Self {
            announcement: announced(&process).unwrap(),
            _process: process,
        }
    }
}

fn announced(process: &Component) -> Option<Announcement> {
    let log = process.log();
    let mut lines = log
        .lines()
        .filter_map(|line| line.find('{').map(|start| &line[start..]));
    lines.find_map(|line| serde_json::from_str(line).ok())
}

#[test]
#[ignore = "never ends: the measurements start it"]
fn serves_for_the_measurements() {
    if std::env::var(MARK).is_err() {
        return;
    }
    RUNTIME.block_on(async {
        let now = Clock::system().now();
        let names = ["ecr-admission.ecr-admission.svc".to_owned()];
        let ca = DevelopmentCa::new(now, &names, Duration::from_hours(24)).unwrap();
        let pair = CertificatePair::check(&ca.pem_pair(), &names, now).unwrap();
        let bodies = Arc::new(BodyReader::new(BodyLimits::default()));
        let routes = Router::new()
            .route("/mutate", post(allow))
            .route("/validate", post(allow))
            .route(PATCHING_PATH, post(patch))
            .with_state(bodies);
        logging::start(LogFormat::Json, "info").unwrap();
        let limits = Limits::default();
        let server = Server::with_certificate(ServedCertificate::new(pair), routes, limits).await;
        let announcement = Announcement {
            address: server.address,
            ca_pem: ca.ca_pem,
        };
        println!("{}", serde_json::to_string(&announcement).unwrap());
        std::future::pending::<()>().await;
    });
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

/// Where it answers the patch that ours would: what the API server itself takes for one.
pub(super) const PATCHING_PATH: &str = "/patch";

/// `[{"op":"add","path":"/spec/imagePullSecrets","value":[{"name":"ecr-pull-secret"}]}]`
const PATCH: &str = r#","patchType":"JSONPatch","patch":"W3sib3AiOiJhZGQiLCJwYXRoIjoiL3NwZWMvaW1hZ2VQdWxsU2VjcmV0cyIsInZhbHVlIjpbeyJuYW1lIjoiZWNyLXB1bGwtc2VjcmV0In1dfV0=""#;

async fn allow(bodies: State<Arc<BodyReader>>, request: Request) -> Response {
    answer(&bodies, request, "").await
}

async fn patch(bodies: State<Arc<BodyReader>>, request: Request) -> Response {
    answer(&bodies, request, PATCH).await
}

async fn answer(bodies: &BodyReader, request: Request, patch: &str) -> Response {
    let Ok(Received::Whole(body)) = bodies.read(request.into_body()).await else {
        return refusal();
    };
    let Ok(review) = serde_json::from_slice::<Review<'_>>(&body) else {
        return refusal();
    };
    let answer = format!(
        r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{{"uid":"{}","allowed":true{patch}}}}}"#,
        review.request.uid
    );
    let mut response = Response::new(Body::from(answer));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn refusal() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}
