//! The command as a process, over the wire protocol of the API server.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::api_server::{ApiServer, Resource, Verb};

const IMAGE: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app";

struct Said {
    code: i32,
    out: String,
    err: String,
}

async fn report(api: &ApiServer, folder: &Path, args: &[&str]) -> Said {
    let child = Command::new(env!("CARGO_BIN_EXE_ecr-admission"))
        .arg("report")
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .env("KUBECONFIG", api.write_kubeconfig(folder))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_mins(2), child).await;
    let output = output.expect("it hangs").unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn template(image: &str) -> Value {
    json!({"spec": {"containers": [{"name": "app", "image": image}]}})
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "ecr-admission.dev/v1alpha1", "kind": "EcrPolicy",
        "metadata": {"name": name}, "spec": spec,
    })
}

fn role(team: &str) -> Value {
    json!({
        "namespaces": {"matchLabels": {"team": team}},
        "grants": [{
            "registries": ["123456789012"],
            "role": {"arn": format!("arn:aws:iam::123456789012:role/{team}")},
        }],
    })
}

/// A team with a Deployment and its Pods, another with a bare Pod, and what the webhook leaves alone.
async fn cluster() -> ApiServer {
    let api = ApiServer::start().await;
    for name in ["kube-system", "team-a", "team-b"] {
        api.add_namespace(name);
    }
    api.edit(Resource::Namespaces, "", "team-a", "kubectl", |namespace| {
        namespace["metadata"]["labels"]["team"] = json!("a");
    });
    let image = format!("{IMAGE}:1");
    let web =
        json!({"metadata": {"name": "web"}, "spec": {"replicas": 2, "template": template(&image)}});
    api.add(Resource::Deployments, "team-a", web);
    let owner = |api_version: &str, kind: &str, name: &str| json!([{"apiVersion": api_version, "kind": kind, "name": name, "uid": "1", "controller": true}]);
    let metadata =
        json!({"name": "web-1", "ownerReferences": owner("apps/v1", "Deployment", "web")});
    let replicas =
        json!({"metadata": metadata, "spec": {"replicas": 2, "template": template(&image)}});
    api.add(Resource::ReplicaSets, "team-a", replicas);
    for name in ["web-1-x", "web-1-y"] {
        let metadata =
            json!({"name": name, "ownerReferences": owner("apps/v1", "ReplicaSet", "web-1")});
        let pod = json!({"metadata": metadata, "spec": template(&image)["spec"], "status": {"phase": "Running"}});
        api.add(Resource::Pods, "team-a", pod);
    }
    api.add_pod("team-b", "debug", "Running", &template(&image)["spec"]);
    api.add_pod("team-b", "ended", "Succeeded", &template(IMAGE)["spec"]);
    api.add_pod("kube-system", "x", "Running", &template(IMAGE)["spec"]);
    api
}

