//! What others do to the Secret, and what becomes of it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::harness::namespace::{IMAGE, Namespace, SECRET, pull_secrets};
use crate::harness::{eventually, in_shared_cluster};

const OURS: &str = "app.kubernetes.io/managed-by";

/// A Secret of our name, made by somebody else.
async fn create(namespace: &Namespace<'_>, secret: Value) -> Value {
    let mut secret = secret;
    secret["apiVersion"] = json!("v1");
    secret["kind"] = json!("Secret");
    secret["metadata"]["name"] = json!(SECRET);
    let made = namespace
        .api()
        .create(&namespace.path("secrets"), &secret)
        .await;
    made.unwrap()
}

fn uid(secret: &Value) -> &str {
    secret["metadata"]["uid"].as_str().unwrap()
}

fn version(secret: &Value) -> &str {
    secret["metadata"]["resourceVersion"].as_str().unwrap()
}

/// Creates Pods until the Secret serves them again: the watch must have shown what happened to it.
async fn heals(namespace: &Namespace<'_>) {
    eventually("the Secret is as it should be", async || {
        namespace
            .run(&format!("app-{}", fastrand::u32(..)), IMAGE)
            .await;
        namespace.is_served().await
    })
    .await;
}

#[test]
fn a_foreign_secret_of_our_name_is_left_alone_and_the_author_is_told() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "foreign").await;
        let theirs = create(
            &namespace,
            json!({"type": "Opaque", "stringData": {"a": "b"}}),
        )
        .await;
        for pod in ["one", "two"] {
            let said = namespace
                .kubectl_ok(&["run", pod, "--image", IMAGE], "")
                .await;
            insta::allow_duplicates! {
                insta::assert_snapshot!(said.err, @r#"Warning: no pull credential yet, still trying: Secret "ecr-pull-secret" in namespace "foreign" is not ours, it lacks the label app.kubernetes.io/managed-by=ecr-admission: delete it, or put the label on it to have its content replaced"#);
            }
        }
        assert_eq!(namespace.secret().await.unwrap(), theirs);
        let told = namespace.event("ForeignPullSecret").await;
        insta::assert_snapshot!(told, @r#"Warning Secret ecr-pull-secret Secret "ecr-pull-secret" in namespace "foreign" is not ours, it lacks the label app.kubernetes.io/managed-by=ecr-admission: delete it, or put the label on it to have its content replaced"#);

        let own = json!({"metadata": {"labels": {OURS: "ecr-admission"}}});
        namespace
            .api()
            .merge(&namespace.secret_path(), &own)
            .await
            .unwrap();
        heals(&namespace).await;
    });
}

#[test]
fn a_deleted_secret_is_there_again_with_the_next_pod() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "deleted").await;
        namespace.run("app", IMAGE).await;
        namespace
            .api()
            .delete(&namespace.secret_path())
            .await
            .unwrap();
        heals(&namespace).await;
    });
}

#[test]
fn a_secret_that_is_deleted_or_emptied_comes_back_without_another_pod() {
    in_shared_cluster(async |cluster| {
        for name in ["removed", "emptied"] {
            let namespace = Namespace::create(&cluster.plane, name).await;
            namespace.run("app", IMAGE).await;
            let before = namespace.secret().await.unwrap();
            if name == "removed" {
                let delete = ["delete", "secret", SECRET];
                namespace.kubectl_ok(&delete, "").await;
            } else {
                let empty = BASE64_STANDARD.encode(r#"{"auths":{}}"#);
                let patch = json!({"data": {".dockerconfigjson": empty}}).to_string();
                let edit = ["patch", "secret", SECRET, "--type=merge", "-p", &patch];
                namespace.kubectl_ok(&edit, "").await;
            }
            eventually("it is as it was", async || namespace.is_served().await).await;
            let after = namespace.secret().await.unwrap();
            assert_eq!(uid(&before) == uid(&after), name == "emptied");
        }
    });
}

#[test]
fn an_edit_is_undone_once_in_place_and_never_in_a_loop() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "edited").await;
        namespace.run("app", IMAGE).await;
        let before = namespace.secret().await.unwrap();
        let empty = BASE64_STANDARD.encode(r#"{"auths":{}}"#);
        let patch = json!({"data": {".dockerconfigjson": empty}}).to_string();
        let edit = ["patch", "secret", SECRET, "--type=merge", "-p", &patch];
        namespace.kubectl_ok(&edit, "").await;
        heals(&namespace).await;
        let repaired = namespace.secret().await.unwrap();
        assert_eq!(
            uid(&repaired),
            uid(&before),
            "the kubelet's records of pulled images name it"
        );

        namespace.kubectl_ok(&edit, "").await;
        let edited = namespace.secret().await.unwrap();
        for pod in ["one", "two", "three"] {
            namespace.run(pod, IMAGE).await;
        }
        let after = namespace.secret().await.unwrap();
        assert_eq!(
            version(&after),
            version(&edited),
            "who edits it in a loop does not make us write in a loop"
        );
    });
}

