//! For programs: one JSON object.

use std::io::{self, Write};

use serde::Serialize;

use crate::policy::Identity;
use crate::report::{Broken, Count, Fates, NamespaceReport, Puller, Report, Standing, Told};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    summary: Summary,
    /// What is wrong with policies of the cluster, a sentence each.
    unreadable_policies: &'a [String],
    namespaces: Vec<Namespace<'a>>,
    skipped: Vec<Skipped<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    policies: usize,
    namespaces: usize,
    #[serde(flatten)]
    counts: Counts,
    pods_of_workloads: usize,
    exempt_images: usize,
    namespaces_refusing: usize,
    namespaces_losing: usize,
    namespaces_changing: usize,
    namespaces_granted_nothing: usize,
    exit_code: u8,
}

#[derive(Serialize)]
struct Counts {
    pods: Numbers,
    workloads: Numbers,
}

#[derive(Serialize)]
struct Numbers {
    total: usize,
    refused: usize,
    warned: usize,
    audited: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Namespace<'a> {
    name: &'a str,
    #[serde(flatten)]
    counts: Counts,
    pods_of_workloads: usize,
    exempt_images: usize,
    granted_before: Granted<'a>,
    granted_after: Granted<'a>,
    rules: Vec<RuleEntry<'a>>,
    changes: Vec<ChangeEntry<'a>>,
    changes_left_out: usize,
}

/// `everything`, `nothing`, or the names of the policies that grant.
#[derive(Serialize)]
#[serde(untagged)]
enum Granted<'a> {
    Word(&'static str),
    By(&'a [String]),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RuleEntry<'a> {
    rule: &'static str,
    action: &'static str,
    pods: usize,
    workloads: usize,
    images: Vec<ImageEntry<'a>>,
    /// Images beyond `--most`, each time that one was seen.
    images_left_out: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageEntry<'a> {
    kind: &'static str,
    name: &'a str,
    slot: &'static str,
    slot_name: &'a str,
    image: &'a str,
    message: &'a str,
    /// Whether it stands in the object itself, and not only in Pods that were made from it.
    in_object: bool,
    /// In how many Pods that the object made.
    pods: usize,
}

#[derive(Serialize)]
struct ChangeEntry<'a> {
    registry: &'a str,
    before: String,
    after: String,
    pods: usize,
    workloads: usize,
}

#[derive(Serialize)]
struct Skipped<'a> {
    name: &'a str,
    reason: &'static str,
}

/// Writes all of it.
pub(super) fn write(
    report: &Report,
    policies: usize,
    faults: &[String],
    out: &mut impl Write,
) -> io::Result<()> {
    let totals = report.totals();
    let output = Output {
        summary: Summary {
            policies,
            namespaces: report.namespaces.len(),
            counts: counts(&totals.fates),
            pods_of_workloads: totals.owned,
            exempt_images: totals.exempt,
            namespaces_refusing: totals.refusing,
            namespaces_losing: totals.losing,
            namespaces_changing: totals.changing,
            namespaces_granted_nothing: totals.granted_nothing,
            exit_code: u8::from(report.refuses()),
        },
        unreadable_policies: faults,
        namespaces: report.namespaces.iter().map(namespace).collect(),
        skipped: report
            .skipped
            .iter()
            .map(|(name, reason)| Skipped { name, reason })
            .collect(),
    };
    serde_json::to_writer_pretty(&mut *out, &output)?;
    writeln!(out)
}

fn counts(fates: &Fates) -> Counts {
    let numbers = |of: fn(Count) -> usize| Numbers {
        total: of(fates.total),
        refused: of(fates.refused),
        warned: of(fates.warned),
        audited: of(fates.audited),
    };
    Counts {
        pods: numbers(|count| count.pods),
        workloads: numbers(|count| count.workloads),
    }
}

fn namespace<'a>((name, namespace): (&'a String, &'a NamespaceReport)) -> Namespace<'a> {
    let changes = namespace.changes.iter();
    Namespace {
        name,
        counts: counts(&namespace.fates),
        pods_of_workloads: namespace.owned,
        exempt_images: namespace.exempt,
        granted_before: granted(&namespace.before),
        granted_after: granted(&namespace.after),
        rules: namespace.rules.values().map(rule).collect(),
        changes: changes
            .map(|(change, count)| ChangeEntry {
                registry: &change.registry,
                before: puller(&change.before),
                after: puller(&change.after),
                pods: count.pods,
                workloads: count.workloads,
            })
            .collect(),
        changes_left_out: namespace.changes_left_out,
    }
}

fn granted(standing: &Standing) -> Granted<'_> {
    match standing {
        Standing::Everything => Granted::Word("everything"),
        Standing::Nothing => Granted::Word("nothing"),
        Standing::By(policies) => Granted::By(policies),
    }
}

fn rule(broken: &Broken) -> RuleEntry<'_> {
    RuleEntry {
        rule: broken.rule.id(),
        action: broken.action.name(),
        pods: broken.count.pods,
        workloads: broken.count.workloads,
        images: broken.told.iter().map(image).collect(),
        images_left_out: broken.left_out,
    }
}

fn image(told: &Told) -> ImageEntry<'_> {
    ImageEntry {
        kind: told.kind.name(),
        name: &told.name,
        slot: told.slot.what(),
        slot_name: told.slot.name(),
        image: &told.image,
        message: &told.message,
        in_object: told.in_object,
        pods: told.pods,
    }
}

/// `nodes`, `nobody`, `controller`, or the role's ARN.
fn puller(puller: &Puller) -> String {
    match puller {
        Puller::Nodes => "nodes".to_owned(),
        Puller::Nobody => "nobody".to_owned(),
        Puller::Identity(Identity::Role(role)) => role.arn().to_owned(),
        Puller::Identity(identity) => identity.fingerprint().to_owned(),
    }
}
