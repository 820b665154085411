//! What the account of ecr-admission may do is what it does.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::control_plane::{ControlPlane, Said};
use crate::harness::in_shared_cluster;
use crate::harness::install::manifest;
use crate::harness::namespace::{IMAGE, Namespace, SECRET};
use crate::harness::run;
use crate::repositories;

/// kubectl with the account's own token.
struct Account<'a> {
    plane: &'a ControlPlane,
    token: String,
}

impl<'a> Account<'a> {
    async fn of(plane: &'a ControlPlane) -> Self {
        Self {
            plane,
            token: plane.token().await,
        }
    }

    async fn kubectl(&self, arguments: &str, stdin: &Value) -> Said {
        let arguments: Vec<&str> = arguments
            .split(' ')
            .chain(["--token", &self.token])
            .collect();
        self.plane.kubectl(&arguments, &stdin.to_string()).await
    }

    /// What it is told when it tries; it must fail.
    async fn refused(&self, arguments: &str, stdin: &Value) -> String {
        let said = self.kubectl(arguments, stdin).await;
        assert!(!said.ok, "{arguments} {stdin} was allowed: {said:?}");
        said.err
    }
}

fn secret(name: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/managed-by": "ecr-admission"},
            "annotations": {"kubernetes.io/service-account.name": "default"},
        },
        "type": kind,
        "stringData": {".dockerconfigjson": r#"{"auths":{}}"#},
    })
}

#[test]
fn it_cannot_read_or_change_anything_but_its_own_secret() {
    in_shared_cluster(async |cluster| {
        let account = Account::of(&cluster.plane).await;
        let namespace = Namespace::create(&cluster.plane, "others").await;
        let other = secret("other", "Opaque");
        namespace
            .api()
            .create(&namespace.path("secrets"), &other)
            .await
            .unwrap();
        namespace.run("app", IMAGE).await;
        for attempt in [
            "get secret other -n others",
            "get secrets -n others",
            "get secrets -A",
            "get secrets -A -l app.kubernetes.io/managed-by=ecr-admission",
            "get secrets -A --field-selector=metadata.name=other",
            "delete secret other -n others",
            "patch secret other -n others -p {}",
            "delete secrets --all -n others",
            "get pod app -n others",
            "delete pod app -n others",
            "get namespace others",
            "delete namespace others",
            "get configmaps -n others",
            "create token ecr-admission -n ecr-admission",
            "create token default -n others",
            "get mutatingwebhookconfigurations",
            "delete validatingadmissionpolicybindings ecr-admission-secrets",
            "delete validatingadmissionpolicybindings ecr-admission-ca-bundle",
            "delete mutatingwebhookconfiguration zz-ecr-admission",
            "patch mutatingwebhookconfiguration other -p {}",
            "get secret other -n ecr-admission",
            "delete secret ecr-admission-tls -n ecr-admission",
            "get secret ecr-admission-tls -n others",
            "get secret other -n others --as=administrator",
            "get secret other -n others --as=system:serviceaccount:kube-system:default",
        ] {
            let said = account.refused(attempt, &Value::Null).await;
            assert!(said.contains("orbidden"), "{attempt}: {said}");
        }
        let own = format!("get secret {SECRET} -n others");
        assert!(account.kubectl(&own, &Value::Null).await.ok);
        let all = format!("get secrets -A --field-selector=metadata.name={SECRET}");
        assert!(account.kubectl(&all, &Value::Null).await.ok);
    });
}

#[test]
fn it_cannot_create_any_secret_but_the_pull_secret() {
    in_shared_cluster(async |cluster| {
        let account = Account::of(&cluster.plane).await;
        let namespace = Namespace::create(&cluster.plane, "created").await;
        let docker = "kubernetes.io/dockerconfigjson";
        let mut unlabelled = secret(SECRET, docker);
        unlabelled["metadata"]["labels"] = json!({"a": "b"});
        let mut bare = secret(SECRET, docker);
        bare["metadata"].as_object_mut().unwrap().remove("labels");
        let mut generated = secret(SECRET, docker);
        generated["metadata"]["generateName"] = generated["metadata"]["name"].take();
        generated["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("name");
        for attempt in [
            secret(SECRET, "Opaque"),
            secret(SECRET, "kubernetes.io/service-account-token"),
            secret("other", "kubernetes.io/service-account-token"),
            secret("other", docker),
            secret("", docker),
            unlabelled,
            bare,
            generated,
        ] {
            let said = account.refused("create -f - -n created", &attempt).await;
            let by_policy =
                said.contains("ecr-admission may create only the Secret ecr-pull-secret");
            let nameless = said.contains("name or generateName is required")
                || said.contains("resource name may not be empty");
            assert!(by_policy || nameless, "{attempt}: {said}");
        }
        assert!(namespace.secret().await.is_none());

        let made = account
            .kubectl("create -f - -n created", &secret(SECRET, docker))
            .await;
        assert!(made.ok, "{made:?}");
        // Nor can it turn it into a token of a ServiceAccount afterwards.
        let patch = r#"{"type":"kubernetes.io/service-account-token"}"#;
        let attempt = format!("patch secret {SECRET} -n created --type=merge -p {patch}");
        let said = account.refused(&attempt, &Value::Null).await;
        assert!(said.contains("field is immutable"), "{said}");
    });
}

#[test]
fn others_create_secrets_as_before() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "bystanders").await;
        for object in [secret("other", "Opaque"), secret(SECRET, "Opaque")] {
            let made = namespace
                .api()
                .create(&namespace.path("secrets"), &object)
                .await;
            made.unwrap();
        }
    });
}

