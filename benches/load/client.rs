//! The load: kept-alive connections, each with one request in flight. What is sent is made once, and an answer is looked at
//! once for each connection; every later one must be the same: the generator must never be what limits.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::server::Announcement;

/// As many connections, hence requests in flight.
pub(crate) const CONNECTIONS: usize = CONNECTIONS_U32 as usize;
const CONNECTIONS_U32: u32 = 32;

/// What a run showed.
pub(crate) struct Load {
    pub(crate) took: Duration,
    /// Of every request, shortest first.
    pub(crate) latencies: Vec<Duration>,
}

/// Connections to one server, and what is sent on them.
pub(crate) struct Generator {
    connections: Vec<Connection>,
    request: Vec<u8>,
}

struct Connection {
    stream: TlsStream<TcpStream>,
    /// The answer, and where its body starts.
    answer: Vec<u8>,
    head: usize,
    first: Vec<u8>,
}

impl Generator {
    pub(crate) async fn connect(
        server: &Announcement,
        body: &[u8],
        is_patched: bool,
    ) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(server.ca_pem.as_bytes())?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let request = request(body);
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let tcp = TcpStream::connect(server.address).await?;
            tcp.set_nodelay(true)?;
            let name = ServerName::try_from("localhost")?;
            let mut connection = Connection {
                stream: connector.connect(name, tcp).await?,
                answer: Vec::with_capacity(4_096),
                head: 0,
                first: Vec::new(),
            };
            connection.ask_first(&request, is_patched).await?;
            connections.push(connection);
        }
        Ok(Self {
            connections,
            request,
        })
    }

    /// Sends `requests`, spread evenly over the connections: each as soon as the one before it was answered, or so many
    /// a second of all.
    pub(crate) async fn run(
        &mut self,
        requests: usize,
        per_second: Option<u32>,
    ) -> anyhow::Result<Load> {
        let started = Instant::now();
        let request = &self.request;
        let each = requests / CONNECTIONS;
        let pause = per_second.map(|rate| Duration::from_secs(1) / rate);
        let connections = (0..).zip(&mut self.connections);
        let runs = connections.map(|(number, connection)| async move {
            let mut latencies = Vec::with_capacity(each);
            for turn in 0..u32::try_from(each)? {
                if let Some(pause) = pause {
                    let due = started + pause * (turn * CONNECTIONS_U32 + number);
                    tokio::time::sleep_until(due.into()).await;
                }
                let sent = Instant::now();
                connection.ask(request).await?;
                latencies.push(sent.elapsed());
            }
            anyhow::Ok(latencies)
        });
        let runs = try_join_all(runs);
        let latencies = match per_second {
            Some(_) => runs.await?,
            None => awake(runs).await?,
        };
        let mut latencies = latencies.concat();
        let took = started.elapsed();
        latencies.sort_unstable();
        Ok(Load { took, latencies })
    }
}

impl Connection {
    /// Learns what an answer looks like.
    async fn ask_first(&mut self, request: &[u8], is_patched: bool) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        let (head, length) = loop {
            self.read().await?;
            if let Some(head) = find(&self.answer, b"\r\n\r\n") {
                break (head + 4, content_length(&self.answer[..head])?);
            }
        };
        while self.answer.len() < head + length {
            self.read().await?;
        }
        let is_ok = self.answer.starts_with(b"HTTP/1.1 200 ");
        let has_patch = find(&self.answer[head..], b"\"patchType\"").is_some();
        ensure!(is_ok && has_patch == is_patched, "{}", self.wrong());
        self.head = head;
        self.first = std::mem::take(&mut self.answer);
        Ok(())
    }

    /// The head differs by its date alone, which always is as long.
    async fn ask(&mut self, request: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        while self.answer.len() < self.first.len() {
            self.read().await?;
        }
        let is_same = self.answer[self.head..] == self.first[self.head..];
        ensure!(is_same, "{}", self.wrong());
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        let read = self.stream.read_buf(&mut self.answer).await?;
        ensure!(read > 0, "the server closed the connection");
        Ok(())
    }

    fn wrong(&self) -> String {
        format!("a wrong answer: {}", String::from_utf8_lossy(&self.answer))
    }
}

/// Waits without going to sleep. Waking a generator that sleeps is the server's work, on this machine and on no other, and
/// a generator sleeps the more the slower the server is.
async fn awake<F: Future>(future: F) -> F::Output {
    tokio::select! {
        biased;
        output = future => output,
        never = stay_awake() => match never {},
    }
}

async fn stay_awake() -> Infallible {
    loop {
        tokio::task::yield_now().await;
    }
}

/// As the API server sends it.
fn request(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /mutate?timeout=10s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: kube-apiserver-admission\r\n\
         Content-Length: {}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\n\
         Accept-Encoding: gzip\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}

fn content_length(head: &[u8]) -> anyhow::Result<usize> {
    let head = std::str::from_utf8(head)?;
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let (_, length) = lines
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .context("an answer without its length")?;
    Ok(length.parse()?)
}
