//! What is told of a cluster that is kept in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use ecr_admission::inventory::{Kind, Sight};
use ecr_admission::policy::spec::EcrPolicySpec;
use ecr_admission::policy::{Action, Identity, Policy, PolicySet, compile};
use ecr_admission::report::{Change, Count, NamespaceReport, Options, Puller, Scope, Standing};
use ecr_admission::secret::{StoreError, StoreErrorKind};

use super::here::{Here, made_by, sight};

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

fn set(policies: &[(&str, &str)]) -> PolicySet {
    let compiled = policies.iter().map(|(name, spec)| {
        let spec: EcrPolicySpec = serde_saphyr::from_str(spec).unwrap();
        compile(name, &spec).unwrap()
    });
    PolicySet::new(Policy::default(), compiled.collect(), Vec::new())
}

fn options(policies: &[(&str, &str)]) -> Options {
    Options {
        before: set(&[]),
        after: set(policies),
        most: 3,
    }
}

fn image(name: &str) -> String {
    format!("{HOST}/{name}")
}

const DIGESTS: (&str, &str) = ("digests", "{validation: {digestRequired: {}}}");

fn count(pods: usize, workloads: usize) -> Count {
    Count { pods, workloads }
}

#[tokio::test]
async fn a_pod_that_a_workload_made_is_told_with_it_and_counted() {
    let app = image("app:1");
    let pod =
        |name: &str, images: &[&str]| made_by(Kind::ReplicaSet, "web-1", sight("a", name, images));
    let here = Here::default()
        .namespace("a", &[])
        .object(Kind::Deployment, sight("a", "web", &[&app]))
        .object(
            Kind::ReplicaSet,
            made_by(Kind::Deployment, "web", sight("a", "web-1", &[&app])),
        )
        .object(Kind::Pod, pod("web-1-x", &[&app]))
        // Somebody injects a sidecar into Pods.
        .object(Kind::Pod, pod("web-1-y", &[&app, &image("proxy:1")]))
        .object(Kind::Pod, sight("a", "alone", &[&app]));
    let report = here.report(&Scope::default(), options(&[DIGESTS])).await;
    let a = &report.namespaces["a"];
    assert_eq!((a.fates.total, a.owned), (count(3, 1), 2));
    assert_eq!(a.fates.refused, count(3, 1));
    let broken: Vec<_> = a.rules.values().collect();
    assert_eq!(broken.len(), 1);
    assert_eq!(
        (broken[0].rule.id(), broken[0].count),
        ("digest-required", count(3, 1))
    );
    let told: Vec<_> = broken[0]
        .told
        .iter()
        .map(|told| {
            let whose = format!("{} {} {}", told.kind.name(), told.name, told.slot.name());
            (whose, told.in_object, told.pods)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("Deployment web c0".to_owned(), true, 2),
            ("Deployment web c1".to_owned(), false, 1),
            ("Pod alone c0".to_owned(), true, 0),
        ]
    );
    assert!(report.refuses());
}

#[tokio::test]
async fn each_object_counts_once_by_the_strictest_of_its_findings() {
    let policies = [
        ("audit", "{action: Audit, validation: {onlyEcr: {}}}"),
        ("warn", "{action: Warn, validation: {digestRequired: {}}}"),
        (
            "enforce",
            "{namespaces: {names: [strict]}, validation: {mutableTags: {}}}",
        ),
    ];
    let here = Here::default()
        .namespace("lax", &[])
        .namespace("strict", &[])
        .object(Kind::Job, sight("lax", "job", &["nginx:1"]))
        .object(
            Kind::Pod,
            sight("lax", "both", &["nginx:1", &image("app:1"), &image("db:1")]),
        )
        .object(Kind::Pod, sight("lax", "none", &[]))
        .object(
            Kind::Pod,
            sight("strict", "all", &["nginx:1", &image("app:latest")]),
        );
    let report = here.report(&Scope::default(), options(&policies)).await;
    let fates = report.totals().fates;
    assert_eq!(fates.total, count(3, 1));
    assert_eq!(fates.refused, count(1, 0));
    assert_eq!(fates.warned, count(1, 0));
    assert_eq!(fates.audited, count(0, 1));
    // Two images break one rule in one Pod, which counts once.
    let rules = |namespace: &NamespaceReport| {
        let rules = namespace.rules.values();
        let rules = rules.map(|broken| (broken.action, broken.rule.id(), broken.count));
        rules.collect::<Vec<_>>()
    };
    assert_eq!(
        rules(&report.namespaces["lax"]),
        [
            (Action::Warn, "digest-required", count(1, 0)),
            (Action::Audit, "only-ecr", count(1, 1)),
        ]
    );
    assert_eq!(
        rules(&report.namespaces["strict"])[0],
        (Action::Enforce, "mutable-tag", count(1, 0))
    );
    assert_eq!(report.totals().refusing, 1);
}

