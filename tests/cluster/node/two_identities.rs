//! Two identities for one registry: each has folders of its own, which the other's password does not open.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::front::Front;
use super::in_machine;
use super::machine::{Machine, TWELVE_HOURS};
use super::pods::{create, in_phase, never_told, spec, waits_for};
use super::registry::Password;
use super::tenants::not_granted;
use crate::ecr::Answer;
use crate::harness::namespace::Namespace;

/// Of a region that no other test has a token of.
const HOST: &str = "333333333333.dkr.ecr.eu-north-1.amazonaws.com";
/// Of the identity of ecr-admission: what it gets everywhere.
const OF_BASE: &str = Password::First.text();
/// Of the role `team`, by the access key of its sessions.
const OF_TEAM: &str = "password-of-AKIDteam";
/// `team-b` begins like `team`.
const FOLDERS: [(&str, &str); 3] = [
    ("base", OF_BASE),
    ("team", OF_TEAM),
    ("team-b", "password-of-AKIDteam-b"),
];

/// Puts a registry that has passwords for folders in the place of `HOST`.
async fn folders(machine: &Machine) -> Front {
    let front = Front::of_folders(&machine.plane, &FOLDERS).await;
    for node in &machine.nodes {
        node.lead(&machine.plane, HOST, &front.address);
    }
    front
}

/// Makes an image in a folder that no node has yet, and returns its name.
async fn image(machine: &Machine, folder: &str, tag: &str) -> String {
    let path = format!("{folder}/app:{tag}");
    machine.registry.vary("stand-in:v1", &path).await;
    format!("{HOST}/{path}")
}

/// Creates a Pod whose pull must succeed.
async fn pulls(namespace: &Namespace<'_>, name: &str, spec: &Value) {
    create(namespace, name, spec).await.unwrap();
    in_phase(namespace, name, "Running").await;
    never_told(namespace, name, "Failed").await;
}

/// What the registry was asked for, as (repository, password).
fn set<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeSet<(String, String)> {
    let pairs = pairs.into_iter();
    pairs
        .map(|(one, other)| (one.to_owned(), other.to_owned()))
        .collect()
}

#[test]
fn a_kubelet_shows_each_folder_of_a_registry_the_password_of_its_own_key() {
    in_machine(async |machine| {
        let front = folders(machine).await;
        let mut expected = set([("base/app", OF_BASE), ("team/app", OF_TEAM)]);
        for (name, key_of_base) in [
            ("two-folders", format!("{HOST}/base/")),
            ("folder-and-host", HOST.to_owned()),
        ] {
            let labels = json!({"ecr-admission.dev/admission": "disabled"});
            let namespace = Namespace::create_labelled(&machine.plane, name, &labels).await;
            make_secret(&namespace, &[(&key_of_base, OF_BASE), (&team(), OF_TEAM)]).await;
            let pod = async |folder: &str| {
                let mut spec = spec(&image(machine, folder, name).await);
                spec["imagePullSecrets"] = json!([{"name": "by-hand"}]);
                spec
            };
            pulls(&namespace, "base", &pod("base").await).await;
            pulls(&namespace, "team", &pod("team").await).await;
            let made = create(&namespace, "team-b", &pod("team-b").await).await;
            assert_eq!(
                made.unwrap()["spec"]["imagePullSecrets"],
                json!([{"name": "by-hand"}])
            );
            waits_for(&namespace, "team-b", "ImagePullBackOff").await;
            if key_of_base == HOST {
                // Whatever no other key is for; it does not open it.
                expected.insert(("team-b/app".to_owned(), OF_BASE.to_owned()));
            }
            assert_eq!(front.tried(), expected, "{name}");

            // Else it would try for as long as the tests run.
            let path = format!("/api/v1/namespaces/{name}");
            machine.plane.api.delete(&path).await.unwrap();
        }
    });
}

#[test]
fn a_policy_gives_a_namespace_two_identities_for_one_registry_and_each_opens_its_own_folder() {
    in_machine(async |machine| {
        let plane = &machine.plane;
        let front = folders(machine).await;
        let token = Answer::Token(OF_TEAM.to_owned(), TWELVE_HOURS);
        machine.ecr.always_for("AKIDteam", token);
        let namespace = Namespace::create(plane, "two-identities").await;
        let apply = ["apply", "-f", "-"];
        namespace.kubectl_ok(&apply, &policy().to_string()).await;
        let stranger = image(machine, "team-b", "by-policy").await;
        not_granted(&namespace, &stranger).await;

        for folder in ["base", "team"] {
            let image = image(machine, folder, "by-policy").await;
            pulls(&namespace, folder, &spec(&image)).await;
        }
        let keys = [format!("{HOST}/base/"), team()];
        let expected = set([(&*keys[0], OF_BASE), (&*keys[1], OF_TEAM)]);
        assert_eq!(namespace.passwords().await, expected);
        let expected = set([("base/app", OF_BASE), ("team/app", OF_TEAM)]);
        assert_eq!(front.tried(), expected);

        namespace
            .kubectl_ok(&["delete", "ecrpolicy", "two-identities"], "")
            .await;
        let path = format!("/api/v1/namespaces/{}", namespace.name);
        plane.api.delete(&path).await.unwrap();
    });
}

/// One folder by the identity of ecr-admission, another by a role, and nothing else.
fn policy() -> Value {
    let folder = |name: &str| json!({"registries": [HOST], "repositories": [format!("{name}/**")]});
    let mut of_role = folder("team");
    of_role["role"] = json!({"arn": "arn:aws:iam::333333333333:role/team"});
    json!({
        "apiVersion": "ecr-admission.dev/v1alpha1",
        "kind": "EcrPolicy",
        "metadata": {"name": "two-identities"},
        "spec": {
            "namespaces": {"names": ["two-identities"]},
            "grants": [folder("base"), of_role],
        },
    })
}

/// The slash keeps `team-b/` out.
fn team() -> String {
    format!("{HOST}/team/")
}

async fn make_secret(namespace: &Namespace<'_>, entries: &[(&str, &str)]) {
    let auth = |password: &str| BASE64_STANDARD.encode(format!("AWS:{password}"));
    let auths = entries
        .iter()
        .map(|(key, password)| ((*key).to_owned(), json!({"auth": auth(password)})));
    let auths: serde_json::Map<String, Value> = auths.collect();
    let document = json!({"auths": auths}).to_string();
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "by-hand"},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": BASE64_STANDARD.encode(document)},
    });
    let path = namespace.path("secrets");
    namespace.api().create(&path, &secret).await.unwrap();
}
