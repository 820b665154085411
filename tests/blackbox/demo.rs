//! `ecr-admission demo` as a visitor sees it.

use std::process::Stdio;

use http_body_util::BodyExt;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::https::{Client, LONG, request};

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ecr-admission"));
    command
        .arg("demo")
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Times, ports and dates replaced by their names.
fn steady(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let steady = words.iter().map(|word| match *word {
            word if word.starts_with("https://localhost:") => "https://localhost:PORT".to_owned(),
            word if word.contains('T') && word.ends_with('Z') => "DATE".to_owned(),
            word if is_time(word.trim_end_matches(':')) => {
                word.replace(word.trim_end_matches(':'), "TIME")
            }
            word => word.to_owned(),
        });
        lines.push(steady.collect::<Vec<_>>().join(" "));
    }
    lines.join("\n")
}

fn is_time(word: &str) -> bool {
    let number = word.trim_end_matches(['m', 's', 'µ', 'n']);
    number != word && number.parse::<f64>().is_ok()
}

#[tokio::test]
async fn once_shows_the_main_job_and_ends_with_zero() {
    let output = timeout(LONG, demo(&["--once"]).output())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(!shown.contains('\u{1b}'), "colour without a terminal");
    insta::assert_snapshot!(steady(&shown));
}

#[tokio::test]
async fn the_command_that_it_prints_works_until_it_is_told_to_end_and_then_nothing_is_left() {
    let mut child = demo(&[]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let command = loop {
        let line = timeout(LONG, lines.next_line())
            .await
            .unwrap()
            .unwrap()
            .expect("no command");
        if line.trim_start().starts_with("curl ") {
            break line;
        }
    };
    let after = |word: &str| {
        let mut words = command
            .split_whitespace()
            .skip_while(|other| *other != word);
        words.nth(1).unwrap().trim_start_matches('@').to_owned()
    };
    let (authority, body) = (after("--cacert"), after("--data-binary"));
    let url = command.split_whitespace().last().unwrap();
    let port: u16 = url
        .trim_end_matches("/mutate")
        .rsplit(':')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let pem = std::fs::read_to_string(&authority).unwrap();
    let client = Client::trusting(&[&pem], ([127, 0, 0, 1], port).into());

    let mut posted = request("POST", "/mutate", std::fs::read(&body).unwrap());
    let json = after("-H")
        .trim_start_matches("content-type:")
        .parse()
        .unwrap();
    posted.headers_mut().insert("content-type", json);
    let answer = client
        .http1()
        .await
        .sender
        .send_request(posted)
        .await
        .unwrap();
    let answer = answer.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["response"]["allowed"], true);
    assert_eq!(answer["response"]["patchType"], "JSONPatch");

    let id = child.id().unwrap();
    let sent = Command::new("sh")
        .arg("-c")
        .arg(format!("kill -INT {id}"))
        .status();
    assert!(sent.await.unwrap().success());
    let ended = timeout(LONG, child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
    assert!(!std::path::Path::new(&authority).exists());
}
