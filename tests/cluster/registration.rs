//! The API server asks about the objects that concern us, and about no others.

use std::collections::BTreeSet;

use ecr_admission::image::lookalike::may_concern_ecr;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::harness::in_shared_cluster;
use crate::harness::install::Cluster;
use crate::harness::namespace::{IMAGE, Namespace, one_container, pull_secrets};

/// The names of the objects of a namespace that the webhooks were asked about.
fn asked_about(cluster: &Cluster, namespace: &str) -> BTreeSet<String> {
    let log = cluster.webhook.process.log();
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let verdicts =
        lines.filter(|line| line["verdict"].is_string() && line["namespace"] == namespace);
    verdicts
        .map(|line| line["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn only_pods_that_may_concern_ecr_depend_on_us_and_all_of_those_do() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "references").await;
        // The references that the grammar is tested with: every oddity that we know of.
        let corpus = include_str!("../blackbox/fixtures/references.jsonl");
        let mut images: Vec<String> = corpus
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|line| line["input"].as_str().unwrap().to_owned())
            .filter(|image| image.len() < 10_000)
            .collect();
        // Most of them have nothing to do with ECR; a tenth of those will do.
        let mut plain = 0;
        images.retain(|image| {
            plain += usize::from(!may_concern_ecr(image));
            may_concern_ecr(image) || plain % 10 == 0
        });
        let create = async |(number, image): (usize, &String)| {
            let pod = json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": format!("pod-{number}")},
                "spec": one_container(image),
            });
            // Many are refused, by us or after us: what counts is who was asked.
            let path = format!("{}?dryRun=All", namespace.path("pods"));
            let _ = namespace.api().create(&path, &pod).await;
        };
        let all = stream::iter(images.iter().enumerate());
        all.for_each_concurrent(16, create).await;

        let asked = asked_about(cluster, "references");
        let expected = images
            .iter()
            .enumerate()
            .filter(|(_, image)| may_concern_ecr(image));
        let expected: BTreeSet<String> = expected
            .map(|(number, _)| format!("pod-{number}"))
            .collect();
        assert!(expected.len() > 20 && expected.len() < images.len());
        let missing: Vec<&String> = expected.difference(&asked).collect();
        assert!(missing.is_empty(), "a way around every rule: {missing:?}");
        let more: Vec<&String> = asked.difference(&expected).collect();
        assert!(more.is_empty(), "they depend on us for nothing: {more:?}");
    });
}

#[test]
fn updates_that_change_no_image_are_not_asked_about() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "labelled").await;
        namespace.run("app", IMAGE).await;
        let verdicts = async || {
            let log = cluster.webhook.process.log();
            log.matches(r#""namespace":"labelled""#).count()
        };
        let before = verdicts().await;
        let label = json!({"metadata": {"labels": {"a": "b"}}});
        let path = namespace.path("pods/app");
        namespace.api().merge(&path, &label).await.unwrap();
        assert_eq!(verdicts().await, before);
        let other = json!({"spec": {"activeDeadlineSeconds": 600}});
        namespace.api().merge(&path, &other).await.unwrap();
        assert_eq!(verdicts().await, before);
        namespace
            .kubectl_ok(&["set", "image", "pod/app", &format!("app={IMAGE}.1")], "")
            .await;
        assert!(verdicts().await > before);
    });
}

#[test]
fn kube_system_and_our_own_namespace_are_left_alone() {
    in_shared_cluster(async |cluster| {
        for name in ["kube-system", "ecr-admission"] {
            let path = format!("/api/v1/namespaces/{name}/pods?dryRun=All");
            let pod = json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "untagged"},
                "spec": one_container(IMAGE.trim_end_matches(":v1")),
            });
            let made = cluster.plane.api.create(&path, &pod).await.unwrap();
            assert!(pull_secrets(&made).is_empty());
            assert!(asked_about(cluster, name).is_empty());
        }
    });
}
