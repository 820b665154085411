//! `ecr-admission check --policy`: the verdicts of policies, offline.

use std::io::Write;
use std::process::{Command, Stdio};

const POLICIES: &str = "
apiVersion: ecr-admission.dev/v1alpha1
kind: EcrPolicy
metadata: {name: production}
spec:
  namespaces: {matchLabels: {environment: production}}
  validation:
    digestRequired: {}
    onlyEcr: {action: Warn}
  exemptions: [{serviceAccounts: [bootstrap], reason: it has to start}]
---
apiVersion: ecr-admission.dev/v1alpha1
kind: EcrPolicy
metadata: {name: team-a}
spec:
  namespaces: {names: [team-a]}
  grants: [{registries: ['123456789012'], role: {arn: 'arn:aws:iam::123456789012:role/team-a'}}]
";

const MANIFESTS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: of-team-a, namespace: team-a}
spec:
  containers: [{name: app, image: '123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:v1'}, {name: log, image: nginx:1}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: of-nobody}
spec:
  template:
    spec:
      containers: [{name: app, image: '123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:v1'}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: exempt, namespace: team-a}
spec:
  template:
    spec:
      serviceAccountName: bootstrap
      containers: [{name: app, image: '123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:v1'}]
";

struct Said {
    out: String,
    err: String,
    code: i32,
}

fn check(policies: &str, arguments: &[&str]) -> Said {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policies.yaml"), policies).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ecr-admission"))
        .args(["check", "--policy"])
        .arg(folder.path())
        .args(arguments)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse its policies without reading this.
    let _ = child.stdin.take().unwrap().write_all(MANIFESTS.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace(&format!("{}/", folder.path().display()), "")
    };
    Said {
        out: text(output.stdout),
        err: text(output.stderr),
        code: output.status.code().unwrap(),
    }
}

#[test]
fn each_object_is_judged_by_the_policies_of_its_namespace() {
    let said = check(POLICIES, &[]);
    insta::assert_snapshot!(said.out, @r#"<stdin>:14: error: Deployment of-nobody, container app: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:v1" is not granted to this namespace: no policy grants it anything [granted]"#);
    assert_eq!(said.code, 1);
}

#[test]
fn the_namespace_and_its_labels_can_be_told() {
    let arguments = [
        "--namespace",
        "team-a",
        "--namespace-labels",
        "environment=production,x=y",
    ];
    let said = check(POLICIES, &arguments);
    insta::assert_snapshot!(said.out, @r#"
    <stdin>:6: error: Pod team-a/of-team-a, container app: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:v1" has no digest, which is demanded by policy "production" [digest-required]
    <stdin>:6: warning: Pod team-a/of-team-a, container log: image "nginx:1" is not on Amazon ECR, which is demanded by policy "production" [only-ecr]
    <stdin>:14: error: Deployment of-nobody, container app: image "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:v1" has no digest, which is demanded by policy "production" [digest-required]
    "#);
    assert_eq!(said.code, 1);
}

#[test]
fn namespaces_of_nobody_can_be_served_as_before() {
    let said = check(POLICIES, &["--default-grant", "Controller"]);
    assert_eq!((said.out.as_str(), said.code), ("", 0), "{}", said.err);
}

#[test]
fn policies_that_are_not_valid_are_refused_before_anything_is_checked() {
    let said = check(
        &POLICIES.replace("digestRequired: {}", "allowedAccounts: {accounts: [x]}"),
        &[],
    );
    insta::assert_snapshot!(said.err, @r#"ecr-admission: policies.yaml: EcrPolicy "production": spec.validation.allowedAccounts.accounts[0]: "x" is no AWS account id of 12 digits"#);
    assert_eq!((said.out.as_str(), said.code), ("", 2));
    let said = check(POLICIES, &["--namespace-labels", "environment"]);
    insta::assert_snapshot!(said.err, @r#"ecr-admission: --namespace-labels holds "environment", which is not of the form key=value"#);
    assert_eq!(said.code, 2);
}
