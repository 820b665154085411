//! The admin port: liveness, readiness, metrics. Plain HTTP, for the kubelet and Prometheus.

use std::fmt::Write;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State as Shared};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::health::{Health, Report, State};

/// What OpenMetrics prescribes; Prometheus reads it by this type.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// `GET /livez` (200 while the process can answer at all), `/readyz` (200 or 503; `?verbose` names everything) and
/// `/metrics`.
pub fn router(health: Health, registry: Arc<Registry>) -> Router {
    Router::new()
        .route(
            "/livez",
            get(|| async { text(StatusCode::OK, "ok\n".to_owned()) }),
        )
        .route("/readyz", get(readyz).with_state(health))
        .route("/metrics", get(metrics).with_state(registry))
}

async fn readyz(Shared(health): Shared<Health>, RawQuery(query): RawQuery) -> Response {
    let report = health.report();
    let status = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let verbose = query
        .iter()
        .flat_map(|query| query.split('&'))
        .any(|pair| pair.split('=').next() == Some("verbose"));
    text(status, render(&report, verbose))
}

/// One line an entry when `verbose`; otherwise the troubles only. The last line is the sum.
fn render(report: &Report, verbose: bool) -> String {
    let mut page = String::new();
    for line in &report.lines {
        // Writing to a string cannot fail.
        let _written = match &line.state {
            State::Ok if verbose => writeln!(page, "{}: ok", line.name),
            State::Ok => Ok(()),
            State::NotReady(reason) => writeln!(page, "{}: not ready: {reason}", line.name),
            State::Degraded(reason) => writeln!(page, "{}: degraded: {reason}", line.name),
        };
    }
    if report.draining {
        page.push_str("shutdown: not ready: the process is ending\n");
    }
    page.push_str(if report.ready {
        "ready\n"
    } else {
        "not ready\n"
    });
    page
}

async fn metrics(Shared(registry): Shared<Arc<Registry>>) -> Response {
    let mut page = String::new();
    if encode(&mut page, &registry).is_err() {
        return text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics could not be encoded\n".to_owned(),
        );
    }
    ([(CONTENT_TYPE, OPENMETRICS)], page).into_response()
}

fn text(status: StatusCode, page: String) -> Response {
    (status, [(CONTENT_TYPE, TEXT)], page).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Method, Request};
    use http_body_util::BodyExt;
    use prometheus_client::metrics::counter::Counter;
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: &Router, method: Method, path: &str) -> (StatusCode, String, String) {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.map_or_else(String::new, |kind| kind.to_str().unwrap().to_owned());
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_what_is_not_ready_and_what_is_degraded() {
        let health = Health::default();
        let gate = health.gate("secret-index", "not synced yet");
        let condition = health.condition("certificate-reload");
        let router = router(health.clone(), Arc::default());
        let ready = async |query: &str| {
            let (status, _, page) = ask(&router, Method::GET, &format!("/readyz{query}")).await;
            (status.as_u16(), page)
        };
        assert_eq!(
            ready("").await,
            (
                503,
                "secret-index: not ready: not synced yet\nnot ready\n".to_owned()
            )
        );
        gate.release();
        assert_eq!(ready("").await, (200, "ready\n".to_owned()));
        condition.set("tls.crt is garbage");
        assert_eq!(
            ready("?verbose").await,
            (
                200,
                "secret-index: ok\ncertificate-reload: degraded: tls.crt is garbage\nready\n"
                    .to_owned()
            )
        );
        health.drain();
        let (status, page) = ready("?verbose=1").await;
        assert_eq!(status, 503);
        assert!(page.contains("shutdown: not ready"));
        let (status, _, _) = ask(&router, Method::GET, "/livez").await;
        assert_eq!(status, StatusCode::OK, "alive to the end");
    }

    #[tokio::test]
    async fn metrics_are_openmetrics_text() {
        let mut registry = Registry::default();
        let counter = Counter::<u64>::default();
        registry.register("things", "Things", counter.clone());
        counter.inc();
        let router = router(Health::default(), Arc::new(registry));
        let (status, kind, page) = ask(&router, Method::GET, "/metrics").await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, OPENMETRICS));
        assert!(page.contains("things_total 1"));
        assert!(page.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        let router = router(Health::default(), Arc::default());
        assert_eq!(
            ask(&router, Method::GET, "/").await.0,
            StatusCode::NOT_FOUND
        );
        let (status, _, _) = ask(&router, Method::POST, "/livez").await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }
}
