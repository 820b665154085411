//! A file cut into its documents before any parser sees it, so that a broken one does not hide the next.
//!
//! `---` or `...` at the start of a line, followed by white space, ends a document wherever it stands, even inside a
//! block or quoted scalar: YAML 1.2.2, rule 206 `c-forbidden`. So the cut needs no parser.

use serde::de::IgnoredAny;

/// One document: its bytes, and where they stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk<'a> {
    pub(super) bytes: &'a [u8],
    /// Line of the first byte, from 1.
    pub(super) line: u32,
    /// Characters before the first byte in its line; more than 0 only between JSON documents on one line.
    pub(super) indent: u32,
}

/// The most documents that one file may hold: what is said about each costs more memory than it costs to write one.
pub(super) const DOCUMENTS_MAX: usize = 100_000;

/// All documents of a file, without those that hold nothing but white space and comments. Where there are more than
/// [`DOCUMENTS_MAX`], some more than that, but not all.
pub(super) fn documents(file: &[u8]) -> Vec<Chunk<'_>> {
    let file = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file);
    let mut documents = Vec::new();
    for chunk in at_markers(file) {
        split_json(chunk, &mut documents);
        if documents.len() > DOCUMENTS_MAX {
            break;
        }
    }
    documents
}

/// Cuts at the document markers. A chunk starts with its own `---`, and directives (`%YAML 1.2`) stay with the
/// document that they stand before.
fn at_markers(file: &[u8]) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line) = (0, 1);
    let (mut has_content, mut has_marker, mut has_directive) = (false, false, false);
    let (mut offset, mut line_number) = (0, 1_u32);
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let next = offset + line.len();
        let begins = is_marker(line, b"---");
        let ends = is_marker(line, b"...");
        if begins && (has_content || !has_directive) {
            push(&mut chunks, &file[start..offset], start_line, has_content);
            (start, start_line) = (offset, line_number);
            has_content = false;
        }
        let is_directive = !has_marker && !has_content && line.starts_with(b"%");
        has_directive = !begins && (has_directive || is_directive);
        has_marker |= begins;
        has_content |=
            !ends && !is_directive && holds_content(if begins { &line[3..] } else { line });
        line_number = line_number.saturating_add(1);
        if ends {
            push(&mut chunks, &file[start..next], start_line, has_content);
            (start, start_line) = (next, line_number);
            (has_content, has_marker, has_directive) = (false, false, false);
        }
        offset = next;
        if chunks.len() > DOCUMENTS_MAX {
            break;
        }
    }
    push(&mut chunks, &file[start..], start_line, has_content);
    chunks
}

fn push<'a>(chunks: &mut Vec<Chunk<'a>>, bytes: &'a [u8], line: u32, has_content: bool) {
    if has_content {
        chunks.push(Chunk {
            bytes,
            line,
            indent: 0,
        });
    }
}

fn is_marker(line: &[u8], marker: &[u8]) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
}

fn holds_content(line: &[u8]) -> bool {
    line.iter()
        .find(|byte| !byte.is_ascii_whitespace())
        .is_some_and(|byte| *byte != b'#')
}

/// Cuts JSON documents that follow one another without a marker (`kubectl get -o json` twice, JSON lines). A chunk
/// that is no JSON goes on whole: it may be YAML that starts with `{`, or a template.
fn split_json<'a>(chunk: Chunk<'a>, documents: &mut Vec<Chunk<'a>>) {
    let mut rest = chunk;
    while rest.bytes.trim_ascii_start().starts_with(b"{") && documents.len() <= DOCUMENTS_MAX {
        let mut stream = serde_json::Deserializer::from_slice(rest.bytes).into_iter::<IgnoredAny>();
        let Some(Ok(_)) = stream.next() else {
            return split_broken_json(rest, documents);
        };
        let (document, after) = rest.bytes.split_at(stream.byte_offset());
        if !after.iter().any(|byte| !byte.is_ascii_whitespace()) {
            break;
        }
        documents.push(Chunk {
            bytes: document,
            ..rest
        });
        rest = after_document(rest, document, after);
    }
    documents.push(rest);
}

