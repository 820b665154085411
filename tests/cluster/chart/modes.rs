//! What is granted for what is off by default, and what an uninstall runs.

use ecr_admission::repository;
use serde_json::{Value, json};

use crate::harness::control_plane::version;
use crate::harness::helm::Helm;
use crate::harness::install::documents;
use crate::harness::run;

async fn render(set: &[&str]) -> Vec<Value> {
    let set: Vec<&str> = set.iter().flat_map(|value| ["--set-json", value]).collect();
    Helm::Four.render(&set).await
}

/// The uninstall's objects.
async fn hooks(set: &[&str]) -> Vec<Value> {
    let set: Vec<&str> = set.iter().flat_map(|value| ["--set-json", value]).collect();
    let version = version();
    let arguments = [&["--kube-version", &version], &set[..]].concat();
    let said = Helm::Four
        .chart(&["template", "ecr-admission"], &arguments)
        .await;
    assert!(said.ok, "{}", said.err);
    let mut objects = documents(&said.out);
    objects.retain(|object| object["metadata"]["annotations"]["helm.sh/hook"].is_string());
    objects
}

/// The rules about a resource, of roles of any kind.
fn rules<'a>(objects: &'a [Value], resource: &str) -> Vec<&'a Value> {
    let rules = objects
        .iter()
        .flat_map(|object| object["rules"].as_array().into_iter().flatten());
    rules
        .filter(|rule| rule["resources"] == json!([resource]))
        .collect()
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> Option<&'a Value> {
    let is = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is)
}

#[test]
fn nothing_is_granted_about_service_accounts_and_argo_cd_unless_it_is_chosen() {
    run(async {
        let objects = render(&[]).await;
        assert!(rules(&objects, "serviceaccounts").is_empty());
        for name in [
            "ecr-admission-service-accounts",
            "ecr-admission-repositories",
        ] {
            assert!(
                named(&objects, "ValidatingAdmissionPolicy", name).is_none(),
                "{name}"
            );
        }
        let text = json!(objects).to_string();
        assert!(!text.contains("ecr-admission-repository"), "{text}");
    });
}

