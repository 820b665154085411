//! The rules of the house that the compiler does not know, checked over the text of the sources: the layers of lib.rs,
//! one clock, one source of chance, no printing, no endless files. Needs nothing but std, so that it is quick to build.

#![expect(
    clippy::unwrap_used,
    reason = "what a test reads must be there, and clippy's exemption for tests leaves their helpers out"
)]

mod layers;
mod source;

use layers::Layers;
use source::{Source, imports, names, production, sources};

/// Words that may stand where they otherwise may not.
const EXCEPTIONS: [(&str, &str, &str); 7] = [
    (
        "src/manifest/mod.rs",
        "std::thread",
        "deep documents are parsed on a thread whose stack is known to be large enough",
    ),
    (
        "src/commands/demo/stand_ins.rs",
        "fastrand",
        "the digits of a stand-in for a token; nothing is decided by them",
    ),
    SCHEMA_OF_POLICY,
    (
        "src/policy/spec/grant.rs",
        SCHEMA_OF_POLICY.1,
        SCHEMA_OF_POLICY.2,
    ),
    (
        "src/policy/spec/role.rs",
        SCHEMA_OF_POLICY.1,
        SCHEMA_OF_POLICY.2,
    ),
    (
        "src/policy/spec/selector.rs",
        SCHEMA_OF_POLICY.1,
        SCHEMA_OF_POLICY.2,
    ),
    (
        "src/policy/spec/validation.rs",
        SCHEMA_OF_POLICY.1,
        SCHEMA_OF_POLICY.2,
    ),
];

/// The one exception to a domain that knows no Kubernetes client.
const SCHEMA_OF_POLICY: (&str, &str, &str) = (
    "src/policy/spec/mod.rs",
    "kube::",
    "the types of EcrPolicy and the schema that the API server checks are one",
);

#[test]
fn imports_go_down_only_and_inside_a_layer_to_modules_named_before() {
    let layers = Layers::of_lib();
    let broken = each_line(|source, line| {
        let own = &source.module;
        let tops = imports(line).into_iter();
        let wrong = tops.filter(|top| !layers.allow(own, top));
        wrong
            .map(|top| format!("{own} may not import {top}"))
            .collect()
    });
    assert_none(&broken);
}

#[test]
fn the_table_of_layers_names_every_module_once() {
    assert_eq!(Layers::of_lib().names(), layers::declared());
}

#[test]
fn no_path_climbs_to_the_root_of_the_crate_where_the_check_of_layers_would_not_see_it() {
    let broken = each_line(|source, line| {
        let root = "super::".repeat(source.depth());
        let climbs = [root.as_str(), "crate as ", "crate::*", "crate::{"];
        let climbs = climbs.into_iter().filter(|path| line.contains(path));
        climbs
            .map(|path| format!("name the module behind `{path}`"))
            .collect()
    });
    assert_none(&broken);
}

#[test]
fn clients_of_outside_systems_stay_in_their_adapter() {
    let kubernetes = ["kube::", "k8s_openapi::"];
    assert_none(&uses(&kubernetes, |source| source.module == "kubernetes"));
    let aws = [
        "aws_config::",
        "aws_sdk_ecr::",
        "aws_sdk_sts::",
        "aws_credential_types::",
        "aws_smithy_",
    ];
    assert_none(&uses(&aws, |source| source.module == "aws"));
}

#[test]
fn the_domain_computes_and_does_nothing_else() {
    let layers = Layers::of_lib();
    let effects = [
        "tokio",
        "tracing",
        "std::env",
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "static",
        // An Arc of what never changes is a value; what can change while somebody holds it is not.
        "Mutex",
        "RwLock",
        "Condvar",
        "OnceLock",
        "LazyLock",
        "atomic",
        "mpsc",
    ];
    assert_none(&uses(&effects, |source| !layers.is_domain(&source.module)));
}

#[test]
fn time_and_chance_come_from_the_clock_alone() {
    let words = [
        "Instant::now",
        "Timestamp::now",
        "SystemTime::now",
        "Zoned::now",
        "std::time::Instant",
        "fastrand",
        "rand",
        "getrandom",
        "RandomState",
    ];
    assert_none(&uses(&words, |source| source.module == "clock"));
}

#[test]
fn only_commands_speak_to_a_terminal() {
    let words = [
        "println!",
        "eprintln!",
        "print!",
        "eprint!",
        "dbg!",
        "io::stdout",
        "io::stderr",
    ];
    assert_none(&uses(&words, |source| {
        ["commands", "main"].contains(&source.module.as_str())
    }));
}

#[test]
fn no_source_file_is_longer_than_400_lines() {
    let all = ["src", "tests", "benches", "fuzz"].map(sources);
    let long = all
        .iter()
        .flatten()
        .filter(|source| source.lines > 400)
        .map(|source| format!("{}: {} lines", source.path, source.lines));
    assert_none(&long.collect::<Vec<_>>());
}

#[test]
fn every_exception_is_still_needed() {
    let all = production();
    for (path, word, reason) in EXCEPTIONS {
        let source = all.iter().find(|source| source.path == path);
        let used = source.is_some_and(|source| source.code.lines().any(|line| names(line, word)));
        assert!(used, "{path} no longer says `{word}` ({reason})");
    }
}

/// What `judge` says of each line of production code, with its place.
fn each_line(judge: impl Fn(&Source, &str) -> Vec<String>) -> Vec<String> {
    let mut broken = Vec::new();
    for source in production() {
        for (index, line) in source.code.lines().enumerate() {
            let place = format!("{}:{}", source.path, index + 1);
            let said = judge(&source, line).into_iter();
            broken.extend(said.map(|what| format!("{place}: {what}")));
        }
    }
    broken
}

/// Uses of words in files that are not `allowed` them.
fn uses(words: &[&str], allowed: impl Fn(&Source) -> bool) -> Vec<String> {
    each_line(|source, line| {
        if allowed(source) {
            return Vec::new();
        }
        let excepted = |word: &str| {
            let mut exceptions = EXCEPTIONS.iter();
            exceptions.any(|(path, except, _)| *path == source.path && *except == word)
        };
        let used = words
            .iter()
            .filter(|word| names(line, word) && !excepted(word));
        used.map(|word| format!("`{word}` has no place here"))
            .collect()
    })
}

fn assert_none(broken: &[String]) {
    let count = broken.len();
    assert!(broken.is_empty(), "{count} broken:\n{}", broken.join("\n"));
}