#[tokio::test]
async fn by_the_policies_of_the_cluster_each_namespace_is_told_as_text() {
    let (api, folder) = (cluster().await, tempfile::tempdir().unwrap());
    api.add(Resource::EcrPolicies, "", policy("a", &role("a")));
    let digests = json!({"namespaces": {"names": ["team-a"]}, "action": "Warn", "validation": {"digestRequired": {}}});
    api.add(Resource::EcrPolicies, "", policy("digests", &digests));
    let said = report(&api, folder.path(), &[]).await;
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    insta::assert_snapshot!(said.out, @r#"
    team-a: 0 of 2 Pods and 0 of 1 workload would be refused; 2 Pods, 1 workload warned of
      Warn [digest-required]: 2 Pods, 1 workload
        Deployment web, container app: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1" has no digest, which is demanded by policy "digests" (2 Pods)
      123456789012.dkr.ecr.eu-west-1.amazonaws.com is pulled by role arn:aws:iam::123456789012:role/a (today: the controller's own AWS identity): 2 Pods, 1 workload

    team-b: 1 of 1 Pod would be refused
      Enforce [granted]: 1 Pod
        Pod debug, container app: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:1" is not granted to this namespace: no policy grants it anything
      123456789012.dkr.ecr.eu-west-1.amazonaws.com is not granted any more (today: the controller's own AWS identity): 1 Pod

    judged by 2 policies: 3 Pods, 1 workload in 2 namespaces; 2 of the Pods were made by these workloads
    1 of 3 Pods and 0 of 1 workload would be refused; 2 Pods, 1 workload warned of
    something would be refused: in 1 namespace
    some registry that is pulled from is not granted any more: in 1 namespace
    somebody else pulls than today: in 1 namespace
    nothing is granted, whether it is used or not: in 1 namespace
    left out: kube-system: it is excluded
    "#);
    // Whatever is asked of the cluster is to read.
    let writes = [Verb::Create, Verb::Patch, Verb::Apply, Verb::Delete];
    let received = api.received();
    assert!(
        received
            .iter()
            .all(|request| !writes.contains(&request.verb))
    );
    assert!(
        !received
            .iter()
            .any(|request| request.resource == Resource::Secrets)
    );
    assert!(
        received
            .iter()
            .filter(|request| request.verb == Verb::List)
            .all(|request| request.query.contains("limit=")),
        "{received:?}"
    );
}

#[tokio::test]
async fn by_policies_from_files_it_is_told_as_json_and_compared_with_those_of_today() {
    let (api, folder) = (cluster().await, tempfile::tempdir().unwrap());
    let write = |file: &str, policies: &[Value]| {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": policies});
        std::fs::write(folder.path().join(file), list.to_string()).unwrap();
    };
    write("today.json", &[policy("a", &role("a"))]);
    write(
        "new.json",
        &[policy("a", &role("a")), policy("b", &role("b"))],
    );
    let args = [
        "--policy",
        "new.json",
        "--before",
        "today.json",
        "-o",
        "json",
    ];
    let said = report(&api, folder.path(), &args).await;
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        told["summary"]["pods"],
        json!({"total": 3, "refused": 1, "warned": 0, "audited": 0})
    );
    assert_eq!(told["summary"]["podsOfWorkloads"], 2);
    assert_eq!(told["summary"]["exitCode"], 1);
    let [team_a, team_b] = told["namespaces"].as_array().unwrap().as_slice() else {
        panic!("{told}");
    };
    // The role was there before, and the other namespace had lost its grant already.
    assert_eq!(
        (&team_a["changes"], &team_b["changes"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(team_a["grantedAfter"], json!(["a"]));
    assert_eq!(team_b["grantedAfter"], "nothing");
    assert_eq!(team_b["rules"][0]["images"][0]["name"], "debug");
    assert_eq!(told["skipped"][0]["name"], "kube-system");

    // What namespaces get that no policy selects can be said too.
    let said = report(
        &api,
        folder.path(),
        &[&args[..], &["--default-grant", "Controller"]].concat(),
    )
    .await;
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (said.code, &told["namespaces"][1]["grantedAfter"]),
        (0, &json!("everything"))
    );
    let change = &told["namespaces"][1]["changes"][0];
    assert_eq!(
        (&change["before"], &change["after"]),
        (&json!("nobody"), &json!("controller"))
    );
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_is_named_and_takes_grants_away() {
    let (api, folder) = (cluster().await, tempfile::tempdir().unwrap());
    let newer = json!({"namespaces": {"names": ["team-b"]}, "restriction": true});
    api.add(Resource::EcrPolicies, "", policy("newer", &newer));
    let said = report(&api, folder.path(), &["-n", "team-b"]).await;
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(
        said.err.contains("EcrPolicy \"newer\" cannot be read"),
        "{}",
        said.err
    );
    assert!(
        said.out
            .contains("policy \"newer\" cannot be read, and until it can"),
        "{}",
        said.out
    );
}

#[tokio::test]
async fn what_cannot_be_had_ends_with_two_and_says_what_is_missing() {
    let (api, folder) = (cluster().await, tempfile::tempdir().unwrap());
    for args in [
        &["--policy", "nowhere"][..],
        &["--policy", "a", "--no-policies"],
        &["--namespace", "a", "--selector", "b"],
        &["--namespace", "nowhere"],
        &["--output", "sarif"],
    ] {
        let said = report(&api, folder.path(), args).await;
        assert_eq!(
            (said.code, said.out.as_str()),
            (2, ""),
            "{args:?}: {}",
            said.err
        );
    }
    let missing = (
        404,
        "NotFound",
        "the server could not find the requested resource",
    );
    api.refuse((Verb::List, Resource::EcrPolicies), 1, missing);
    let said = report(&api, folder.path(), &[]).await;
    assert_eq!(said.code, 2);
    assert!(said.err.contains("give others by --policy"), "{}", said.err);

    let refusal = "cronjobs.batch is forbidden: User \"system:serviceaccount:default:auditor\" cannot list resource \
                   \"cronjobs\" in API group \"batch\" at the cluster scope";
    api.refuse(
        (Verb::List, Resource::CronJobs),
        1,
        (403, "Forbidden", refusal),
    );
    let said = report(&api, folder.path(), &["--no-policies"]).await;
    assert_eq!((said.code, said.out.as_str()), (2, ""));
    let rule = "its ClusterRole lacks the rule {apiGroups: [\"batch\"], resources: [cronjobs], verbs: [list]}";
    assert!(said.err.contains(rule), "{}", said.err);
}

#[tokio::test]
async fn by_the_settings_alone_what_they_would_refuse_is_told() {
    let (api, folder) = (cluster().await, tempfile::tempdir().unwrap());
    let args = [
        "--no-policies",
        "--allowed-accounts",
        "210987654321",
        "--action",
        "Audit",
    ];
    let said = report(&api, folder.path(), &args).await;
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    insta::assert_snapshot!(said.out.lines().rev().take(3).collect::<Vec<_>>().join("\n"), @r"
    left out: kube-system: it is excluded
    0 of 3 Pods and 0 of 1 workload would be refused; 3 Pods, 1 workload recorded
    judged by the settings alone: 3 Pods, 1 workload in 2 namespaces; 2 of the Pods were made by these workloads
    ");
}

#[tokio::test]
async fn all_pages_are_read_also_when_their_tokens_expire_meanwhile() {
    let (api, folder) = (ApiServer::start().await, tempfile::tempdir().unwrap());
    api.add_namespace("team-a");
    for number in 0..450 {
        let spec = &template(&format!("{IMAGE}:1"))["spec"];
        api.add_pod("team-a", &format!("pod-{number:03}"), "Running", spec);
    }
    for expired in [false, true] {
        api.expire_page_tokens(expired);
        let said = report(&api, folder.path(), &["--no-policies", "-o", "json"]).await;
        assert_eq!(
            (said.code, said.err.as_str()),
            (0, ""),
            "expired: {expired}"
        );
        let told: Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(told["summary"]["pods"]["total"], 450, "expired: {expired}");
    }
    // Two times three pages, and two refusals.
    assert_eq!(api.count(Verb::List, Resource::Pods), 8);
}