#[test]
fn rights_to_policies_are_there_where_they_come_from_the_cluster() {
    run(async {
        for (source, by_objects, by_live_reads) in [
            ("Cluster", true, true),
            ("Files", false, true),
            ("None", false, false),
        ] {
            let source = format!("config.policySource={source:?}");
            let objects = render(&[&source, r#"config.policyFiles=["/a"]"#]).await;
            let found = |resource: &str| !rules(&objects, resource).is_empty();
            for resource in [
                "ecrpolicies",
                "ecrpolicies/status",
                "customresourcedefinitions",
            ] {
                assert_eq!(found(resource), by_objects, "{source} {resource}");
            }
            let get = json!(["get"]);
            let reads = rules(&objects, "namespaces");
            let live = reads.iter().any(|rule| rule["verbs"] == get);
            assert_eq!(live, by_live_reads, "{source}");
        }
    });
}

#[test]
fn the_definition_of_policies_comes_along_unless_somebody_else_keeps_it() {
    run(async {
        let kind = "CustomResourceDefinition";
        let name = "ecrpolicies.ecr-admission.dev";
        let objects = render(&[]).await;
        let definition = named(&objects, kind, name).unwrap();
        let annotations = &definition["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/resource-policy"], "keep");
        let without = render(&["crd.install=false"]).await;
        assert!(named(&without, kind, name).is_none());
    });
}

#[test]
fn rights_to_service_accounts_are_as_narrow_as_the_choice_and_come_with_their_policy() {
    run(async {
        for (set, names) in [
            (
                &[r#"config.serviceAccountMode="Add""#][..],
                json!(["default"]),
            ),
            (
                &[
                    r#"config.serviceAccountMode="Add""#,
                    r#"config.serviceAccounts=["a","b"]"#,
                ],
                json!(["a", "b"]),
            ),
            (
                &[
                    r#"config.serviceAccountMode="Add""#,
                    "config.serviceAccounts=[]",
                ],
                json!(["default"]),
            ),
            (
                &[
                    r#"config.serviceAccountMode="Add""#,
                    r#"config.serviceAccounts=["a","*"]"#,
                ],
                Value::Null,
            ),
            (&[r#"config.serviceAccountMode="Remove""#], Value::Null),
        ] {
            let objects = render(set).await;
            let rules = rules(&objects, "serviceaccounts");
            assert_eq!(rules.len(), 2);
            assert_eq!(
                (&rules[0]["verbs"], &rules[0]["resourceNames"]),
                (&json!(["list", "watch"]), &Value::Null)
            );
            assert_eq!(
                (&rules[1]["verbs"], &rules[1]["resourceNames"]),
                (&json!(["get", "patch"]), &names)
            );
            let name = "ecr-admission-service-accounts";
            for kind in [
                "ValidatingAdmissionPolicy",
                "ValidatingAdmissionPolicyBinding",
            ] {
                assert!(named(&objects, kind, name).is_some(), "{kind} with {set:?}");
            }
        }
    });
}

#[test]
fn argo_cd_gets_rights_to_fixed_names_in_its_namespaces_and_their_policy() {
    run(async {
        let objects = render(&[r#"config.argocdNamespaces=["argocd","second"]"#]).await;
        let name = "ecr-admission-repositories";
        let roles = objects
            .iter()
            .filter(|object| object["kind"] == "Role" && object["metadata"]["name"] == name);
        let roles: Vec<&Value> = roles.collect();
        assert_eq!(roles.len(), 2);
        let names: Vec<String> = repository::names().collect();
        for role in roles {
            assert_eq!(role["rules"][0]["resourceNames"], json!(names));
            assert_eq!(role["rules"].as_array().unwrap().len(), 1);
        }
        let policy = named(&objects, "ValidatingAdmissionPolicy", name).unwrap();
        let expression = policy["spec"]["validations"][0]["expression"]
            .as_str()
            .unwrap();
        assert!(
            expression.contains("request.namespace in ['argocd', 'second']"),
            "{expression}"
        );
        assert!(named(&objects, "ValidatingAdmissionPolicyBinding", name).is_some());

        let hooks = hooks(&[r#"config.argocdNamespaces=["argocd"]"#]).await;
        let role = named(&hooks, "Role", "ecr-admission-cleanup-repositories").unwrap();
        assert_eq!(role["rules"][0]["resourceNames"], json!(names));
    });
}

#[test]
fn an_uninstall_runs_the_cleanup_with_an_account_of_its_own_unless_it_shall_not() {
    run(async {
        let objects = hooks(&[]).await;
        for object in &objects {
            let annotations = &object["metadata"]["annotations"];
            assert_eq!(annotations["helm.sh/hook"], "pre-delete", "{object}");
            assert_eq!(
                annotations["helm.sh/hook-delete-policy"],
                "before-hook-creation,hook-succeeded"
            );
        }
        let job = named(&objects, "Job", "ecr-admission-cleanup").unwrap();
        let pod = &job["spec"]["template"];
        assert_eq!(pod["spec"]["serviceAccountName"], "ecr-admission-cleanup");
        assert_ne!(
            pod["metadata"]["labels"]["app.kubernetes.io/name"],
            "ecr-admission"
        );
        let arguments = pod["spec"]["containers"][0]["args"].to_string();
        assert!(!arguments.contains("keep"), "{arguments}");
        let secrets = rules(&objects, "secrets");
        let names: Vec<&Value> = secrets.iter().map(|rule| &rule["resourceNames"]).collect();
        assert_eq!(
            names,
            [&json!(["ecr-pull-secret"]), &json!(["ecr-admission-tls"])]
        );

        let others = [
            r#"certificates={"mode":"Files","secretName":"x"}"#,
            "cleanup.keepSecrets=true",
        ];
        let objects = hooks(&others).await;
        let job = named(&objects, "Job", "ecr-admission-cleanup").unwrap();
        let arguments = job["spec"]["template"]["spec"]["containers"][0]["args"].to_string();
        assert!(
            arguments.contains("--keep-secrets") && arguments.contains("--keep-tls-secret"),
            "{arguments}"
        );
        assert_eq!(rules(&objects, "secrets").len(), 1);
        assert!(hooks(&["cleanup.enabled=false"]).await.is_empty());
    });
}
