//! A Secret that can hold no more registries.

use std::ops::Range;

use serde_json::{Value, json};

use crate::harness::install::{Cluster, Target, register};
use crate::harness::namespace::{IMAGE, Namespace, REGISTRY};
use crate::harness::webhook::Webhook;
use crate::harness::{eventually, in_shared_cluster, run};

/// A Pod with one image of each account in a range.
fn pod(name: &str, accounts: Range<usize>) -> String {
    let containers = accounts.map(|account| {
        let host = format!("{account:012}.dkr.ecr.eu-west-1.amazonaws.com");
        json!({"name": format!("c{account}"), "image": format!("{host}/team/app:v1")})
    });
    let containers: Vec<Value> = containers.collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": containers},
    })
    .to_string()
}

#[test]
fn a_pod_with_more_registries_than_a_secret_holds_is_told_and_keeps_nobody_else_out() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "too-many").await;
        let apply = ["apply", "-f", "-"];
        let said = namespace.kubectl_ok(&apply, &pod("greedy", 0..65)).await;
        insta::assert_snapshot!(said.err, @"Warning: no pull credential: this Pod names more than 64 ECR registries, which is more than a Secret holds");
        namespace.run("modest", IMAGE).await;
        let passwords = namespace.passwords().await;
        assert!(passwords.iter().all(|(registry, _)| registry == REGISTRY));
        assert_eq!(passwords.len(), 1);
    });
}

#[test]
fn in_a_full_secret_only_registries_that_no_pod_uses_make_room() {
    run(async {
        let Cluster {
            plane,
            ecr,
            webhook,
        } = Cluster::start("full").await;
        let namespace = Namespace::create(&plane, "full").await;
        let apply = ["apply", "-f", "-"];
        namespace.kubectl_ok(&apply, &pod("many", 0..64)).await;
        assert_eq!(namespace.passwords().await.len(), 64);

        // A new process: how many new registries it lets a namespace have at once is not what is asked here.
        drop(webhook);
        let webhook = Webhook::start(&plane, &ecr, "again").await;
        register(&plane, Target::Url(webhook.address)).await;
        let said = namespace
            .kubectl_ok(&["run", "one-more", "--image", IMAGE], "")
            .await;
        insta::assert_snapshot!(said.err, @r#"Warning: no pull credential yet, still trying: Secret "ecr-pull-secret" in namespace "full" is full (64 registries, all in use): spread the Pods over more namespaces"#);
        assert!(!namespace.is_served().await);

        let many = namespace.path("pods/many");
        namespace
            .api()
            .delete(&format!("{many}?gracePeriodSeconds=0"))
            .await
            .unwrap();
        eventually("there is room", async || {
            namespace
                .run(&format!("app-{}", fastrand::u32(..)), IMAGE)
                .await;
            namespace.is_served().await
        })
        .await;
        assert!(namespace.passwords().await.len() <= 64);
    });
}
