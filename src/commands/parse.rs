//! `ecr-admission parse`: what the parser makes of references, line by line, so that any corpus can be compared.

use std::io::{self, BufRead, Read, Write};

use serde::Serialize;

use crate::image::ecr::Host;
use crate::image::reference::Reference;

/// The longest line that is read as one, in bytes; the rest of a longer one is skipped.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// One line of output.
#[derive(Debug, Default, Serialize)]
struct Parsed<'a> {
    /// The reference as it was given; `null` when the line holds none.
    input: Option<&'a str>,
    ok: bool,
    error: Option<String>,
    domain: Option<&'a str>,
    path: Option<String>,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
    ecr: Option<Ecr<'a>>,
}

/// What an exact ECR host says. The public registry has neither account nor region.
#[derive(Debug, Serialize)]
struct Ecr<'a> {
    account: Option<&'a str>,
    region: Option<&'a str>,
    partition: &'static str,
    fips: bool,
    public: bool,
}

/// Reads one JSON string a line and writes one JSON object a line, in the same order. A line that holds no JSON string
/// gets an object too, with `ok: false` and the reason.
///
/// # Errors
/// Only those of reading and writing.
pub fn run(mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut line = Vec::new();
    while read_line(&mut input, &mut line)? {
        match serde_json::from_slice::<String>(&line) {
            Ok(text) => serde_json::to_writer(&mut output, &parsed(&text))?,
            Err(_) => serde_json::to_writer(
                &mut output,
                &Parsed {
                    error: Some("the line is no JSON string".to_owned()),
                    ..Parsed::default()
                },
            )?,
        }
        output.write_all(b"\n")?;
    }
    output.flush()
}

/// Reads up to the next line feed; `false` at the end of the input.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let read = input
        .by_ref()
        .take(LINE_BYTES_MAX)
        .read_until(b'\n', line)?;
    if read as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
        input.skip_until(b'\n')?;
    }
    Ok(read > 0)
}

fn parsed(text: &str) -> Parsed<'_> {
    match Reference::parse(text) {
        Ok(reference) => Parsed {
            input: Some(text),
            ok: true,
            error: None,
            domain: Some(reference.domain()),
            path: Some(reference.path().into_owned()),
            tag: reference.tag(),
            digest: reference.digest(),
            ecr: ecr(reference.domain()),
        },
        Err(error) => Parsed {
            input: Some(text),
            error: Some(error.to_string()),
            ..Parsed::default()
        },
    }
}

fn ecr(domain: &str) -> Option<Ecr<'_>> {
    match Host::classify(domain) {
        Host::Private(host) => Some(Ecr {
            account: Some(host.account),
            region: Some(host.region),
            partition: host.partition.name(),
            fips: host.fips,
            public: false,
        }),
        Host::Public(_) => Some(Ecr {
            account: None,
            region: None,
            partition: "aws",
            fips: false,
            public: true,
        }),
        Host::ForeignRegion(_) | Host::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::run;

    fn answers(input: &str) -> String {
        let mut output = Vec::new();
        run(input.as_bytes(), &mut output).unwrap();
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn every_line_gets_an_answer_in_its_order() {
        insta::assert_snapshot!(answers(concat!(
            "\"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/a/b:1\"\n",
            "\"public.ecr.aws/nginx/nginx\"\n",
            "nginx\n",
            "\n",
            "{\"image\":\"nginx\"}\n",
            "\"Nginx\"\r\n",
            "\"nginx\"",
        )), @r#"
        {"input":"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/a/b:1","ok":true,"error":null,"domain":"123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com","path":"a/b","tag":"1","digest":null,"ecr":{"account":"123456789012","region":"us-gov-west-1","partition":"aws-us-gov","fips":true,"public":false}}
        {"input":"public.ecr.aws/nginx/nginx","ok":true,"error":null,"domain":"public.ecr.aws","path":"nginx/nginx","tag":null,"digest":null,"ecr":{"account":null,"region":null,"partition":"aws","fips":false,"public":true}}
        {"input":null,"ok":false,"error":"the line is no JSON string","domain":null,"path":null,"tag":null,"digest":null,"ecr":null}
        {"input":null,"ok":false,"error":"the line is no JSON string","domain":null,"path":null,"tag":null,"digest":null,"ecr":null}
        {"input":null,"ok":false,"error":"the line is no JSON string","domain":null,"path":null,"tag":null,"digest":null,"ecr":null}
        {"input":"Nginx","ok":false,"error":"the repository must be in lower case","domain":null,"path":null,"tag":null,"digest":null,"ecr":null}
        {"input":"nginx","ok":true,"error":null,"domain":"docker.io","path":"library/nginx","tag":null,"digest":null,"ecr":null}
        "#);
    }
}
