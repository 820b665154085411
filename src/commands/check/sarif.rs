//! For code scanning: SARIF 2.1.0 (OASIS), the part of it that we need.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::report::{Check, File, Finding, Report};
use crate::policy::{Action, Rule};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

#[derive(Serialize)]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    invocations: [Invocation; 1],
    /// What a column counts.
    column_kind: &'static str,
    results: Vec<ScanResult>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
struct Driver {
    name: &'static str,
    version: &'static str,
    rules: Vec<ReportingDescriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportingDescriptor {
    id: &'static str,
    short_description: Message,
    help: Message,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    /// Whether all input could be read.
    execution_successful: bool,
    exit_code: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScanResult {
    rule_id: &'static str,
    rule_index: usize,
    level: &'static str,
    message: Message,
    locations: [Location; 1],
}

#[derive(Serialize)]
struct Message {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location {
    physical_location: PhysicalLocation,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
    start_column: u32,
}

pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let checks = checks();
    let outcome = report.outcome();
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "ecr-admission",
                    version: env!("CARGO_PKG_VERSION"),
                    rules: checks.iter().map(|check| descriptor(*check)).collect(),
                },
            },
            invocations: [Invocation {
                execution_successful: outcome != super::Outcome::Unreadable,
                exit_code: outcome.exit_code(),
            }],
            column_kind: "unicodeCodePoints",
            results: report
                .findings
                .iter()
                .map(|finding| result(finding, &checks))
                .collect(),
        }],
    };
    serde_json::to_writer_pretty(&mut *out, &log)?;
    writeln!(out)
}

/// Everything that can be reported; the index of a rule is its place here.
fn checks() -> Vec<Check> {
    let rules = Rule::ALL
        .into_iter()
        .map(|rule| Check::Rule(rule, Action::Enforce));
    rules.chain(Check::OWN).collect()
}

fn descriptor(check: Check) -> ReportingDescriptor {
    let help = check.help();
    ReportingDescriptor {
        id: check.id(),
        short_description: Message {
            text: help.to_owned(),
        },
        help: Message {
            text: help.to_owned(),
        },
    }
}

fn result(finding: &Finding, checks: &[Check]) -> ScanResult {
    let id = finding.check.id();
    ScanResult {
        rule_id: id,
        rule_index: checks
            .iter()
            .position(|check| check.id() == id)
            .unwrap_or_default(),
        level: finding.level().name(),
        message: Message {
            text: finding.sentence(),
        },
        locations: [Location {
            physical_location: PhysicalLocation {
                artifact_location: ArtifactLocation {
                    uri: uri(&finding.file),
                },
                region: finding.place.map(|place| Region {
                    start_line: place.line,
                    start_column: place.column,
                }),
            },
        }],
    }
}

/// RFC 3986: a relative reference, or a `file:` URI for an absolute path.
fn uri(file: &File) -> String {
    let path = file.portable();
    let mut uri = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(byte));
            }
            // A String takes any text.
            _ => _ = write!(uri, "%{byte:02X}"),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_uri_that_no_part_of_it_can_break() {
        let uri = |path: &str| uri(&File::Path(path.into()));
        assert_eq!(uri("./deploy/a b.yaml"), "deploy/a%20b.yaml");
        assert_eq!(uri("c:/é#?.yaml"), "c%3A/%C3%A9%23%3F.yaml");
        assert_eq!(uri("/srv/x.yaml"), "file:///srv/x.yaml");
        assert_eq!(super::uri(&File::Stdin), "%3Cstdin%3E");
    }

    #[test]
    fn every_rule_is_listed_once() {
        let mut ids: Vec<_> = checks().into_iter().map(Check::id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Rule::ALL.len() + Check::OWN.len());
    }
}
