//! Manifests: any bytes are survived, and lines are right.

use ecr_admission::manifest::{Body, Document, Image, Problem, read};
use proptest::prelude::*;

fn images(file: &[u8]) -> Vec<Image> {
    read(file)
        .into_iter()
        .flat_map(|document| document.objects.unwrap_or_default())
        .flat_map(|object| match object.body {
            Body::Pod { images, .. } => images,
            Body::Unknown => Vec::new(),
        })
        .collect()
}

/// The sentence about a file that holds one document that cannot be read.
fn refusal(file: &[u8]) -> String {
    let [
        Document {
            objects: Err(Problem { place, message, .. }),
            ..
        },
    ] = &read(file)[..]
    else {
        panic!("read: {:?}", read(file));
    };
    format!("{}:{}: {message}", place.line, place.column)
}

#[test]
fn what_is_no_text_or_no_yaml_is_refused_with_a_place_and_a_reason() {
    insta::assert_snapshot!(refusal(b"a: 1\nb: \xff\n"), @"2:4: cannot read this document: it is not UTF-8 text");
    insta::assert_snapshot!(refusal(b"kind: Pod\n\0\nkind: Pod\n"), @"2:1: cannot read this document: it holds a NUL byte, so it is no text");
    insta::assert_snapshot!(refusal(b"\xff\xfea\0"), @"1:1: cannot read this: it is UTF-16 text: save it as UTF-8");
    insta::assert_snapshot!(refusal(b"kind: Pod\nkind: Pod\n"), @"2:1: cannot read this document: the key `kind` stands here twice");
    insta::assert_snapshot!(refusal(b"data:\n  x: 1\n  x: 2\n"), @"3:3: cannot read this document: the key `x` stands here twice");
    insta::assert_snapshot!(refusal(b"kind: Pod\nspec: *nowhere\n"), @"2:7: cannot read this document: reference to unknown value");
    insta::assert_snapshot!(refusal(b"{{- if .Values.on }}\nkind: Pod\n{{- end }}\n"), @r#"1:3: cannot read this document: "-" is only valid inside a block; it looks like a template: render it first, e.g. `helm template … | ecr-admission check -`"#);
    insta::assert_snapshot!(refusal(b"kind: Pod\nspec: {containers: [\n"), @"2:20: cannot read this document: unclosed bracket '['");
}

#[test]
fn alias_bombs_and_deep_nesting_end_in_a_sentence() {
    let mut bomb = String::from("spec: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..10 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(",");
        bomb.extend([format!("k{level}: &a{level} [{aliases}]\n")]);
    }
    insta::assert_snapshot!(refusal(bomb.as_bytes()), @"6:38: cannot read this document: it is nested too deeply, or too large once its aliases are expanded");
    insta::assert_snapshot!(refusal(b"spec: &a\n  spec: *a\n"), @"2:9: cannot read this document: Recursive reference not allowed here");
    insta::assert_snapshot!(refusal("- ".repeat(100_000).as_bytes()), @"1:401: cannot read this document: it is nested too deeply, or too large once its aliases are expanded");
    insta::assert_snapshot!(refusal("[".repeat(100_000).as_bytes()), @"1:256: cannot read this document: recursion limit exceeded");
    insta::assert_snapshot!(refusal(r#"{"spec":"#.repeat(100_000).as_bytes()), @"1:1601: cannot read this document: it is nested too deeply, or too large once its aliases are expanded");
}

#[test]
fn a_file_of_very_many_documents_is_refused_as_a_whole() {
    insta::assert_snapshot!(refusal("---\nx\n".repeat(100_001).as_bytes()), @"1:1: cannot read this: it holds more than 100000 documents: split it");
    insta::assert_snapshot!(refusal(r#"{"a":1}"#.repeat(100_001).as_bytes()), @"1:1: cannot read this: it holds more than 100000 documents: split it");
    insta::assert_snapshot!(refusal("{\n".repeat(100_001).as_bytes()), @"1:1: cannot read this: it holds more than 100000 documents: split it");
}

#[test]
fn the_deepest_nesting_that_is_allowed_fits_the_stack() {
    let mut deep = String::new();
    for level in 0..198 {
        deep += &" ".repeat(level);
        deep += "spec:\n";
    }
    assert!(read(deep.as_bytes())[0].objects.is_ok());
    let list = format!("{}{}", r#"{"items":["#.repeat(99), "]}".repeat(99));
    assert!(read(list.as_bytes())[0].objects.is_ok());
}

#[test]
fn comments_of_any_length_and_yaml_of_any_style_are_read() {
    let comments = "      # licence\n".repeat(100);
    let file = format!(
        "kind: Pod\nspec:\n  containers:\n{comments}    - name: a\n{comments}      image: >-\n        one\n"
    );
    assert_eq!(images(file.as_bytes())[0].reference, "one");
    let flow = br#"{kind: Pod, spec: {containers: [{"image": 'o''ne'}]}}"#;
    assert_eq!(images(flow)[0].reference, "o'ne");
    let merged = b"x: &base {image: one}\nkind: Pod\nspec: {containers: [{<<: *base, name: a}]}\n";
    assert_eq!(images(merged)[0].reference, "one");
}

/// A Pod, with `padding` lines of comment before each image.
fn pod(padding: &[u8], newline: &str) -> (String, Vec<u32>) {
    let lines = ["apiVersion: v1", "kind: Pod", "spec:", "  containers:"];
    let mut text: Vec<String> = lines.iter().map(ToString::to_string).collect();
    let mut expected = Vec::new();
    for (index, comments) in padding.iter().enumerate() {
        text.extend((0..*comments).map(|_| "# é: a comment, --- {{ of any kind".to_owned()));
        text.push(format!("  - name: c{index}"));
        text.extend((0..*comments).map(|_| "    # another".to_owned()));
        expected.push(u32::try_from(text.len()).unwrap() + 1);
        text.push(format!("    image: image-{index}"));
    }
    (text.join(newline) + newline, expected)
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = read(&bytes);
    }

    #[test]
    fn any_text_of_yaml_characters_is_survived(text in "[-a{}\\[\\]:,&*!|>'\"%#?. \\n\\r\\t]{0,200}") {
        let _ = read(text.as_bytes());
    }

    #[test]
    fn lines_are_right_whatever_stands_before(
        documents in proptest::collection::vec(proptest::collection::vec(0_u8..60, 1..4), 1..4),
        crlf: bool,
        mark: bool,
    ) {
        let newline = if crlf { "\r\n" } else { "\n" };
        let (mut file, mut expected) = (String::from(if mark { "\u{feff}" } else { "" }), Vec::new());
        for padding in &documents {
            let before = u32::try_from(file.matches('\n').count()).unwrap() + 1;
            let (text, lines) = pod(padding, newline);
            file += &["---", newline, &text].concat();
            expected.extend(lines.iter().map(|line| line + before));
        }
        let images = images(file.as_bytes());
        prop_assert_eq!(images.iter().map(|image| image.place.line).collect::<Vec<_>>(), expected);
        prop_assert!(images.iter().all(|image| image.place.column == 12));
    }

    #[test]
    fn a_broken_document_never_hides_the_next(broken in "[-a{}\\[\\]:,&*!|>'\" \\n\\t]{0,80}") {
        let (pod, _) = pod(&[0], "\n");
        let images = images(format!("{broken}\n---\n{pod}").as_bytes());
        prop_assert_eq!(images.last().map(|image| image.reference.as_str()), Some("image-0"));
    }
}
