//! The reference grammar against the answers of distribution/reference v0.6.0, and its own promises.

use ecr_admission::image::reference::{ParseError, Reference};
use proptest::prelude::*;
use serde::Deserialize;

/// What the original answers, see `tests/oracle`.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Answer {
    input: String,
    ok: bool,
    error: Option<String>,
    domain: Option<String>,
    path: Option<String>,
    tag: Option<String>,
    digest: Option<String>,
}

fn answer(input: &str) -> Answer {
    let input_owned = input.to_owned();
    match Reference::parse(input) {
        Ok(reference) => Answer {
            input: input_owned,
            ok: true,
            error: None,
            domain: Some(reference.domain().to_owned()),
            path: Some(reference.path().into_owned()),
            tag: reference.tag().map(str::to_owned),
            digest: reference.digest().map(str::to_owned),
        },
        Err(error) => Answer {
            input: input_owned,
            error: Some(word(error).to_owned()),
            ..Answer::default()
        },
    }
}

fn word(error: ParseError) -> &'static str {
    match error {
        ParseError::Identifier => "identifier",
        ParseError::UppercaseRepository => "uppercase",
        ParseError::InvalidFormat => "format",
        ParseError::PathTooLong => "path-length",
        ParseError::UnsupportedDigest => "digest-algorithm",
        ParseError::InvalidDigest => "digest-format",
        ParseError::InvalidDigestLength => "digest-length",
        _ => "a kind that the fixture has no word for",
    }
}

#[test]
fn every_reference_is_read_as_the_original_reads_it() {
    let fixture = include_str!("fixtures/references.jsonl");
    assert!(fixture.lines().count() > 1_500);
    let differences: Vec<String> = fixture
        .lines()
        .map(|line| serde_json::from_str::<Answer>(line).unwrap())
        .filter(|want| answer(&want.input) != *want)
        .map(|want| format!("want {want:?}\n got {:?}", answer(&want.input)))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Text made of what references are made of, right or wrong.
fn reference_like() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-z0-9]{1,6}",
        1 => "[A-Z]{1,2}",
        3 => "[-._/:@]{1,2}",
        1 => Just("sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".to_owned()),
        1 => Just("docker.io".to_owned()),
        1 => Just("[::1]:5000/".to_owned()),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// A reference that the grammar allows.
fn well_formed() -> impl Strategy<Value = String> {
    let domain = prop_oneof![
        Just(String::new()),
        "[a-zA-Z0-9]{1,5}(\\.[a-z0-9]{1,5}){1,3}(:[0-9]{1,5})?/",
        "localhost(:[0-9]{1,4})?/",
        "\\[[0-9a-fA-F]{0,4}:[0-9a-fA-F:]{1,9}\\](:[0-9]{1,4})?/",
        "(index\\.)?docker\\.io/",
    ];
    let path = "[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,3}){0,2}(/[a-z0-9]{1,4}){0,3}";
    let tag = prop_oneof![Just(String::new()), ":[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}"];
    let digest = prop_oneof![
        Just(String::new()),
        "@sha256:[0-9a-f]{64}",
        "@sha384:[0-9a-f]{96}",
        "@sha512:[0-9a-f]{128}",
    ];
    (domain, path, tag, digest)
        .prop_map(|(domain, path, tag, digest)| domain + &path + &tag + &digest)
}

proptest! {
    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        let _ = Reference::parse(&text);
    }

    #[test]
    fn what_the_grammar_makes_is_accepted(text in well_formed()) {
        prop_assert!(Reference::parse(&text).is_ok());
    }

    #[test]
    fn a_reference_that_is_written_out_reads_the_same(text in prop_oneof![reference_like(), well_formed()]) {
        if let Ok(reference) = Reference::parse(&text) {
            let written = reference.to_string();
            let again = Reference::parse(&written).unwrap();
            prop_assert_eq!(again.domain(), reference.domain());
            prop_assert_eq!(again.path(), reference.path());
            prop_assert_eq!(again.tag(), reference.tag());
            prop_assert_eq!(again.digest(), reference.digest());
            prop_assert_eq!(again.to_string(), written);
        }
    }
}
