//! A double of the Kubernetes API server's wire behaviour: Secrets, Namespaces, Pods and webhook configurations over plain
//! HTTP on loopback, with resourceVersions, preconditions, managedFields, merge and apply patches, pages, watches with bookmarks, and the
//! failures that a real one shows, on demand. Where it and the real server differ, it is wrong.
//!
//! ```ignore
//! let api = ApiServer::start().await;
//! api.add_namespace("team-a");
//! api.fail(Verb::Create, Resource::Secrets, 1, Fault::Drop);
//! // … use api.url() or api.write_kubeconfig(dir) …
//! assert_eq!(api.count(Verb::Create, Resource::Secrets), 2);
//! ```

mod checks;
mod contents;
mod fields;
mod objects;
mod pages;
mod serve;
mod status;
mod watcher;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ecr_admission::clock::Clock;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use objects::Objects;
pub(crate) use objects::Resource;
use status::Status;

/// What a request asks for, as RBAC calls it (an apply is a patch there).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    List,
    Watch,
    Create,
    Patch,
    Apply,
    Delete,
}

/// How a request goes wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answered with a failure.
    Refuse {
        code: u16,
        reason: String,
        message: String,
    },
    /// Answered with this text, as success.
    Answer(String),
    /// Answered as usual, but later.
    Delay(Duration),
    /// The connection is closed without an answer.
    Drop,
}

/// How a watch learns that its version is too old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GoneAs {
    /// By the HTTP status.
    Status,
    /// By an ERROR event in a stream that began well.
    Event,
}

/// A request that has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) verb: Verb,
    pub(crate) resource: Resource,
    pub(crate) namespace: Option<String>,
    pub(crate) query: String,
}

/// A running API server; it stops when dropped.
pub(crate) struct ApiServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    objects: Mutex<Objects>,
    behaviour: Mutex<Behaviour>,
    /// Wakes the watches.
    changes: watch::Sender<u64>,
    connections: Mutex<Vec<AbortHandle>>,
}

struct Behaviour {
    received: Vec<Received>,
    faults: Vec<(Verb, Resource, usize, Fault)>,
    bookmark_pause: Duration,
    gone_as: GoneAs,
    tokens_expired: bool,
    frozen: bool,
}

impl Shared {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap()
    }

    fn behaviour(&self) -> MutexGuard<'_, Behaviour> {
        self.behaviour.lock().unwrap()
    }

    fn write<T>(&self, write: impl FnOnce(&mut Objects) -> Result<T, Status>) -> Result<T, Status> {
        let result = write(&mut self.objects());
        self.wake();
        result
    }

    fn wake(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Notes a request and says how it shall fail.
    fn receive(&self, received: Received) -> Option<Fault> {
        let mut behaviour = self.behaviour();
        let (verb, resource) = (received.verb, received.resource);
        behaviour.received.push(received);
        let (.., times, fault) = behaviour
            .faults
            .iter_mut()
            .find(|(v, r, times, _)| (*v, *r) == (verb, resource) && *times > 0)?;
        *times -= 1;
        Some(fault.clone())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn bookmark_pause(&self) -> Duration {
        self.behaviour().bookmark_pause
    }

    fn gone_as(&self) -> GoneAs {
        self.behaviour().gone_as
    }

    fn tokens_expired(&self) -> bool {
        self.behaviour().tokens_expired
    }

    fn is_frozen(&self) -> bool {
        self.behaviour().frozen
    }
}

/// Running and reaching it.
impl ApiServer {
    /// Starts an empty one on a free port of loopback.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            objects: Mutex::new(Objects::new(Clock::system())),
            behaviour: Mutex::new(Behaviour {
                received: Vec::new(),
                faults: Vec::new(),
                bookmark_pause: Duration::from_mins(1),
                gone_as: GoneAs::Event,
                tokens_expired: false,
                frozen: false,
            }),
            changes: watch::Sender::default(),
            connections: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            accepting,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Writes a kubeconfig for it into a directory and returns the file's path.
    pub(crate) fn write_kubeconfig(&self, directory: &Path) -> PathBuf {
        let path = directory.join("kubeconfig");
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "double",
            "clusters": [{"name": "double", "cluster": {"server": self.url()}}],
            "users": [{"name": "double", "user": {}}],
            "contexts": [{"name": "double", "context": {"cluster": "double", "user": "double"}}],
        });
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        path
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let answering = Arc::clone(&shared);
        let service = service_fn(move |request| serve::serve(Arc::clone(&answering), request));
        let connection = tokio::spawn(async move {
            // A client may go whenever it likes.
            drop(
                http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
        let mut connections = shared.connections.lock().unwrap();
        connections.retain(|connection| !connection.is_finished());
        connections.push(connection.abort_handle());
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

/// What goes wrong, and what was asked.
impl ApiServer {
    /// Lets the next `times` requests of a kind go wrong.
    pub(crate) fn fail(&self, verb: Verb, resource: Resource, times: usize, fault: Fault) {
        let mut behaviour = self.shared.behaviour();
        behaviour.faults.push((verb, resource, times, fault));
    }

    /// Nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        self.shared.behaviour().faults.clear();
    }

    /// Answers the next `times` requests of a kind with a failure.
    pub(crate) fn refuse(
        &self,
        (verb, resource): (Verb, Resource),
        times: usize,
        (code, reason, message): (u16, &str, &str),
    ) {
        let fault = Fault::Refuse {
            code,
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        self.fail(verb, resource, times, fault);
    }

    /// Forgets all events so far: whoever watches from before the last change must list again.
    pub(crate) fn compact(&self, gone_as: GoneAs) {
        self.shared.behaviour().gone_as = gone_as;
        self.shared.objects().compact();
    }

    /// Refuses (or accepts again) every token of a next page.
    pub(crate) fn expire_page_tokens(&self, expired: bool) {
        self.shared.behaviour().tokens_expired = expired;
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        for connection in self.shared.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }

    /// Keeps all watches open and silent, or lets them speak again.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.shared.behaviour().frozen = frozen;
        self.shared.wake();
    }

    /// How long a watch without events waits for its next bookmark; a minute if not set.
    pub(crate) fn set_bookmark_pause(&self, pause: Duration) {
        self.shared.behaviour().bookmark_pause = pause;
        self.shared.wake();
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.behaviour().received.clone()
    }

    pub(crate) fn count(&self, verb: Verb, resource: Resource) -> usize {
        let asked = |received: &&Received| (received.verb, received.resource) == (verb, resource);
        self.shared
            .behaviour()
            .received
            .iter()
            .filter(asked)
            .count()
    }
}