/// Cuts wherever a line starts with `{`, which is where the next document starts unless somebody does not indent. In
/// one pass, since trying JSON again from each such line would cost the square of a hostile file.
fn split_broken_json<'a>(chunk: Chunk<'a>, documents: &mut Vec<Chunk<'a>>) {
    let mut rest = chunk;
    while let Some(newline) = rest
        .bytes
        .windows(3)
        .position(|bytes| bytes.starts_with(b"\n{") && bytes[2] != b'{')
        .filter(|_| documents.len() <= DOCUMENTS_MAX)
    {
        let (document, after) = rest.bytes.split_at(newline + 1);
        if !document.trim_ascii().is_empty() {
            documents.push(Chunk {
                bytes: document,
                ..rest
            });
        }
        rest = after_document(rest, document, after);
    }
    documents.push(rest);
}

fn after_document<'a>(before: Chunk<'a>, document: &[u8], after: &'a [u8]) -> Chunk<'a> {
    let newlines = newlines(document);
    let last_line = document
        .rsplit(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let characters = String::from_utf8_lossy(last_line).chars().count();
    Chunk {
        bytes: after,
        line: before.line.saturating_add(newlines),
        indent: saturate(characters).saturating_add(if newlines == 0 { before.indent } else { 0 }),
    }
}

/// Line ends in `bytes`.
pub(super) fn newlines(bytes: &[u8]) -> u32 {
    saturate(bytes.split(|byte| *byte == b'\n').count() - 1)
}

pub(super) fn saturate(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(file: &str) -> Vec<(u32, u32, &str)> {
        documents(file.as_bytes())
            .into_iter()
            .map(|chunk| {
                (
                    chunk.line,
                    chunk.indent,
                    std::str::from_utf8(chunk.bytes).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn a_marker_at_the_start_of_a_line_cuts_even_inside_a_scalar() {
        assert_eq!(
            split("a: |\n  x\n---\nb: '\n--- # c\n---x: 1\n ---\n"),
            [
                (1, 0, "a: |\n  x\n"),
                (3, 0, "---\nb: '\n"),
                (5, 0, "--- # c\n---x: 1\n ---\n")
            ]
        );
    }

    #[test]
    fn windows_line_ends_and_a_byte_order_mark_change_no_cut() {
        assert_eq!(
            split("\u{feff}a: 1\r\n---\r\nb: 2\r\n...\r\nc: 3"),
            [
                (1, 0, "a: 1\r\n"),
                (2, 0, "---\r\nb: 2\r\n...\r\n"),
                (5, 0, "c: 3")
            ]
        );
    }

    #[test]
    fn directives_stay_with_the_document_they_stand_before() {
        assert_eq!(
            split("# c\n%YAML 1.2\n---\na: 1\n...\n%YAML 1.2\n---\nb: 1\n"),
            [
                (1, 0, "# c\n%YAML 1.2\n---\na: 1\n...\n"),
                (6, 0, "%YAML 1.2\n---\nb: 1\n")
            ]
        );
    }

    #[test]
    fn documents_of_comments_alone_are_none() {
        assert_eq!(split("\n# a\n---\n  # b\n--- # c\n...\n---\n\n"), []);
    }

    #[test]
    fn json_documents_are_cut_without_a_marker_between_them() {
        assert_eq!(
            split("{\"a\":\n\t1}{\"b\":2}\n{\"c\": bad\n{\"d\":4}\n"),
            [
                (1, 0, "{\"a\":\n\t1}"),
                (2, 3, "{\"b\":2}"),
                (3, 0, "{\"c\": bad\n"),
                (4, 0, "{\"d\":4}\n")
            ]
        );
        assert_eq!(split("{{ if x }}\na: 1\n{{ end }}\n").len(), 1);
        assert_eq!(split("{a: 1,\n b: 2}\n").len(), 1);
    }
}
