//! A double of a registry, as far as a pull begins: HEAD of a manifest, with TLS, by a password that it takes or not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// Decides by path and password; the answer is an HTTP status.
type Judge = dyn FnMut(&str, &str) -> u16 + Send;

/// A running double; dropping it closes its port.
pub(crate) struct RegistryDouble {
    pub(crate) address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

impl RegistryDouble {
    /// With the certificate of `tls`. `judge` is asked about the repository and tag, as `repository:tag`, and the password
    /// of each call.
    pub(crate) async fn start(
        tls: Arc<ServerConfig>,
        judge: impl FnMut(&str, &str) -> u16 + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let judge: Arc<Mutex<Box<Judge>>> = Arc::new(Mutex::new(Box::new(judge)));
        let tls = TlsAcceptor::from(tls);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, judge) = (tls.clone(), Arc::clone(&judge));
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(stream).await else {
                        return;
                    };
                    let serve = service_fn(|request| {
                        let status = answer(&request, &judge);
                        let response = Response::builder().status(status);
                        async move { response.body(Empty::<Bytes>::new()) }
                    });
                    // An error is the client's affair.
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), serve)
                        .await;
                });
            }
        });
        Self {
            address,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }
}

fn answer(request: &Request<Incoming>, judge: &Mutex<Box<Judge>>) -> u16 {
    let path = request.uri().path();
    let image = path.strip_prefix("/v2/").and_then(|path| {
        let (repository, version) = path.rsplit_once("/manifests/")?;
        Some(format!("{repository}:{version}"))
    });
    let (Some(image), true) = (image, request.method() == Method::HEAD) else {
        return 400;
    };
    let login = request.headers().get("authorization");
    let password = login.and_then(|login| {
        let encoded = login.to_str().ok()?.strip_prefix("Basic ")?;
        let login = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
        login.strip_prefix("AWS:").map(str::to_owned)
    });
    let accepts = request.headers().contains_key("accept");
    match password {
        Some(password) if accepts => judge.lock().unwrap()(&image, &password),
        _ => 401,
    }
}