/// A verb on a resource (with its group, as in `things.example.com`), and the name that it is limited to.
pub(crate) type Permission = (String, String, Option<String>);

/// The control planes in which a mode is on that needs more; their names begin so.
const MODES: [&str; 3] = ["service-accounts", "repositories", "policies"];

/// What only the renewal of a token uses, hours after the suite is over; tests/blackbox/repositories sees it on paused
/// time.
const USED_LATER: (&str, &str, &str) = ("repositories", "patch", "secrets");

/// What these manifests grant.
pub(crate) fn granted(objects: &[Value]) -> BTreeSet<Permission> {
    let granting = objects
        .iter()
        .filter(|object| ["Role", "ClusterRole"].contains(&object["kind"].as_str().unwrap()));
    let rules = granting.flat_map(|role| role["rules"].as_array().unwrap());
    let strings = |list: &Value| -> Vec<String> {
        let list = list.as_array().into_iter().flatten();
        list.map(|item| item.as_str().unwrap().to_owned()).collect()
    };
    let mut granted = BTreeSet::new();
    for rule in rules {
        let (names, groups) = (strings(&rule["resourceNames"]), strings(&rule["apiGroups"]));
        assert_eq!(groups.len(), 1);
        let names: Vec<Option<String>> = match names.len() {
            0 => vec![None],
            _ => names.into_iter().map(Some).collect(),
        };
        for resource in strings(&rule["resources"]) {
            let resource = qualified(&resource, &groups[0]);
            for (verb, name) in strings(&rule["verbs"])
                .iter()
                .flat_map(|verb| names.iter().map(move |name| (verb, name)))
            {
                granted.insert((verb.clone(), resource.clone(), name.clone()));
            }
        }
    }
    granted
}

fn qualified(resource: &str, group: &str) -> String {
    if group.is_empty() {
        resource.to_owned()
    } else {
        format!("{resource}.{group}")
    }
}

/// What the account was allowed and did, and what it was forbidden, by the audit logs of those control planes of this
/// version that are selected; the attempts above, made with kubectl, left out.
pub(crate) fn used(selected: impl Fn(&str) -> bool) -> [BTreeSet<Permission>; 2] {
    let planes = std::fs::read_dir(std::env::var("CLUSTER_FOLDER").unwrap()).unwrap();
    let planes = planes.map(|plane| plane.unwrap());
    let planes = planes.filter(|plane| selected(plane.file_name().to_str().unwrap()));
    let logs: Vec<String> = planes
        // A folder without one is no control plane's.
        .filter_map(|plane| std::fs::read_to_string(plane.path().join("audit.log")).ok())
        .collect();
    let events = logs.iter().flat_map(|log| log.lines());
    let events = events.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ours = events.filter(|event| {
        let agent = event["userAgent"].as_str().unwrap_or_default();
        !agent.starts_with("kubectl")
    });
    let mut used = [BTreeSet::new(), BTreeSet::new()];
    for event in ours {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let target = &event["objectRef"];
        let group = target["apiGroup"].as_str().unwrap_or_default();
        let mut resource = text(&target["resource"]).unwrap();
        if let Some(subresource) = target["subresource"].as_str() {
            resource = format!("{resource}/{subresource}");
        }
        let resource = qualified(&resource, group);
        let verb = text(&event["verb"]).unwrap();
        // RBAC does not see the name of what is created.
        let name = text(&target["name"]).filter(|_| verb != "create");
        let decision = &event["annotations"]["authorization.k8s.io/decision"];
        let permission = (verb, resource, name);
        used[usize::from(decision != "allow")].insert(permission);
    }
    used
}

/// Whether it is among these, by its name or for all.
pub(crate) fn grants(granted: &BTreeSet<Permission>, this: &Permission) -> bool {
    let (verb, resource, _) = this;
    granted.contains(this) || granted.contains(&(verb.clone(), resource.clone(), None))
}

fn usual() -> BTreeSet<Permission> {
    granted(&["rbac.yaml", "certificates.yaml"].map(manifest).concat())
}

#[test]
#[ignore = "reads the audit logs that the other tests leave, so tests/cluster/run starts it after them"]
fn what_is_granted_is_what_is_used() {
    let [used, forbidden] = used(|plane| !MODES.iter().any(|mode| plane.starts_with(mode)));
    let granted = usual();
    assert_eq!(granted, used);
    // An API server that has just started forbids everything until it has read its roles.
    assert!(
        forbidden.is_subset(&granted),
        "it tries what it may not: {forbidden:?}"
    );
}

#[test]
#[ignore = "reads the audit logs that the other tests leave, so tests/cluster/run starts it after them"]
fn what_a_mode_is_granted_is_what_it_uses() {
    run(async {
        let of_repositories = repositories::manifests().await;
        let of_accounts = manifest("service-accounts.yaml");
        let of_policies = manifest("policies.yaml");
        let manifests = [of_accounts, of_repositories, of_policies];
        for (mode, manifests) in MODES.iter().zip(manifests) {
            let [used, _] = used(|plane| plane.starts_with(mode));
            let (usual, granted) = (usual(), granted(&manifests));
            for this in &used {
                assert!(
                    grants(&usual, this) || grants(&granted, this),
                    "{mode}: what grants {this:?}?"
                );
            }
            // Of names that stand for one another, any will do.
            for (verb, resource, _) in &granted {
                let mut did = used.iter();
                let is_used = did.any(|(did, to, _)| (did, to) == (verb, resource));
                let is_later = (*mode, verb.as_str(), resource.as_str()) == USED_LATER;
                assert!(
                    is_used || is_later,
                    "{mode}: {verb} {resource} is never used"
                );
            }
        }
    });
}
