//! A double of the wire protocols of ECR (`GetAuthorizationToken`), of STS (`AssumeRoleWithWebIdentity`, `AssumeRole`) and
//! of a container credentials endpoint (any GET), on one loopback port.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use ecr_admission::clock::Clock;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use rustls::ServerConfig;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

use super::sts::{Assume, Sts};

const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";

/// What one call to `GetAuthorizationToken` gets.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// Waited for before anything is said.
    pub(crate) delay: Duration,
    /// How far the double's clock (header `Date`, and what `Life` counts from) is ahead of the test's.
    pub(crate) ahead: SignedDuration,
    pub(crate) answer: Answer,
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A token with this password that lives this long. `REGION` in it stands for the call's region, `KEY` for the access
    /// key that signed it (of a session: `AKID` and the role's name), `EXPIRY` for the second (Unix) in which it ends.
    Token(String, SignedDuration),
    /// What moto answers, always: a token that expired in 2015.
    Moto,
    /// An error as ECR writes it: HTTP status, code, message.
    Error(u16, &'static str, &'static str),
    /// Any status and body.
    Raw(u16, String),
    /// The connection is closed without a word.
    Drop,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self {
            delay: Duration::ZERO,
            ahead: SignedDuration::ZERO,
            answer,
        }
    }
}

/// One call, by what its SigV4 signature says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) access_key: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

/// A running double; dropping it closes its port.
pub(crate) struct EcrDouble {
    /// For `AWS_ENDPOINT_URL_ECR`, `AWS_ENDPOINT_URL_STS`, or (with any path) `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    _accepting: AbortOnDropHandle<()>,
}

struct State {
    clock: Clock,
    calls: Mutex<Vec<Call>>,
    always: Mutex<Reply>,
    next: Mutex<VecDeque<Reply>>,
    /// What calls get that are signed with a key.
    by_key: Mutex<HashMap<String, Reply>>,
    sts: Sts,
}

impl EcrDouble {
    /// Plain HTTP. Answers every call with a token of twelve hours whose password is `password-of-REGION`.
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    /// Plain HTTP at this address, for clients that are in network namespaces of their own.
    pub(crate) async fn start_at(address: &str) -> Self {
        Self::serve(address, None).await
    }

    /// HTTPS with the certificate of `tls`.
    pub(crate) async fn start_tls(tls: Arc<ServerConfig>) -> Self {
        Self::serve("127.0.0.1:0", Some(TlsAcceptor::from(tls))).await
    }

    /// What every call gets from now on.
    pub(crate) fn always(&self, reply: impl Into<Reply>) {
        *self.state.always.lock().unwrap() = reply.into();
    }

    /// What the next calls get, one each, before [`EcrDouble::always`] applies again.
    pub(crate) fn next(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state.next.lock().unwrap().extend(replies);
    }

    /// What every call gets from now on that is signed with this access key.
    pub(crate) fn always_for(&self, access_key: &str, reply: impl Into<Reply>) {
        let mut by_key = self.state.by_key.lock().unwrap();
        by_key.insert(access_key.to_owned(), reply.into());
    }

    /// Makes STS refuse every role from now on, with this error code and message.
    pub(crate) fn refuse_roles(&self, code: &'static str, message: &'static str) {
        self.state.sts.always(Assume::Refuse(403, code, message));
    }

    /// What STS does about the role of this name from now on. The access key of its sessions is `AKID` and the name.
    pub(crate) fn role(&self, name: &str, assume: Assume) {
        self.state.sts.role(name, assume);
    }

    /// The forms of `AssumeRole` so far.
    pub(crate) fn assumed(&self) -> Vec<String> {
        self.state.sts.forms()
    }

