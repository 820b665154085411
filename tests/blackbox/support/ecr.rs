//! A double of the wire protocols of ECR (`GetAuthorizationToken`), of STS (`AssumeRoleWithWebIdentity`, `AssumeRole`) and
//! of a container credentials endpoint (any GET), on one loopback port.

use std::collections::VecDeque;
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
    /// key that signed it (of a session: [`role_key`]), `EXPIRY` for the second (Unix) in which it ends.
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
    /// The code and message with which STS refuses, if it does.
    sts_refusal: Mutex<Option<(&'static str, &'static str)>>,
    /// The forms with which roles were asked for.
    assumed: Mutex<Vec<String>>,
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

    /// Makes STS refuse every role from now on, with this error code and message.
    pub(crate) fn refuse_roles(&self, code: &'static str, message: &'static str) {
        *self.state.sts_refusal.lock().unwrap() = Some((code, message));
    }

    /// The forms of `AssumeRole` so far.
    pub(crate) fn assumed(&self) -> Vec<String> {
        self.state.assumed.lock().unwrap().clone()
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
            sts_refusal: Mutex::default(),
            assumed: Mutex::default(),
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
        let key = match signed(&authorization) {
            by if by.service == "sts" => {
                state.assumed.lock().unwrap().push(form.to_string());
                state.calls.lock().unwrap().push(by);
                role_key(&form)
            }
            _ => "AKIDROLE".to_owned(),
        };
        return Ok(role(&state, &form, &key));
    }
    let call = signed(&authorization);
    state.calls.lock().unwrap().push(call.clone());
    let reply = state.next.lock().unwrap().pop_front();
    let reply = reply.unwrap_or_else(|| state.always.lock().unwrap().clone());
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

/// The access key of a session of the role that a form names: `AKID` and the role's name.
fn role_key(form: &str) -> String {
    let arn = form.split("RoleArn=").nth(1).unwrap_or_default();
    let arn = arn.split('&').next().unwrap_or_default();
    format!("AKID{}", arn.rsplit("%2F").next().unwrap_or_default())
}

fn role(state: &State, form: &str, key: &str) -> Answered {
    let now = state.clock.now();
    let expiration = now + SignedDuration::from_hours(1);
    let action = ["AssumeRoleWithWebIdentity", "AssumeRole"]
        .into_iter()
        .find(|action| form.contains(&format!("Action={action}&")));
    let Some(action) = action else {
        return response(400, "text/plain", now, "unknown action".to_owned());
    };
    if let Some((code, message)) = *state.sts_refusal.lock().unwrap() {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
             </ErrorResponse>"
        );
        return response(403, "text/xml", now, body);
    }
    let body = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
         <{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId>\
         <SecretAccessKey>secret</SecretAccessKey><SessionToken>session</SessionToken>\
         <Expiration>{expiration}</Expiration></Credentials></{action}Result>\
         </{action}Response>"
    );
    response(200, "text/xml", now, body)
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
