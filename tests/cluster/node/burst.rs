//! Many new namespaces at once, two replicas behind their Service.

use futures_util::future::join_all;

use super::in_machine;
use super::machine::Machine;
use super::pods::{create, unscheduled};
use crate::harness::namespace::{IMAGE, Namespace, SECRET, pull_secrets};

const NAMESPACES: usize = 50;

#[test]
fn fifty_new_namespaces_at_once_get_a_secret_each_for_a_token_a_replica() {
    in_machine(async |machine| {
        let plane = &machine.plane;
        let mints = machine.ecr.calls().len();
        let before = counted(machine).await;
        let names = (0..NAMESPACES).map(|number| format!("burst-{number}"));
        let namespaces = join_all(names.map(|name| Namespace::create(plane, name))).await;
        // Two Pods a namespace, so that the replicas meet in it.
        let spec = unscheduled(IMAGE);
        let pods = namespaces
            .iter()
            .flat_map(|namespace| ["one", "two"].map(|name| create(namespace, name, &spec)));
        for pod in join_all(pods).await {
            assert_eq!(pull_secrets(&pod.unwrap()), [SECRET]);
        }
        for namespace in &namespaces {
            assert_eq!(namespace.passwords().await.len(), 1, "{}", namespace.name);
        }
        let now = counted(machine).await;
        assert_eq!(now.created - before.created, NAMESPACES as u64);
        assert_eq!(
            now.warned, before.warned,
            "no conflict reaches a Pod's author"
        );
        let minted = machine.ecr.calls().len() - mints;
        assert!(minted <= 2, "one token a replica: {minted}");
    });
}

struct Counts {
    created: u64,
    warned: u64,
}

/// What both replicas have counted.
async fn counted(machine: &Machine) -> Counts {
    let sum = async |series: &str| {
        let counts = machine.installation.counted(&machine.plane, series).await;
        counts.iter().sum()
    };
    Counts {
        created: sum(r#"ecr_admission_secret_writes_total{result="created""#).await,
        warned: sum(r#"ecr_admission_admissions_total{operation="create",verdict="warned""#).await,
    }
}