#[test]
fn who_clears_managed_fields_starts_no_loop_and_tracking_comes_back() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "untracked").await;
        namespace.run("app", IMAGE).await;
        let before = namespace.secret().await.unwrap();
        let cleared = json!({"metadata": {"managedFields": [{}]}});
        // What it answers, because the repair may follow at once.
        let untracked = namespace
            .api()
            .merge(&namespace.secret_path(), &cleared)
            .await
            .unwrap();
        assert!(
            untracked["metadata"].get("managedFields").is_none(),
            "{untracked}"
        );
        eventually("tracking is back", async || {
            namespace
                .run(&format!("app-{}", fastrand::u32(..)), IMAGE)
                .await;
            let secret = namespace.secret().await.unwrap();
            secret["metadata"]["managedFields"][0]["manager"] == "ecr-admission"
        })
        .await;
        let repaired = namespace.secret().await.unwrap();
        assert_eq!(uid(&repaired), uid(&before));
        assert!(namespace.is_served().await);
        for pod in ["one", "two"] {
            namespace.run(pod, IMAGE).await;
        }
        assert_eq!(
            version(&namespace.secret().await.unwrap()),
            version(&repaired)
        );
    });
}

#[test]
fn a_squatted_type_or_an_immutable_secret_is_made_anew() {
    in_shared_cluster(async |cluster| {
        let empty = json!({".dockerconfigjson": r#"{"auths":{}}"#});
        for (name, secret) in [
            (
                "squatted",
                json!({"type": "Opaque", "stringData": {"a": "b"}}),
            ),
            (
                "immutable",
                json!({"type": "kubernetes.io/dockerconfigjson", "stringData": empty, "immutable": true}),
            ),
        ] {
            let namespace = Namespace::create(&cluster.plane, name).await;
            let mut secret = secret;
            secret["metadata"]["labels"] = json!({OURS: "ecr-admission"});
            let squatter = create(&namespace, secret).await;
            let pod = namespace.run("app", IMAGE).await;
            assert_eq!(pull_secrets(&pod), [SECRET]);
            assert!(namespace.is_served().await, "{name}");
            let made = namespace.secret().await.unwrap();
            assert_ne!(uid(&made), uid(&squatter));
            assert_eq!(made["type"], "kubernetes.io/dockerconfigjson");
            assert_ne!(made["immutable"], true);
        }
    });
}

#[test]
fn a_quota_that_forbids_the_secret_is_named() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "quota").await;
        let none = json!({"secrets": "0"});
        let quota = json!({
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "no-secrets"},
            "spec": {"hard": none},
        });
        let path = namespace.path("resourcequotas");
        namespace.api().create(&path, &quota).await.unwrap();
        // What the quota controller, which does not run here, would write.
        let status = json!({"status": {"hard": none, "used": none}});
        namespace
            .api()
            .merge(&format!("{path}/no-secrets/status"), &status)
            .await
            .unwrap();
        eventually("the quota holds", async || {
            let secret =
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"generateName": "x"}});
            let path = format!("{}?dryRun=All", namespace.path("secrets"));
            namespace.api().create(&path, &secret).await.is_err()
        })
        .await;
        let said = namespace
            .kubectl_ok(&["run", "app", "--image", IMAGE], "")
            .await;
        insta::assert_snapshot!(said.err, @r#"Warning: no pull credential yet, still trying: cannot create Secret "ecr-pull-secret" in namespace "quota": secrets "ecr-pull-secret" is forbidden: exceeded quota: no-secrets, requested: secrets=1, used: secrets=0, limited: secrets=0"#);
        assert_eq!(pull_secrets(&namespace.pods().await[0]), [SECRET]);
        let told = namespace.event("PullSecretRefused").await;
        insta::assert_snapshot!(told, @r#"Warning Secret ecr-pull-secret cannot create Secret "ecr-pull-secret" in namespace "quota": secrets "ecr-pull-secret" is forbidden: exceeded quota: no-secrets, requested: secrets=1, used: secrets=0, limited: secrets=0"#);

        namespace
            .api()
            .delete(&format!("{path}/no-secrets"))
            .await
            .unwrap();
        eventually("it heals by itself", async || namespace.is_served().await).await;
    });
}
