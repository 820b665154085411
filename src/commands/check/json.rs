//! For programs: one JSON object.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::report::{Finding, Level, Report};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    findings: Vec<Entry<'a>>,
    summary: Summary<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    files: usize,
    documents: usize,
    pod_specs: usize,
    images: usize,
    violations: usize,
    warnings: usize,
    notes: usize,
    unreadable: usize,
    unknown_kinds: &'a BTreeMap<String, usize>,
    not_objects: usize,
    exit_code: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    file: String,
    line: Option<u32>,
    column: Option<u32>,
    level: &'static str,
    rule: &'static str,
    /// The sentence that the text format shows.
    message: String,
    image: Option<&'a str>,
    api_version: Option<&'a str>,
    kind: Option<&'a str>,
    namespace: Option<&'a str>,
    name: Option<&'a str>,
    /// `container`, `init container`, `ephemeral container` or `volume`.
    slot: Option<&'static str>,
    /// The container's or volume's name.
    slot_name: Option<&'a str>,
    /// The template that Helm rendered the document from.
    source: Option<&'a str>,
}

pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let output = Output {
        findings: report.findings.iter().map(entry).collect(),
        summary: Summary {
            files: report.files,
            documents: report.documents,
            pod_specs: report.pods,
            images: report.images,
            violations: report.violations(),
            warnings: report.count(Level::Warning),
            notes: report.count(Level::Note),
            unreadable: report.unreadable(),
            unknown_kinds: &report.unknown_kinds,
            not_objects: report.not_objects,
            exit_code: report.outcome().exit_code(),
        },
    };
    serde_json::to_writer_pretty(&mut *out, &output)?;
    writeln!(out)
}

fn entry(finding: &Finding) -> Entry<'_> {
    let subject = finding.subject.as_deref();
    Entry {
        file: finding.file.name(),
        line: finding.place.map(|place| place.line),
        column: finding.place.map(|place| place.column),
        level: finding.level().name(),
        rule: finding.check.id(),
        message: finding.sentence(),
        image: finding.image.as_deref(),
        api_version: subject.and_then(|subject| subject.api_version.as_deref()),
        kind: subject.map(|subject| subject.kind.as_str()),
        namespace: subject.and_then(|subject| subject.namespace.as_deref()),
        name: subject.and_then(|subject| subject.name.as_deref()),
        slot: finding.slot.as_ref().map(crate::manifest::Slot::what),
        slot_name: finding.slot.as_ref().map(crate::manifest::Slot::name),
        source: finding.source.as_deref(),
    }
}
