//! A tiny HTTP proxy that knows CONNECT and nothing else, and resolves names by its own table.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// A running proxy; dropping it closes its port.
pub(crate) struct ConnectProxy {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    _accepting: AbortOnDropHandle<()>,
}

impl ConnectProxy {
    /// `hosts` is its whole knowledge of names; a request for another is refused with 403. With a `password` (the
    /// base64 of `user:password`) it refuses whoever does not send that with 407.
    pub(crate) async fn start(hosts: &[(&str, SocketAddr)], password: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let hosts: HashMap<String, SocketAddr> = hosts
            .iter()
            .map(|(host, address)| ((*host).to_owned(), *address))
            .collect();
        let shared = Arc::new((hosts, password.map(|basic| format!("Basic {basic}"))));
        let log = Arc::clone(&seen);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(tunnel(client, Arc::clone(&shared), Arc::clone(&log)));
            }
        });
        Self {
            address,
            seen,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// The `host:port` of every CONNECT so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

type Rules = (HashMap<String, SocketAddr>, Option<String>);

async fn tunnel(client: TcpStream, rules: Arc<Rules>, seen: Arc<Mutex<Vec<String>>>) {
    let mut client = BufReader::new(client);
    let (mut target, mut authorization, mut line) = (String::new(), None, String::new());
    while client.read_line(&mut line).await.is_ok_and(|read| read > 2) {
        if let Some(rest) = line.strip_prefix("CONNECT ") {
            rest.split(' ').next().unwrap().clone_into(&mut target);
        } else if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("proxy-authorization")
        {
            authorization = Some(value.trim().to_owned());
        }
        line.clear();
    }
    seen.lock().unwrap().push(target.clone());
    let host = target
        .rsplit_once(':')
        .map(|(host, _)| host)
        .unwrap_or_default();
    let status = match rules.0.get(host) {
        _ if authorization != rules.1 => "407 Proxy Authentication Required",
        None => "403 Forbidden",
        Some(address) => match TcpStream::connect(address).await {
            Err(_) => "502 Bad Gateway",
            Ok(mut server) => {
                let established = b"HTTP/1.1 200 Connection established\r\n\r\n";
                client.write_all(established).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                return;
            }
        },
    };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    let _ = client.write_all(answer.as_bytes()).await;
}
