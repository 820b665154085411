//! Two replicas behind one Service, as in a real cluster.

use futures_util::future::join_all;

use crate::ecr::EcrDouble;
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::{Target, install_permissions, register};
use crate::harness::namespace::{IMAGE, Namespace, SECRET, one_container, pull_secrets};
use crate::harness::webhook::Webhook;
use crate::harness::wire::Wire;
use crate::harness::{eventually, run};

const NAMESPACES: usize = 50;

#[test]
fn a_burst_of_new_namespaces_costs_a_secret_each_and_a_token_a_replica_and_then_nothing() {
    run(async {
        let plane = ControlPlane::start("replicas").await;
        install_permissions(&plane).await;
        let ecr = EcrDouble::start().await;
        let replicas = [
            Webhook::start(&plane, &ecr, "replica-a").await,
            Webhook::start(&plane, &ecr, "replica-b").await,
        ];
        let wire = Wire::to([replicas[0].address, replicas[1].address]).await;
        register(&plane, Target::Service(wire.port)).await;

        let names = (0..NAMESPACES).map(|number| format!("burst-{number}"));
        let namespaces = names.map(|name| Namespace::create(&plane, name));
        let namespaces = join_all(namespaces).await;
        // Two Pods a namespace, so that the replicas meet in it.
        let spec = one_container(IMAGE);
        let pods = namespaces
            .iter()
            .flat_map(|namespace| ["one", "two"].map(|name| namespace.create_pod(name, &spec)));
        for pod in join_all(pods).await {
            assert_eq!(pull_secrets(&pod.unwrap()), [SECRET]);
        }
        for namespace in &namespaces {
            assert!(namespace.is_served().await, "{}", namespace.name);
        }

        let counted = async |series: &str| {
            let [a, b] = &replicas;
            [a.counted(series).await, b.counted(series).await]
        };
        let mutations = counted("ecr_admission_admissions_total").await;
        assert!(
            mutations.iter().all(|count| *count > 0),
            "both were asked: {mutations:?}"
        );
        let created = counted(r#"ecr_admission_secret_writes_total{result="created""#).await;
        assert_eq!(created.iter().sum::<u64>(), NAMESPACES as u64);
        let warned =
            counted(r#"ecr_admission_admissions_total{operation="create",verdict="warned""#).await;
        assert_eq!(warned, [0, 0], "no conflict reaches a Pod's author");
        assert!(ecr.calls().len() <= 2, "{:?}", ecr.calls());

        // From now on Pods cost no call: neither of the API server, nor of ECR.
        eventually("both replicas know all Secrets", async || {
            counted("ecr_admission_secret_index_size").await == [NAMESPACES as u64; 2]
        })
        .await;
        let calls = requests(&plane);
        let pods = namespaces
            .iter()
            .map(|namespace| namespace.create_pod("three", &spec));
        for pod in join_all(pods).await {
            assert_eq!(pull_secrets(&pod.unwrap()), [SECRET]);
        }
        assert_eq!(requests(&plane), calls);
        assert!(ecr.calls().len() <= 2);
    });
}

/// What our account has asked the API server for, by its audit log; watches left out.
fn requests(plane: &ControlPlane) -> usize {
    let log = std::fs::read_to_string(plane.folder.join("audit.log")).unwrap();
    let lines = log.lines();
    lines
        .filter(|line| !line.contains(r#""verb":"watch""#))
        .count()
}
