//! The webhooks over HTTP: the router without a socket.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::review::{IMAGE, create_with, wire};
use crate::support::service::Service;

async fn send(request: Request<Body>) -> (StatusCode, String) {
    let service = Service::new();
    let response = service.router().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn post(path: &str, content_type: Option<&str>, body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(Method::POST).uri(path);
    let request = match content_type {
        Some(content_type) => request.header(header::CONTENT_TYPE, content_type),
        None => request,
    };
    request.body(body.into()).unwrap()
}

const JSON: Option<&str> = Some("application/json");

#[tokio::test]
async fn both_webhooks_answer_a_review_over_http() {
    let review = wire(&create_with("team-a", IMAGE));
    for (path, patched) in [
        ("/mutate?timeout=5s", true),
        ("/validate?timeout=5s", false),
    ] {
        let (status, answer) = send(post(path, JSON, review.clone())).await;
        assert_eq!(status, StatusCode::OK);
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["response"]["allowed"], true);
        assert_eq!(answer["response"]["patch"].is_string(), patched);
    }
}

#[tokio::test]
async fn what_is_no_review_gets_a_4xx_with_a_reason() {
    let mut seen = Vec::new();
    let mut see = async |request: Request<Body>| {
        let name = format!("{} {}", request.method(), request.uri());
        let (status, body) = send(request).await;
        seen.push(format!("{name}: {} {}", status.as_u16(), body.trim_end()));
    };
    see(post("/mutate", JSON, "not JSON")).await;
    see(post("/mutate", JSON, "")).await;
    see(post("/mutate", None, "{}")).await;
    see(post("/mutate", Some("application/yaml"), "{}")).await;
    see(post("/", JSON, "{}")).await;
    see(post("/mutate/", JSON, "{}")).await;
    for method in [Method::GET, Method::PUT, Method::HEAD, Method::DELETE] {
        let request = Request::builder().method(method).uri("/validate");
        see(request.body(Body::empty()).unwrap()).await;
    }
    insta::assert_snapshot!(seen.join("\n"), @"
    POST /mutate: 400 this is no AdmissionReview: expected ident at line 1 column 2
    POST /mutate: 400 this is no AdmissionReview: EOF while parsing a value at line 1 column 0
    POST /mutate: 415 send an AdmissionReview with content-type: application/json
    POST /mutate: 415 send an AdmissionReview with content-type: application/json
    POST /: 404 the webhooks are at /mutate and /validate
    POST /mutate/: 404 the webhooks are at /mutate and /validate
    GET /validate: 405 POST an AdmissionReview here
    PUT /validate: 405 POST an AdmissionReview here
    HEAD /validate: 405 
    DELETE /validate: 405 POST an AdmissionReview here
    ");
}

#[tokio::test]
async fn a_body_over_seven_mebibytes_is_answered_from_its_envelope_and_413_without_one() {
    let mut large = create_with("team-a", IMAGE);
    large["request"]["object"]["metadata"]["annotations"] = json!({"a": "x".repeat(7 << 20)});
    let (status, answer) = send(post("/mutate", JSON, wire(&large))).await;
    assert_eq!(status, StatusCode::OK);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["response"]["allowed"], false);

    let (status, reason) = send(post("/mutate", JSON, "x".repeat((7 << 20) + 1))).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    insta::assert_snapshot!(reason.trim_end(), @"the body is too large, and no AdmissionReview starts it");
}

#[tokio::test(start_paused = true)]
async fn the_answer_comes_before_the_api_server_stops_waiting() {
    for (query, milliseconds) in [("?timeout=5s", 4_500), ("?timeout=1s", 500), ("", 9_500)] {
        let service = Service::new();
        let slow = crate::support::mint::Behaviour::Slow(std::time::Duration::from_secs(12));
        service.tokens.always(slow);
        let before = service.clock.monotonic();
        let body = wire(&create_with("team-a", IMAGE));
        let request = post(&format!("/mutate{query}"), JSON, body);
        let response = service.router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let took = (service.clock.monotonic() - before).as_millis();
        assert!(
            (milliseconds..milliseconds + 10).contains(&took),
            "{query}: {took} ms"
        );
    }
}
