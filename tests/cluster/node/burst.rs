//! Many new namespaces at once, two replicas behind their Service.

use futures_util::future::join_all;

use super::in_machine;
use super::pods::unscheduled;
use crate::harness::namespace::{IMAGE, Namespace, SECRET, pull_secrets};

const NAMESPACES: usize = 50;

#[test]
fn fifty_new_namespaces_at_once_get_a_secret_each_for_a_token_a_replica() {
    in_machine(async |machine| {
        let (plane, installation) = (&machine.plane, &machine.installation);
        installation.restart(plane).await;
        let mints = machine.ecr.calls().len();
        let names = (0..NAMESPACES).map(|number| format!("burst-{number}"));
        let namespaces = join_all(names.map(|name| Namespace::create(plane, name))).await;
        // Two Pods a namespace, so that the replicas meet in it.
        let spec = unscheduled(IMAGE);
        let pods = namespaces
            .iter()
            .flat_map(|namespace| ["one", "two"].map(|name| namespace.create_pod(name, &spec)));
        for pod in join_all(pods).await {
            assert_eq!(pull_secrets(&pod.unwrap()), [SECRET]);
        }
        for namespace in &namespaces {
            assert_eq!(namespace.passwords().await.len(), 1, "{}", namespace.name);
        }
        let created = r#"ecr_admission_secret_writes_total{result="created""#;
        let created = installation.counted(plane, created).await;
        assert_eq!(
            created.iter().sum::<u64>(),
            NAMESPACES as u64,
            "{created:?}"
        );
        let warned = r#"ecr_admission_admissions_total{operation="create",verdict="warned""#;
        assert_eq!(installation.counted(plane, warned).await, [0, 0]);
        let minted = machine.ecr.calls().len() - mints;
        assert!(minted <= 2, "one token a replica: {minted}");
    });
}
