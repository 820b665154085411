//! What came of a refresh, for people and for programs.

use std::io::{self, Write};

use serde_json::json;

use crate::refresh::{AccountResult, Outcome, Verdict};

/// A line for each namespace on `out`, and one for each failure on `errors`.
pub(super) fn text(
    outcomes: &[Outcome],
    secret: &str,
    dry_run: bool,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> io::Result<()> {
    for outcome in outcomes {
        let namespace = &outcome.namespace;
        for error in &outcome.errors {
            writeln!(errors, "ecr-admission: {namespace}: {error}")?;
        }
        let fresh: Vec<String> = outcome
            .registries
            .iter()
            .map(|registry| format!("{} until {}", registry.host, registry.expires_at))
            .collect();
        let fresh = fresh.join(", ");
        match (outcome.verdict, outcome.reason) {
            (Verdict::Skipped, reason) => {
                writeln!(out, "{namespace}: skipped: {}", reason.unwrap_or_default())?;
            }
            (Verdict::Nothing, _) => {
                writeln!(out, "{namespace}: no private ECR registry is named")?;
            }
            (Verdict::Renewed | Verdict::Unchanged, _) if outcome.registries.is_empty() => {}
            _ if outcome.registries.is_empty() => writeln!(out, "{namespace}: failed")?,
            (Verdict::Unchanged, _) => {
                writeln!(out, "{namespace}: Secret {secret} is fresh: {fresh}")?;
            }
            _ if dry_run => writeln!(
                out,
                "{namespace}: Secret {secret} would be renewed: {fresh}"
            )?,
            _ => writeln!(out, "{namespace}: Secret {secret} renewed: {fresh}")?,
        }
        if outcome.revoked {
            let does = if dry_run { "would lose" } else { "has lost" };
            writeln!(
                out,
                "{namespace}: Secret {secret} {does} what is not granted any more"
            )?;
        }
    }
    for outcome in outcomes {
        for account in &outcome.service_accounts {
            let (namespace, name) = (&outcome.namespace, &account.name);
            let does = match account.result {
                AccountResult::Unchanged => "names",
                AccountResult::Added if dry_run => "would name",
                AccountResult::Added => "now names",
            };
            writeln!(
                out,
                "{namespace}: ServiceAccount {name} {does} Secret {secret}"
            )?;
        }
    }
    if outcomes.is_empty() {
        writeln!(out, "No namespace is selected.")?;
    }
    Ok(())
}

/// One object: what was asked, and what became of each namespace.
pub(super) fn json(
    outcomes: &[Outcome],
    secret: &str,
    dry_run: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.verdict == Verdict::Failed)
        .count();
    let report = json!({
        "secret": secret,
        "dryRun": dry_run,
        "failed": failed,
        "namespaces": outcomes,
    });
    serde_json::to_writer_pretty(&mut *out, &report)?;
    writeln!(out)
}
