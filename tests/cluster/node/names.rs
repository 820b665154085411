//! The cluster's name server.

use std::net::{Ipv4Addr, SocketAddrV4};

use tokio::net::UdpSocket;
use tokio_util::task::AbortOnDropHandle;

/// A question for an IPv4 address, in the Internet.
const ADDRESS: [u8; 4] = [0, 1, 0, 1];

/// A running name server that knows one name; there is no other.
pub(crate) struct NameServer {
    _serving: AbortOnDropHandle<()>,
}

impl NameServer {
    /// Serves at the usual port of `at`.
    pub(crate) async fn start(at: Ipv4Addr, name: &'static str, address: Ipv4Addr) -> Self {
        let socket = UdpSocket::bind(SocketAddrV4::new(at, 53)).await.unwrap();
        let serving = tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                if let Some(answer) = answer(&question[..length], name, address) {
                    // Who asks asks again when nothing comes.
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Self {
            _serving: AbortOnDropHandle::new(serving),
        }
    }
}

/// Answers one question (RFC 1035, section 4).
fn answer(message: &[u8], name: &str, address: Ipv4Addr) -> Option<Vec<u8>> {
    let (header, rest) = message.split_at_checked(12)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (labels, kind) = (&rest[..end], rest.get(end + 1..end + 5)?);
    let known = labels.eq_ignore_ascii_case(&wire(name));
    let found = known && kind == ADDRESS;
    // A response, recursion desired and available; NXDOMAIN for any other name.
    let flags = if known { [0x81, 0x80] } else { [0x81, 0x83] };
    let counts = [0, 1, 0, u8::from(found), 0, 0, 0, 0];
    let mut answer = [&header[..2], &flags, &counts, &rest[..end + 5]].concat();
    if found {
        // The name as in the question, for five seconds, four bytes.
        answer.extend([0xc0, 12]);
        answer.extend([&ADDRESS[..], &[0, 0, 0, 5, 0, 4], &address.octets()].concat());
    }
    Some(answer)
}

/// A name as a message has it: each label behind its length.
fn wire(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
    name.split('.').flat_map(label).collect()
}
