//! For people: what there is to tell of each namespace, and a summary.

use std::io::{self, Write};

use crate::inventory::Kind;
use crate::report::{Broken, Count, Fates, NamespaceReport, Report, Told};

/// The most namespaces that are named where one line tells of many.
const MOST_NAMED: usize = 10;

/// Writes all of it.
pub(super) fn write(report: &Report, policies: usize, out: &mut impl Write) -> io::Result<()> {
    for (name, namespace) in &report.namespaces {
        if namespace.is_remarkable() {
            write_namespace(name, namespace, out)?;
            writeln!(out)?;
        }
    }
    write_summary(report, policies, out)
}

fn write_namespace(
    name: &str,
    namespace: &NamespaceReport,
    out: &mut impl Write,
) -> io::Result<()> {
    writeln!(out, "{name}: {}", fates(&namespace.fates))?;
    for broken in namespace.rules.values() {
        write_rule(broken, out)?;
    }
    for (change, count) in &namespace.changes {
        let (registry, before, after) = (&change.registry, &change.before, &change.after);
        let count = counted(*count);
        if change.is_loss() {
            writeln!(
                out,
                "  {registry} is not granted any more (today: {before}): {count}"
            )?;
        } else {
            writeln!(
                out,
                "  {registry} is pulled by {after} (today: {before}): {count}"
            )?;
        }
    }
    if namespace.changes_left_out > 0 {
        writeln!(out, "  and other registries of which the same is true")?;
    }
    Ok(())
}

fn write_rule(broken: &Broken, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "  {} [{}]: {}",
        broken.action,
        broken.rule.id(),
        counted(broken.count)
    )?;
    for told in &broken.told {
        writeln!(out, "    {}", sentence(told))?;
    }
    if broken.left_out > 0 {
        writeln!(out, "    and {} more images like these", broken.left_out)?;
    }
    Ok(())
}

/// Whose image it is, and what is wrong.
fn sentence(told: &Told) -> String {
    let whose = format!("{} {}, {}", told.kind.name(), told.name, told.slot);
    match (told.in_object, told.pods) {
        (true, 0) => format!("{whose}: {}", told.message),
        (true, pods) => format!("{whose}: {} ({})", told.message, number(pods, "Pod")),
        (false, pods) => format!(
            "{} of {whose}, not in its template: {}",
            number(pods, "Pod"),
            told.message
        ),
    }
}

fn write_summary(report: &Report, policies: usize, out: &mut impl Write) -> io::Result<()> {
    let totals = report.totals();
    let by = match policies {
        0 => "the settings alone".to_owned(),
        policies => number_of(policies, "policy", "policies"),
    };
    writeln!(
        out,
        "judged by {by}: {} in {}; {}",
        counted(totals.fates.total),
        number(report.namespaces.len(), "namespace"),
        match totals.owned {
            1 => "1 of the Pods was made by these workloads".to_owned(),
            owned => format!("{owned} of the Pods were made by these workloads"),
        }
    )?;
    writeln!(out, "{}", fates(&totals.fates))?;
    if totals.exempt > 0 {
        let exempt = number(totals.exempt, "image");
        writeln!(out, "exempt from a rule: {exempt}")?;
    }
    for (what, count) in [
        ("something would be refused", totals.refusing),
        (
            "some registry that is pulled from is not granted any more",
            totals.losing,
        ),
        ("somebody else pulls than today", totals.changing),
        (
            "nothing is granted, whether it is used or not",
            totals.granted_nothing,
        ),
    ] {
        if count > 0 {
            writeln!(out, "{what}: in {}", number(count, "namespace"))?;
        }
    }
    if !report.skipped.is_empty() {
        let skipped = report.skipped.iter().take(MOST_NAMED);
        let skipped: Vec<String> = skipped
            .map(|(name, reason)| format!("{name}: {reason}"))
            .collect();
        let more = report.skipped.len() - skipped.len();
        let more = match more {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        writeln!(out, "left out: {}{more}", skipped.join("; "))?;
    }
    Ok(())
}

fn fates(fates: &Fates) -> String {
    let of = |count: Count, what: &str| match (fates.total.pods, fates.total.workloads) {
        (pods, 0) => format!("{} of {} {what}", count.pods, number(pods, "Pod")),
        (0, workloads) => format!(
            "{} of {} {what}",
            count.workloads,
            number(workloads, "workload")
        ),
        (pods, workloads) => format!(
            "{} of {} and {} of {} {what}",
            count.pods,
            number(pods, "Pod"),
            count.workloads,
            number(workloads, "workload")
        ),
    };
    let mut told = vec![of(fates.refused, "would be refused")];
    for (count, what) in [(fates.warned, "warned of"), (fates.audited, "recorded")] {
        if !count.is_zero() {
            told.push(format!("{} {what}", counted(count)));
        }
    }
    told.join("; ")
}

fn counted(count: Count) -> String {
    let pods = number(count.pods, Kind::Pod.name());
    let workloads = number(count.workloads, "workload");
    match (count.pods, count.workloads) {
        (_, 0) => pods,
        (0, _) => workloads,
        _ => format!("{pods}, {workloads}"),
    }
}

fn number(number: usize, what: &str) -> String {
    number_of(number, what, &format!("{what}s"))
}

fn number_of(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
