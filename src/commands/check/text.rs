//! For people: one line a finding, as compilers write them, and a summary.

use std::io::{self, Write};

use super::report::{Level, Report, printable};

/// `FILE:LINE: LEVEL: SENTENCE [RULE]`
pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for finding in &report.findings {
        write!(out, "{}:", printable(&finding.file.name()))?;
        if let Some(place) = finding.place {
            write!(out, "{}:", place.line)?;
        }
        let level = finding.level().name();
        writeln!(
            out,
            " {level}: {} [{}]",
            finding.sentence(),
            finding.check.id()
        )?;
    }
    Ok(())
}

/// What was checked, what was not, and what came of it.
pub(super) fn write_summary(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for directory in &report.empty_directories {
        let directory = printable(&directory.display().to_string());
        writeln!(
            out,
            "{directory}: no .yaml, .yml or .json file in this directory"
        )?;
    }
    writeln!(
        out,
        "checked {}, {}, {}, {}: {}, {}, {}{}",
        counted(report.files, "file"),
        counted(report.documents, "document"),
        counted(report.pods, "Pod spec"),
        counted(report.images, "image"),
        counted(report.violations(), "violation"),
        counted(report.count(Level::Warning), "warning"),
        match report.count(Level::Note) {
            0 => String::new(),
            notes => format!("{}, ", counted(notes, "note")),
        },
        format_args!("{} unreadable", report.unreadable()),
    )?;
    let kinds: Vec<String> = report
        .unknown_kinds
        .iter()
        .map(|(kind, count)| format!("{count} {}", printable(kind)))
        .collect();
    if !kinds.is_empty() {
        writeln!(
            out,
            "not checked, no Pods known in these kinds: {}",
            kinds.join(", ")
        )?;
    }
    if report.not_objects > 0 {
        let number = counted(report.not_objects, "document");
        writeln!(out, "not checked, no Kubernetes objects: {number}")?;
    }
    Ok(())
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
