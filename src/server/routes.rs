//! The webhooks over HTTP: what is no AdmissionReview gets a 4xx, everything else an answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;

use super::body::{BodyError, BodyReader, Received};
use crate::admit::{Admission, NotAReview, Timing, Webhook};

/// What the API server waits for when a configuration names no timeout
/// (`timeoutSeconds` of admissionregistration.k8s.io/v1), and the most that it may name.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long before the API server stops waiting the answer is on its way.
const MARGIN: Duration = Duration::from_millis(500);

/// The service behind one route.
struct Endpoint {
    admission: Arc<Admission>,
    bodies: BodyReader,
    webhook: Webhook,
}

/// The routes of the webhook server.
pub fn router(admission: &Arc<Admission>, bodies: &BodyReader) -> Router {
    let route = |webhook| {
        let endpoint = Endpoint {
            admission: Arc::clone(admission),
            bodies: bodies.clone(),
            webhook,
        };
        // Counted once for a request, whatever is in it.
        let endpoint = Arc::new(endpoint);
        post(review).fallback(wrong_method).with_state(endpoint)
    };
    Router::new()
        .route("/mutate", route(Webhook::Mutating))
        .route("/validate", route(Webhook::Validating))
        .fallback(wrong_path)
}

async fn review(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let budget = budget(request.uri().query());
    let timing = Timing::within(budget, endpoint.admission.clock());
    if !is_json(request.headers().get(header::CONTENT_TYPE)) {
        let reason = "send an AdmissionReview with content-type: application/json";
        return refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason);
    }
    let admission = &endpoint.admission;
    match endpoint.bodies.read(request.into_body()).await {
        Ok(Received::Whole(body)) => {
            let answer = admission.answer(endpoint.webhook, &body, timing).await;
            respond(answer, StatusCode::BAD_REQUEST)
        }
        Ok(Received::TooLarge(front)) => respond(
            admission.answer_too_large(&front, timing),
            StatusCode::PAYLOAD_TOO_LARGE,
        ),
        Err(error) => {
            let status = match error {
                BodyError::TimedOut => StatusCode::REQUEST_TIMEOUT,
                BodyError::Broken => StatusCode::BAD_REQUEST,
            };
            // What is left of this body would be read as the next request.
            let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
            (status, close, format!("{error}\n")).into_response()
        }
    }
}

async fn wrong_method() -> Response {
    let allow = [(header::ALLOW, HeaderValue::from_static("POST"))];
    let reason = "POST an AdmissionReview here\n";
    (StatusCode::METHOD_NOT_ALLOWED, allow, reason).into_response()
}

async fn wrong_path() -> Response {
    let reason = "the webhooks are at /mutate and /validate";
    refuse(StatusCode::NOT_FOUND, reason)
}

fn respond(answer: Result<Vec<u8>, NotAReview>, otherwise: StatusCode) -> Response {
    match answer {
        Ok(json) => {
            let mut response = Response::new(Body::from(json));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(reason) => refuse(otherwise, &reason.to_string()),
    }
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    (status, format!("{reason}\n")).into_response()
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    // What the API server sends.
    if content_type.is_some_and(|value| value == "application/json") {
        return true;
    }
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let media_type = content_type.and_then(|value| value.split(';').next());
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

/// How soon the answer must be on its way: the API server appends `?timeout=5s` to every call.
fn budget(query: Option<&str>) -> Duration {
    let parameters = query.into_iter().flat_map(|query| query.split('&'));
    let timeout = parameters
        .filter_map(|parameter| parameter.strip_prefix("timeout="))
        .find_map(go_duration)
        .unwrap_or(DEFAULT_TIMEOUT)
        .min(LONGEST_TIMEOUT);
    timeout.saturating_sub(MARGIN)
}

/// A duration as Go's `time.Duration.String` writes it: `5s`, `500ms`, `1m0s`.
fn go_duration(text: &str) -> Option<Duration> {
    // What the API server sends: `timeoutSeconds` is a whole number of at most 30.
    if let Some(Ok(seconds)) = text.strip_suffix('s').map(str::parse::<u8>) {
        return Some(Duration::from_secs(seconds.into()));
    }
    let duration: jiff::SignedDuration = text.parse().ok()?;
    duration.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_is_half_a_second_before_the_api_server_stops_waiting() {
        let cases = [
            (Some("timeout=5s"), 4_500),
            (Some("a=b&timeout=1m0s"), 29_500),
            (Some("timeout=800ms"), 300),
            (Some("timeout=100ms"), 0),
            (Some("timeout=-5s"), 9_500),
            (Some("timeout=soon"), 9_500),
            (None, 9_500),
        ];
        for (query, milliseconds) in cases {
            let left = budget(query).as_millis();
            assert_eq!(left, milliseconds, "{query:?}");
        }
    }

    #[test]
    fn json_is_recognised_with_parameters_and_in_any_case() {
        let is = |text| is_json(Some(&HeaderValue::from_static(text)));
        assert!(is("application/json") && is("Application/JSON; charset=utf-8"));
        assert!(!is("application/json-patch+json") && !is("text/plain") && !is_json(None));
    }
}