    /// All signed calls so far, of ECR only.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let calls = self.state.calls.lock().unwrap();
        calls
            .iter()
            .filter(|call| call.service == "ecr")
            .cloned()
            .collect()
    }

    /// How many calls of ECR there were for a region.
    pub(crate) fn calls_in(&self, region: &str) -> usize {
        self.calls()
            .iter()
            .filter(|call| call.region == region)
            .count()
    }

    async fn serve(address: &str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let twelve_hours = SignedDuration::from_hours(12);
        let state = Arc::new(State {
            clock: Clock::system(),
            calls: Mutex::default(),
            always: Mutex::new(Answer::Token("password-of-REGION".into(), twelve_hours).into()),
            next: Mutex::default(),
            by_key: Mutex::default(),
            sts: Sts::default(),
        });
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (Arc::clone(&shared), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => connection(stream, state).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                connection(stream, state).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            url: format!("{scheme}://{address}"),
            address,
            state,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send, state: Arc<State>) {
    let serve = service_fn(|request| respond(request, Arc::clone(&state)));
    // An error is either told to us (`Answer::Drop`) or the client's affair.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), serve)
        .await;
}

type Answered = Response<Full<Bytes>>;

async fn respond(request: Request<Incoming>, state: Arc<State>) -> io::Result<Answered> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    if request.method() == Method::GET {
        return Ok(container_credentials(&state));
    }
    let (target, authorization) = (header("x-amz-target"), header("authorization"));
    if target != TARGET {
        let body = request
            .into_body()
            .collect()
            .await
            .map_err(io::Error::other)?
            .to_bytes();
        let form = String::from_utf8_lossy(&body);
        let by = signed(&authorization);
        let is_signed = by.service == "sts";
        if is_signed {
            state.calls.lock().unwrap().push(by);
        }
        let now = state.clock.now();
        let said = state.sts.answer(&form, is_signed, now).await;
        return Ok(response(said.status, said.kind, now, said.body));
    }
    let call = signed(&authorization);
    state.calls.lock().unwrap().push(call.clone());
    let reply = state.next.lock().unwrap().pop_front();
    let of_key = || state.by_key.lock().unwrap().get(&call.access_key).cloned();
    let reply = reply
        .or_else(of_key)
        .unwrap_or_else(|| state.always.lock().unwrap().clone());
    tokio::time::sleep(reply.delay).await;
    let now = state.clock.now() + reply.ahead;
    let (status, body) = match reply.answer {
        Answer::Drop => return Err(io::Error::other("told to drop the connection")),
        Answer::Raw(status, body) => (status, body),
        Answer::Moto => (200, token("123456789012-auth-token", 1_420_070_400)),
        Answer::Token(password, life) => {
            let expires_at = (now + life).as_second();
            let password = password
                .replace("REGION", &call.region)
                .replace("KEY", &call.access_key)
                .replace("EXPIRY", &expires_at.to_string());
            (200, token(&password, expires_at))
        }
        Answer::Error(status, code, message) => (
            status,
            json!({"__type": code, "message": message}).to_string(),
        ),
    };
    Ok(response(status, "application/x-amz-json-1.1", now, body))
}

fn token(password: &str, expires_at: i64) -> String {
    let token = BASE64_STANDARD.encode(format!("AWS:{password}"));
    let data = json!({
        "authorizationToken": token,
        "expiresAt": expires_at,
        "proxyEndpoint": "https://123456789012.dkr.ecr.us-east-1.amazonaws.com",
    });
    json!({"authorizationData": [data]}).to_string()
}

/// Reads `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`.
fn signed(authorization: &str) -> Call {
    let scope = authorization
        .split("Credential=")
        .nth(1)
        .unwrap_or_default();
    let mut parts = scope.split([',', '/']).map(str::to_owned);
    let mut part = |skip| parts.nth(skip).unwrap_or_default();
    Call {
        access_key: part(0),
        region: part(1),
        service: part(0),
    }
}

fn container_credentials(state: &State) -> Answered {
    let now = state.clock.now();
    let body = json!({
        "AccessKeyId": "AKIDCONTAINER",
        "SecretAccessKey": "secret",
        "Token": "session",
        "Expiration": (now + SignedDuration::from_hours(6)).to_string(),
    });
    response(200, "application/json", now, body.to_string())
}

fn response(status: u16, kind: &str, now: Timestamp, body: String) -> Answered {
    let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let response = Response::builder()
        .status(status)
        .header("content-type", kind)
        .header("date", date)
        .body(Full::new(Bytes::from(body)));
    response.unwrap()
}
