//! Annotations in a GitHub workflow: its "workflow commands", one line a finding.

use std::io::{self, Write};

use super::report::{File, Finding, Level, Report};

/// `::error file=…,line=…,col=…,title=…::SENTENCE`
pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for finding in &report.findings {
        let command = match finding.level() {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Note => "notice",
        };
        let properties = properties(finding);
        writeln!(
            out,
            "::{command} {properties}::{}",
            escaped(&message(finding))
        )?;
    }
    Ok(())
}

fn properties(finding: &Finding) -> String {
    let mut properties = Vec::new();
    // Standard input is no file that GitHub could show: its place goes into the sentence.
    if let File::Path(_) = *finding.file {
        properties.push(format!(
            "file={}",
            escaped_property(&finding.file.portable())
        ));
        if let Some(place) = finding.place {
            properties.push(format!("line={},col={}", place.line, place.column));
        }
    }
    properties.push(format!("title={}", escaped_property(finding.check.id())));
    properties.join(",")
}

fn message(finding: &Finding) -> String {
    match (&*finding.file, finding.place) {
        (File::Stdin, Some(place)) => format!("<stdin>:{}: {}", place.line, finding.sentence()),
        (File::Stdin, None) => format!("<stdin>: {}", finding.sentence()),
        (File::Path(_), _) => finding.sentence(),
    }
}

/// As `escapeData` of the runner's toolkit.
fn escaped(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// As `escapeProperty` of the runner's toolkit.
fn escaped_property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_cannot_end_a_command_or_a_property() {
        assert_eq!(escaped("50%\r\n::set-env a:b"), "50%25%0D%0A::set-env a:b");
        assert_eq!(escaped_property("a,line=1::b%"), "a%2Cline=1%3A%3Ab%25");
    }
}
