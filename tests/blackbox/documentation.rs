//! What the documents promise is what the program does: tables are compared with their source, commands are parsed,
//! examples are read.

use std::collections::BTreeSet;
use std::fmt::Write;

use clap::{Arg, CommandFactory, Parser};
use ecr_admission::commands::Cli;
use ecr_admission::config::{Config, read_file};
use ecr_admission::policy::Rule;
use serde_json::Value;

use crate::support::api_server::ApiServer;
use crate::support::ecr::EcrDouble;
use crate::support::process::Process;
use crate::support::review::{IMAGE, create_with};

const README: &str = include_str!("../../README.md");
const CLUSTER: &str = include_str!("../../docs/cluster.md");
const CLEANUP: &str = include_str!("../../docs/cleanup.md");
const AWS: &str = include_str!("../../docs/aws.md");
const CRON_JOB: &str = include_str!("../../manifests/cron-job/README.md");
const POLICIES: &str = include_str!("../../docs/policies.md");
const CERTS: &str = include_str!("../../certs/README.md");

/// The lines of a section, from its heading to the next.
pub(crate) fn section<'a>(document: &'a str, heading: &str) -> impl Iterator<Item = &'a str> {
    let mut lines = document.lines();
    assert!(lines.any(|line| line == heading), "no section {heading:?}");
    lines.take_while(|line| !line.starts_with('#'))
}

/// The rows of the table in a section, head and rule left out.
fn table(heading: &str) -> Vec<&'static str> {
    let rows = section(README, heading).filter(|line| line.starts_with('|'));
    rows.skip(2).collect()
}

/// The fenced blocks of a language.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    let fence = format!("```{language}");
    while lines.any(|line| line == fence) {
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        blocks.push(block.join("\n") + "\n");
    }
    blocks
}

fn assert_table(heading: &str, expected: &str) {
    let found = table(heading).join("\n") + "\n";
    assert!(
        found == expected,
        "the table under {heading:?} must be:\n{expected}"
    );
}

#[test]
fn the_table_of_settings_is_what_serve_takes() {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    let mut expected = String::new();
    for argument in serve.get_arguments().filter(|arg| arg.get_env().is_some()) {
        expected.push_str(&setting(argument));
    }
    assert_table("## Settings", &expected);
}

fn setting(argument: &Arg) -> String {
    let flag = argument.get_long().unwrap();
    let help = argument.get_help().unwrap().to_string();
    let (meaning, default) = match help.split_once(" [default: ") {
        Some((meaning, default)) => (meaning, default.trim_end_matches(']')),
        None => (help.as_str(), ""),
    };
    let variable = argument.get_env().unwrap().to_str().unwrap();
    assert_eq!(
        variable,
        format!("ECR_ADMISSION_{}", flag.to_uppercase().replace('-', "_"))
    );
    let key = key(argument).map_or_else(|| "-".to_owned(), |key| format!("`{key}`"));
    format!("| `--{flag}` | {key} | {default} | {meaning} |\n")
}

/// Where the configuration file has a setting; `--config` itself has no place in it.
pub(crate) fn key(argument: &Arg) -> Option<String> {
    let name = camel_case(argument.get_long()?);
    Some(match argument.get_help_heading()? {
        "Policy" => format!("policy.{name}"),
        "Self-managed certificates" => format!("selfManaged.{name}"),
        _ => name,
    })
}

fn camel_case(flag: &str) -> String {
    let mut words = flag.split('-');
    let mut name = words.next().unwrap().to_owned();
    for word in words {
        name.push_str(&word[..1].to_uppercase());
        name.push_str(&word[1..]);
    }
    name
}

#[test]
fn the_table_of_rules_is_the_rules() {
    let mut expected = String::new();
    for rule in Rule::ALL {
        writeln!(expected, "| `{}` | {} |", rule.id(), rule.help()).unwrap();
    }
    assert_table("## Rules", &expected);
}

