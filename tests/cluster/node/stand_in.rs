//! The program in the tests' images, built with rustc alone. It waits to be told to end; with the argument `exit` it ends at
//! once; with `credentials PORT` it serves credentials on loopback as AWS's signing helper does, in the protocol of instance
//! metadata (version 2).

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

const ROLE: &str = "/latest/meta-data/iam/security-credentials/";
const CREDENTIALS: &str = r#"{"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z",
    "AccessKeyId": "AKIDSIDECAR", "SecretAccessKey": "secret", "Token": "session", "Expiration": "2100-01-01T00:00:00Z"}"#;

extern "C" {
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn _exit(status: i32) -> !;
}

extern "C" fn end(_: i32) {
    unsafe { _exit(0) }
}

fn main() {
    // The first process of a container ignores what it has no handler for. 15 is SIGTERM.
    unsafe { signal(15, end) };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["exit"] => {}
        ["credentials", port] => {
            let listener = TcpListener::bind(format!("127.0.0.1:{}", port)).unwrap();
            for client in listener.incoming() {
                // Who has gone asks again.
                let _ = answer(client.unwrap());
            }
        }
        _ => loop {
            std::thread::park();
        },
    }
}

/// Answers one request, which has no body.
fn answer(mut client: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let request = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    while lines.next().unwrap_or_else(|| Ok(String::new()))? != "" {}
    let mut words = request.split(' ');
    let (status, body) = match (words.next(), words.next().unwrap_or("")) {
        (Some("PUT"), "/latest/api/token") => ("200 OK", "a-token"),
        (Some("GET"), path) if path == ROLE => ("200 OK", "sidecar"),
        (Some("GET"), path) if path.strip_prefix(ROLE) == Some("sidecar") => ("200 OK", CREDENTIALS),
        _ => ("404 Not Found", ""),
    };
    write!(
        client,
        "HTTP/1.1 {}\r\nconnection: close\r\nx-aws-ec2-metadata-token-ttl-seconds: 21600\r\ncontent-length: {}\r\n\r\n{}",
        status,
        body.len(),
        body
    )
}
