//! `ecr-admission serve` goes by policies, of the cluster and of files, as a whole process.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::support::api_server::{ApiServer, Resource, Verb};
use crate::support::ecr::EcrDouble;
use crate::support::process::{Process, eventually};
use crate::support::review::{IMAGE, create_with};

async fn doubles() -> (ApiServer, EcrDouble) {
    let api = ApiServer::start().await;
    for namespace in ["default", "team-a", "team-b"] {
        api.add_namespace(namespace);
    }
    (api, EcrDouble::start().await)
}

/// A policy that grants the test's registry to these namespaces, and by that nothing to others.
fn grant(namespaces: &[&str]) -> Value {
    json!({
        "namespaces": {"names": namespaces},
        "grants": [{"registries": ["123456789012"], "repositories": ["team/*"]}],
    })
}

/// The same for all namespaces, but nothing that the test's image is in.
fn nothing_of_use() -> Value {
    json!({"grants": [{"registries": ["123456789012"], "repositories": ["base/**"]}]})
}

async fn admits(serve: &Process, namespace: &str) -> bool {
    let answer = serve.admit(&create_with(namespace, IMAGE)).await;
    answer["allowed"] == true
}

/// The condition of a policy: status and reason.
fn says(api: &ApiServer, name: &str, kind: &str) -> String {
    let policy = api.get(Resource::EcrPolicies, "", name).unwrap();
    let conditions = policy["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten();
    let mut found = found.filter(|condition| condition["type"] == kind);
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap().to_owned();
    found.next().map_or_else(String::new, |condition| {
        format!(
            "{} {}",
            text(condition, "status"),
            text(condition, "reason")
        )
    })
}

#[tokio::test]
async fn it_is_unready_without_a_definition_says_what_to_do_and_becomes_ready_with_it() {
    let (api, ecr) = doubles().await;
    api.never_define_policies();
    let serve = Process::start(&api, &ecr, &["--policy-source", "Cluster"]).await;
    let told = "policy-index: not ready: waiting for the first list: the API server does not know EcrPolicies: install their \
        CustomResourceDefinition";
    eventually(|| async {
        let (status, page) = serve.admin("/readyz?verbose").await;
        status == StatusCode::SERVICE_UNAVAILABLE && page.contains(told)
    })
    .await;
    api.define_policies();
    serve.ready().await;
    assert!(admits(&serve, "team-a").await, "there is no policy");
}

#[tokio::test]
async fn a_policy_is_in_force_without_a_restart_and_its_status_says_so() {
    let (api, ecr) = doubles().await;
    api.define_policies();
    api.apply_policy("everything-else", &nothing_of_use());
    let serve = Process::start(&api, &ecr, &["--policy-source", "Cluster"]).await;
    serve.ready().await;
    // From the first moment.
    let answer = serve.admit(&create_with("team-a", IMAGE)).await;
    let message = answer["status"]["message"].as_str().unwrap();
    assert!(message.contains("[granted]"), "{answer}");

    api.apply_policy("team-a", &grant(&["team-a"]));
    eventually(|| admits(&serve, "team-a")).await;
    assert!(!admits(&serve, "team-b").await);
    eventually(|| async { says(&api, "team-a", "Ready") == "True Compiled" }).await;
    let policy = api.get(Resource::EcrPolicies, "", "team-a").unwrap();
    assert_eq!(policy["status"]["namespaces"], 1);
    assert_eq!(policy["status"]["observedGeneration"], 1);
    assert_eq!(
        policy["metadata"]["generation"], 1,
        "the status alone was written"
    );

    api.apply_policy("team-a", &grant(&["team-b"]));
    eventually(|| admits(&serve, "team-b")).await;
    assert!(!admits(&serve, "team-a").await);
    api.remove(Resource::EcrPolicies, "", "team-a");
    eventually(|| async { !admits(&serve, "team-b").await }).await;

    let (_, metrics) = serve.admin("/metrics").await;
    assert!(
        metrics.contains("ecr_admission_policies{state=\"ready\"} 1"),
        "{metrics}"
    );
    assert!(
        metrics.contains("ecr_admission_policies_changed_timestamp_seconds "),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_is_told_and_its_namespaces_get_nothing() {
    let (api, ecr) = doubles().await;
    api.define_policies();
    api.apply_policy("all", &grant(&["*"]));
    // As a schema of somebody else's would let it pass.
    let mut newer = grant(&["team-a"]);
    newer["grants"][0]["schedule"] = json!("later");
    api.apply_policy("newer", &newer);
    let serve = Process::start(&api, &ecr, &["--policy-source", "Cluster"]).await;
    serve.ready().await;
    assert!(!admits(&serve, "team-a").await);
    assert!(admits(&serve, "team-b").await);
    eventually(|| async { says(&api, "newer", "Ready") == "False Undecodable" }).await;
    let (status, page) = serve.admin("/readyz").await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        page.contains("policies: degraded: 1 of the policies cannot be read"),
        "{page}"
    );
    eventually(|| async { !api.events("default").is_empty() }).await;
    let event = &api.events("default")[0];
    let regarding = &event["regarding"];
    assert_eq!(event["reason"], "PolicyInvalid");
    assert_eq!(
        (&regarding["kind"], &regarding["name"]),
        (&json!("EcrPolicy"), &json!("newer"))
    );
}

#[tokio::test]
async fn the_last_policies_stay_in_force_when_their_definition_is_deleted() {
    let (api, ecr) = doubles().await;
    api.define_policies();
    api.apply_policy("team-a", &grant(&["team-a"]));
    api.apply_policy("everything-else", &nothing_of_use());
    let serve = Process::start(&api, &ecr, &["--policy-source", "Cluster"]).await;
    serve.ready().await;
    api.undefine_policies();
    eventually(|| async {
        let (status, page) = serve.admin("/readyz?verbose").await;
        status == StatusCode::OK
            && page.contains(
                "policies: degraded: the CustomResourceDefinition of EcrPolicy was deleted",
            )
    })
    .await;
    api.cut();
    eventually(|| async {
        let (status, page) = serve.admin("/readyz?verbose").await;
        status == StatusCode::OK
            && page.contains("policy-watch: degraded: the API server does not know EcrPolicies")
    })
    .await;
    assert!(admits(&serve, "team-a").await);
    assert!(!admits(&serve, "team-b").await);

    api.define_policies();
    api.apply_policy("team-b", &grant(&["team-b"]));
    eventually(|| admits(&serve, "team-b")).await;
    eventually(|| async {
        let (_, page) = serve.admin("/readyz?verbose").await;
        page.contains("policies: ok") && page.contains("policy-watch: ok")
    })
    .await;
}

#[tokio::test]
async fn without_a_source_nobody_asks_for_policies() {
    let (api, ecr) = doubles().await;
    api.define_policies();
    api.apply_policy("everything-else", &nothing_of_use());
    let serve = Process::start(&api, &ecr, &[]).await;
    serve.ready().await;
    assert!(admits(&serve, "team-a").await);
    assert_eq!(api.count(Verb::List, Resource::EcrPolicies), 0);
}

fn as_file(name: &str, spec: &Value) -> String {
    let policy = json!({
        "apiVersion": "ecr-admission.dev/v1alpha1",
        "kind": "EcrPolicy",
        "metadata": {"name": name},
        "spec": spec,
    });
    policy.to_string()
}

#[tokio::test]
async fn policies_in_files_are_in_force_and_read_again_and_the_last_good_ones_stay() {
    let (api, ecr) = doubles().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policies.json");
    std::fs::write(&file, as_file("team-a", &grant(&["*-a"]))).unwrap();
    let path = folder.path().to_str().unwrap();
    let serve = Process::start(&api, &ecr, &["--policy", path, "--default-grant", "None"]).await;
    serve.ready().await;
    assert!(admits(&serve, "team-a").await && !admits(&serve, "team-b").await);

    std::fs::write(&file, "nonsense").unwrap();
    eventually(|| async {
        let (status, page) = serve.admin("/readyz").await;
        status == StatusCode::OK
            && page.contains("policies: degraded: the policies that were last read stay in force")
    })
    .await;
    assert!(admits(&serve, "team-a").await && !admits(&serve, "team-b").await);

    std::fs::write(&file, as_file("team-b", &grant(&["*-b"]))).unwrap();
    eventually(|| admits(&serve, "team-b")).await;
    assert!(!admits(&serve, "team-a").await);
    eventually(|| async {
        serve
            .admin("/readyz?verbose")
            .await
            .1
            .contains("policies: ok")
    })
    .await;
}

#[tokio::test]
async fn a_policy_in_a_file_about_images_that_nobody_asks_about_is_told_in_the_log() {
    let (api, ecr) = doubles().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policies.json");
    let path = folder.path().to_str().unwrap();
    let only_ecr = json!({"validation": {"onlyEcr": {"action": "Enforce"}}});
    std::fs::write(&file, as_file("only-ecr", &only_ecr)).unwrap();
    for (registered, is_told) in [("Ecr", true), ("All", false)] {
        let args = ["--policy", path, "--registered-pods", registered];
        let serve = Process::start(&api, &ecr, &args).await;
        serve.ready().await;
        let log = serve.log();
        let told: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("onlyEcr"))
            .collect();
        assert_eq!(told.len(), usize::from(is_told), "{log}");
        assert!(
            told.iter()
                .all(|line| line.contains("\"policy\":\"only-ecr\""))
        );
    }
}
