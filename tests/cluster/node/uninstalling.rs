//! `helm uninstall` runs the Job that takes away what replicas have written.

use serde_json::json;

use super::pods::{create, unscheduled};
use super::{in_machine, patiently};
use crate::harness::namespace::{IMAGE, Namespace, SECRET, pull_secrets};

#[test]
fn helm_uninstall_leaves_nothing_that_we_have_written() {
    in_machine(async |machine| {
        let (plane, installation) = (&machine.plane, &machine.installation);
        let set = ["config.serviceAccountMode=Add"];
        installation.upgrade(plane, &set).await;
        let namespace = Namespace::create(plane, "left-behind").await;
        let account = namespace.path("serviceaccounts/default");
        patiently("the ServiceAccount names our Secret", async || {
            let account = plane.api.get(&account).await.unwrap();
            account["imagePullSecrets"] == json!([{"name": SECRET}])
        })
        .await;
        let pod = create(&namespace, "app", &unscheduled(IMAGE))
            .await
            .unwrap();
        assert_eq!(pull_secrets(&pod), [SECRET]);
        assert_eq!(namespace.passwords().await.len(), 1);

        installation.uninstall(plane).await;
        assert!(
            namespace.secret().await.is_none(),
            "the pull Secret is gone"
        );
        let account = plane.api.get(&account).await.unwrap();
        assert!(account["imagePullSecrets"].is_null(), "{account}");
        let ours = [
            "get",
            "all,secrets,serviceaccounts,roles,rolebindings",
            "-n",
            "ecr-admission",
            "-o",
            "name",
        ];
        patiently("nothing is left in our namespace", async || {
            let left = plane.kubectl(&ours, "").await;
            left.out
                .lines()
                .all(|name| name == "serviceaccount/default")
        })
        .await;
        let kinds = "clusterroles,clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations,\
                     validatingadmissionpolicies,validatingadmissionpolicybindings,mutatingadmissionpolicies,\
                     mutatingadmissionpolicybindings";
        let outside = plane.kubectl(&["get", kinds, "-o", "name"], "").await;
        assert!(
            outside.ok && !outside.out.contains("ecr-admission"),
            "{}",
            outside.out
        );
        installation.upgrade(plane, &[]).await;
    });
}