#[tokio::test]
async fn the_tables_of_metrics_and_of_health_are_what_the_admin_port_tells() {
    let (api, ecr) = (ApiServer::start().await, EcrDouble::start().await);
    api.add_namespace("team-a");
    let serve = Process::start(&api, &ecr, &[]).await;
    serve.ready().await;
    serve.admit(&create_with("team-a", IMAGE)).await;
    let (_, page) = serve.admin("/metrics").await;

    let rows = table("## Metrics");
    let mut expected = String::new();
    for (name, kind, help) in metrics(&page) {
        // An empty family tells of no labels: those are written by hand.
        let start = format!("| `{name}` | {kind} | ");
        let row = rows.iter().find_map(|row| row.strip_prefix(&start));
        let written = row.and_then(|row| row.split(" |").next());
        let seen: Vec<String> = labels_of(&page, &name)
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let labels = match written {
            Some(written) if seen.iter().all(|label| written.contains(label)) => written.to_owned(),
            _ => seen.join(", "),
        };
        writeln!(expected, "{start}{labels} | {help} |").unwrap();
    }
    assert_table("## Metrics", &expected);

    let (_, page) = serve.admin("/readyz?verbose").await;
    let told: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, _)| name)
        .collect();
    let rows = table("## Health");
    let written = rows.iter().map(|row| row.split('`').nth(1).unwrap());
    assert_eq!(
        written
            .filter(|name| *name != "shutdown")
            .collect::<BTreeSet<_>>(),
        told
    );
}

/// Name (as a scrape shows it), type and help of every metric, in the order of the alphabet.
fn metrics(page: &str) -> BTreeSet<(String, &str, &str)> {
    let helps = page.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let metrics = helps.map(|line| {
        let (name, help) = line.split_once(' ').unwrap();
        let kind = format!("# TYPE {name} ");
        let kind = page
            .lines()
            .find_map(|line| line.strip_prefix(&kind))
            .unwrap();
        let total = if kind == "counter" { "_total" } else { "" };
        (format!("{name}{total}"), kind, help.trim_end_matches('.'))
    });
    metrics.collect()
}

fn labels_of<'a>(page: &'a str, name: &str) -> BTreeSet<&'a str> {
    let series = page
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let pairs = series.flat_map(|labels| labels.split(','));
    pairs
        .filter_map(|pair| pair.split_once("=\""))
        .map(|(label, _)| label)
        .collect()
}

#[test]
fn every_command_in_the_documents_is_one_that_the_program_takes() {
    let mut tried = 0;
    for document in [README, CLUSTER, AWS, CRON_JOB, CERTS, CLEANUP, POLICIES] {
        for block in blocks(document, "console") {
            let block = block.replace("\\\n", " ");
            for part in block.lines().flat_map(|line| line.split(['|', '>', '#'])) {
                let part = part.trim_start_matches("$ ").trim();
                let command = part.replace("cargo run --", "ecr-admission");
                if !command.starts_with("ecr-admission ") {
                    continue;
                }
                let parsed = Cli::try_parse_from(command.split_whitespace());
                assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
                tried += 1;
            }
        }
    }
    assert!(tried > 5, "only {tried} commands found");
}

#[test]
fn the_example_of_a_settings_file_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.yaml");
    for example in blocks(README, "yaml") {
        std::fs::write(&path, &example).unwrap();
        let config = Config::new(read_file(&path).unwrap());
        assert!(config.is_ok(), "{example}\n{config:?}");
    }
    assert!(path.exists(), "no example found");
}

#[test]
fn the_aws_policy_grants_the_four_reading_actions_and_no_more() {
    let policies = blocks(AWS, "json");
    let policy: Value = serde_json::from_str(&policies[0]).unwrap();
    let mut actions: Vec<&str> = policy["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|statement| match &statement["Action"] {
            Value::Array(actions) => actions.iter().filter_map(Value::as_str).collect(),
            action => Vec::from_iter(action.as_str()),
        })
        .collect();
    actions.sort_unstable();
    assert_eq!(
        actions,
        [
            "ecr:BatchCheckLayerAvailability",
            "ecr:BatchGetImage",
            "ecr:GetAuthorizationToken",
            "ecr:GetDownloadUrlForLayer"
        ]
    );
}