#[tokio::test]
async fn who_would_lose_a_grant_or_be_pulled_for_by_another_is_told_by_registry() {
    let policies = [(
        "team-a",
        "{namespaces: {matchLabels: {team: a}}, validation: {granted: {action: Audit}}, \
          grants: [{registries: ['123456789012'], repositories: ['a/**'], \
                    role: {arn: 'arn:aws:iam::123456789012:role/a'}}, \
                   {registries: ['210987654321'], credentials: Skip}]}",
    )];
    let native = "210987654321.dkr.ecr.eu-west-1.amazonaws.com/base:1";
    let here = Here::default()
        .namespace("of-a", &[("team", "a")])
        .namespace("of-nobody", &[])
        .namespace("unused", &[])
        .object(
            Kind::Pod,
            sight("of-a", "x", &[&image("a/app:1"), native, "nginx:1"]),
        )
        .object(
            Kind::Pod,
            sight("of-a", "y", &[&image("a/app:1"), &image("b:1")]),
        )
        .object(Kind::CronJob, sight("of-nobody", "z", &[&image("a/app:1")]));
    let report = here.report(&Scope::default(), options(&policies)).await;
    let change = |after: Puller, registry: &str| Change {
        registry: registry.to_owned(),
        before: Puller::Identity(Identity::Controller),
        after,
    };
    let of_a = &report.namespaces["of-a"];
    let role = of_a.changes.keys().find_map(|change| match &change.after {
        Puller::Identity(role) => Some(role.clone()),
        _ => None,
    });
    let role = role.unwrap();
    assert_eq!(role.to_string(), "role arn:aws:iam::123456789012:role/a");
    let other = native.split('/').next().unwrap();
    assert_eq!(
        of_a.changes,
        BTreeMap::from([
            (change(Puller::Identity(role), HOST), count(2, 0)),
            (change(Puller::Nobody, HOST), count(1, 0)),
            (change(Puller::Nodes, other), count(1, 0)),
        ])
    );
    // Nothing is refused there, and still a credential is lost.
    assert_eq!(
        (of_a.fates.refused, of_a.fates.audited),
        (count(0, 0), count(1, 0))
    );
    let of_nobody = &report.namespaces["of-nobody"];
    assert_eq!(
        of_nobody.changes[&change(Puller::Nobody, HOST)],
        count(0, 1)
    );
    assert_eq!(of_nobody.fates.refused, count(0, 1));
    assert_eq!(of_a.before, Standing::Everything);
    assert_eq!(of_a.after, Standing::By(vec!["team-a".to_owned()]));
    let totals = report.totals();
    assert_eq!((totals.losing, totals.changing), (2, 1));
    assert_eq!(totals.granted_nothing, 2, "of-nobody and unused");
    assert!(!report.namespaces["unused"].is_remarkable());
}

#[tokio::test]
async fn what_is_listed_is_bounded_and_the_counts_are_whole() {
    let mut here = Here::default().namespace("a", &[]);
    for number in 0..50 {
        let host = format!("{number:012}.dkr.ecr.eu-west-1.amazonaws.com");
        here = here.object(
            Kind::Pod,
            sight("a", &format!("p{number}"), &[&format!("{host}/app:1")]),
        );
    }
    let policies = [
        DIGESTS,
        (
            "role",
            "{namespaces: {names: [b]}, grants: [{registries: ['*'], role: {arn: 'arn:aws:iam::123456789012:role/a'}}]}",
        ),
    ];
    let report = here.report(&Scope::default(), options(&policies)).await;
    let a = &report.namespaces["a"];
    assert_eq!(a.fates.refused, count(50, 0));
    for broken in a.rules.values() {
        assert_eq!(broken.count, count(50, 0));
        assert_eq!((broken.told.len(), broken.left_out), (3, 47));
    }
    assert_eq!(
        (a.rules.len(), a.changes.len(), a.changes_left_out),
        (2, 3, 47)
    );
}

#[tokio::test]
async fn named_namespaces_are_all_that_is_asked_for() {
    let here = || {
        let app = image("app:1");
        let here = Here::default()
            .namespace("a", &[])
            .namespace("b", &[("ecr-admission.dev/admission", "disabled")])
            .object(Kind::Pod, sight("a", "x", &[&app]))
            .object(Kind::Pod, sight("b", "x", &[&app]))
            .object(Kind::Pod, sight("made-since", "x", &[&app]));
        Arc::new(here)
    };
    let named = |names: &[&str]| Scope {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Scope::default()
    };
    let one = here();
    let report = one.survey(&named(&["a", "b"]), options(&[DIGESTS])).await;
    let report = report.unwrap();
    assert_eq!(report.totals().fates.total, count(1, 0));
    assert!(report.skipped["b"].contains("disabled"));
    let asked = one.asked.lock().unwrap().clone();
    assert!(
        asked.iter().all(|(_, place)| place.as_deref() == Some("a")),
        "{asked:?}"
    );

    let all = here();
    let report = all.survey(&Scope::default(), options(&[DIGESTS])).await;
    assert_eq!(report.unwrap().totals().fates.total, count(1, 0));
    let asked = all.asked.lock().unwrap().clone();
    assert!(asked.iter().all(|(_, place)| place.is_none()), "{asked:?}");

    let error = here().survey(&named(&["c"]), options(&[])).await;
    assert_eq!(
        error.unwrap_err().to_string(),
        "there is no namespace \"c\""
    );
}

#[tokio::test]
async fn half_a_cluster_is_no_report() {
    let here = Here {
        refusal: Some(StoreError {
            kind: StoreErrorKind::Refused,
            message: "cannot list Pods: no".to_owned(),
        }),
        ..Here::default()
    };
    let here = Arc::new(here.namespace("a", &[]));
    let error = here.survey(&Scope::default(), options(&[])).await;
    assert_eq!(error.unwrap_err().to_string(), "cannot list Pods: no");
}

#[tokio::test]
async fn an_exemption_holds_for_the_account_that_the_pod_runs_under() {
    let policies = [(
        "digests",
        "{validation: {digestRequired: {}}, exemptions: [{serviceAccounts: [boot], reason: it has to start}]}",
    )];
    let booting = Sight {
        service_account: Some("boot".to_owned()),
        ..sight("a", "x", &[&image("app:1")])
    };
    let here = Here::default()
        .namespace("a", &[])
        .object(Kind::DaemonSet, booting)
        .object(Kind::DaemonSet, sight("a", "y", &[&image("app:1")]));
    let report = here.report(&Scope::default(), options(&policies)).await;
    let totals = report.totals();
    assert_eq!((totals.fates.refused, totals.exempt), (count(0, 1), 1));
}
