//! A double of what gives AWS credentials on one loopback port: instance metadata (IMDSv2, which the signing helper of
//! IAM Roles Anywhere serves too), a container's endpoint (EKS Pod Identity) and the portal of IAM Identity Center (SSO).
//!
//! Sources: EC2 User Guide, "Use the Instance Metadata Service"; rolesanywhere-credential-helper `serve.go`;
//! eks-pod-identity-agent; the SSO portal API's GetRoleCredentials.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ecr_admission::clock::Clock;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

const METADATA_TOKEN: &str = "token-of-instance-metadata";
const ROLE: &str = "node-role";
/// What the container's endpoint wants to see, as the Pod Identity agent wants the Pod's token.
pub(crate) const CONTAINER_TOKEN: &str = "token-of-the-pod";
/// What the SSO portal wants to see, as somebody who has logged in holds it.
pub(crate) const SSO_TOKEN: &str = "token-of-a-person";

/// A running double. Its access keys are `AKID`, the kind of endpoint, and how often credentials were given.
pub(crate) struct CredentialsDouble {
    pub(crate) url: String,
    state: Arc<State>,
    _accepting: AbortOnDropHandle<()>,
}

struct State {
    clock: Clock,
    life: Mutex<SignedDuration>,
    given: Mutex<usize>,
    refusal: Mutex<Option<(u16, &'static str)>>,
}

impl CredentialsDouble {
    /// Gives credentials of six hours.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            clock: Clock::system(),
            life: Mutex::new(SignedDuration::from_hours(6)),
            given: Mutex::default(),
            refusal: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let answer = state.answer(&request);
                        async move { Ok::<_, Infallible>(answer) }
                    });
                    // A client may go whenever it likes.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            url,
            state,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// For how long what it gives from now on is valid.
    pub(crate) fn lives(&self, life: SignedDuration) {
        *self.state.life.lock().unwrap() = life;
    }

    /// Refuses everything from now on, with this status and body.
    pub(crate) fn refuse(&self, status: u16, body: &'static str) {
        *self.state.refusal.lock().unwrap() = Some((status, body));
    }
}

type Answer = Response<Full<Bytes>>;

impl State {
    fn answer(&self, request: &Request<Incoming>) -> Answer {
        let header = |name: &str| {
            let value = request.headers().get(name);
            value
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        if let Some((status, body)) = *self.refusal.lock().unwrap() {
            return answer(status, body.to_owned());
        }
        let roles = "/latest/meta-data/iam/security-credentials/";
        let path = request.uri().path();
        match (request.method().as_str(), path) {
            ("PUT", "/latest/api/token") => {
                let mut answer = answer(200, METADATA_TOKEN.to_owned());
                let life = header("x-aws-ec2-metadata-token-ttl-seconds")
                    .parse()
                    .unwrap();
                let headers = answer.headers_mut();
                headers.insert("x-aws-ec2-metadata-token-ttl-seconds", life);
                answer
            }
            ("GET", _) if path.starts_with(roles) => match path.strip_prefix(roles) {
                _ if header("x-aws-ec2-metadata-token") != METADATA_TOKEN => {
                    answer(401, String::new())
                }
                Some("") => answer(200, ROLE.to_owned()),
                Some(ROLE) => self.credentials("METADATA"),
                _ => answer(404, String::new()),
            },
            ("GET", "/v1/credentials") if header("authorization") == CONTAINER_TOKEN => {
                self.credentials("CONTAINER")
            }
            ("GET", "/federation/credentials") if header("x-amz-sso_bearer_token") == SSO_TOKEN => {
                let (key, expiry) = self.next("SSO");
                let credentials = json!({
                    "accessKeyId": key, "secretAccessKey": "secret", "sessionToken": "session",
                    "expiration": expiry.as_millisecond(),
                });
                answer(200, json!({"roleCredentials": credentials}).to_string())
            }
            ("GET", "/v1/credentials" | "/federation/credentials") => answer(401, "{}".to_owned()),
            _ => answer(404, String::new()),
        }
    }

    fn next(&self, kind: &str) -> (String, jiff::Timestamp) {
        let mut given = self.given.lock().unwrap();
        *given += 1;
        let expiry = self.clock.now() + *self.life.lock().unwrap();
        (format!("AKID{kind}{given}"), expiry)
    }

    fn credentials(&self, kind: &str) -> Answer {
        let (key, expiry) = self.next(kind);
        let credentials = json!({
            "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": key, "SecretAccessKey": "secret", "Token": "session",
            "Expiration": expiry.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            "LastUpdated": "2026-11-21T00:00:00Z",
        });
        answer(200, credentials.to_string())
    }
}

fn answer(status: u16, body: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}
