//! EcrPolicies of a real API server: in force on two replicas, told in their status, lost with their definition.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::ecr::EcrDouble;
use crate::harness::control_plane::ControlPlane;
use crate::harness::install::{apply, install_permissions, manifest};
use crate::harness::namespace::{IMAGE, Namespace, one_container};
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::{eventually, run};
use crate::https::{Client, request, text};

pub(crate) const POLICIES: &str = "/apis/ecr-admission.dev/v1alpha1/ecrpolicies";
const DEFINITION: &str =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/ecrpolicies.ecr-admission.dev";
pub(crate) const ACCOUNT: &str = "123456789012";

/// A control plane, and two replicas that go by the policies in it.
pub(crate) struct Scene {
    pub(crate) plane: ControlPlane,
    pub(crate) ecr: EcrDouble,
    pub(crate) replicas: Vec<Webhook>,
}

impl Scene {
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_with(name, &[]).await
    }

    /// With more arguments for both.
    pub(crate) async fn start_with(name: &str, more: &[&str]) -> Self {
        let plane = ControlPlane::start(name).await;
        install_permissions(&plane).await;
        for file in ["crd.yaml", "policies.yaml"] {
            apply(&plane, manifest(file)).await;
        }
        let ecr = EcrDouble::start().await;
        let mut replicas = Vec::new();
        for name in ["one", "two"] {
            let settings = Settings::files(&plane.folder).with_roles(&ecr);
            let chosen = [&["--policy-source", "Cluster"], more].concat();
            let settings = settings.with(chosen.into_iter().map(Into::into));
            replicas.push(Webhook::start_with(&plane, &ecr, name, settings).await);
        }
        Self {
            plane,
            ecr,
            replicas,
        }
    }

    pub(crate) async fn apply(&self, name: &str, spec: &Value) {
        let policy = json!({
            "apiVersion": "ecr-admission.dev/v1alpha1",
            "kind": "EcrPolicy",
            "metadata": {"name": name},
            "spec": spec,
        });
        let text = policy.to_string();
        // Right after its definition, a kind is not known everywhere yet.
        eventually("the policy is taken", async || {
            self.plane.kubectl(&["apply", "-f", "-"], &text).await.ok
        })
        .await;
    }

    /// Whether a replica lets a Pod into a namespace.
    pub(crate) async fn admits(&self, replica: &Webhook, namespace: &str) -> bool {
        let review = json!({
            "kind": "AdmissionReview",
            "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": "1",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "namespace": namespace,
                "operation": "CREATE",
                "object": {"metadata": {"name": "app"}, "spec": one_container(IMAGE)},
            },
        });
        let client = Client::trusting(&[&self.plane.ca.ca_pem], replica.address);
        let mut connection = client.http1().await;
        let mut asked = request("POST", "/mutate?timeout=10s", review.to_string());
        let json = "application/json".parse().unwrap();
        asked.headers_mut().insert("content-type", json);
        let answer = connection.sender.send_request(asked).await.unwrap();
        let answer: Value = serde_json::from_str(&text(answer).await).unwrap();
        answer["response"]["allowed"] == true
    }

    /// Waits until every replica does, or none; and tells how long that took.
    pub(crate) async fn all(&self, namespace: &str, admit: bool) -> Duration {
        let started = Instant::now();
        eventually("every replica goes by the policies", async || {
            let answers = self.replicas.iter();
            let answers = answers.map(|replica| self.admits(replica, namespace));
            join_all(answers)
                .await
                .iter()
                .all(|answer| *answer == admit)
        })
        .await;
        started.elapsed()
    }

    async fn policy(&self, name: &str) -> Value {
        let policy = self.plane.api.get(&format!("{POLICIES}/{name}")).await;
        policy.unwrap()
    }

    /// A condition of a policy: its status and reason.
    async fn says(&self, name: &str, kind: &str) -> String {
        let policy = self.policy(name).await;
        let conditions = policy["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        let text = |found: &Value, field: &str| found[field].as_str().unwrap().to_owned();
        let found = conditions.find(|condition| condition["type"] == kind);
        found.map_or_else(String::new, |found| {
            format!("{} {}", text(found, "status"), text(found, "reason"))
        })
    }

    pub(crate) async fn comes_to_say(&self, name: &str, kind: &str, wanted: &str) {
        eventually("the status says so", async || {
            self.says(name, kind).await == wanted
        })
        .await;
    }

    async fn degraded(&self, condition: &str, wanted: bool) {
        for replica in &self.replicas {
            eventually("it tells how it is", async || {
                replica.is_degraded(condition).await == wanted
            })
            .await;
        }
    }
}

fn grant(namespaces: &[&str], role: Option<&str>) -> Value {
    let mut grant = json!({"registries": [ACCOUNT], "repositories": ["team/*"]});
    if let Some(role) = role {
        grant["role"] = json!({"arn": format!("arn:aws:iam::{ACCOUNT}:role/{role}")});
    }
    json!({"namespaces": {"names": namespaces}, "grants": [grant]})
}

#[test]
fn a_change_is_in_force_on_both_replicas_and_its_status_is_right() {
    run(async {
        let scene = Scene::start("policies").await;
        for name in ["team-a", "team-b"] {
            Namespace::create(&scene.plane, name).await;
        }
        scene.all("team-a", true).await;

        scene.apply("team-a", &grant(&["team-a"], Some("a"))).await;
        // A policy names a role, and none is about this one.
        let tightened = scene.all("team-b", false).await;
        scene.all("team-a", true).await;
        scene.apply("team-b", &grant(&["team-b"], Some("b"))).await;
        let granted = scene.all("team-b", true).await;
        scene.apply("team-b", &grant(&["other"], Some("b"))).await;
        let moved = scene.all("team-b", false).await;
        println!(
            "in force on two replicas: tightened after {tightened:?}, granted after {granted:?}, moved after {moved:?}"
        );

        scene.comes_to_say("team-a", "Ready", "True Compiled").await;
        scene
            .comes_to_say("team-a", "Isolated", "True OwnRoles")
            .await;
        scene
            .comes_to_say("team-a", "Conflict", "False NoConflict")
            .await;
        scene
            .comes_to_say("team-a", "RoleAssumable", "True TokenMade")
            .await;
        let policy = scene.policy("team-a").await;
        assert_eq!(policy["status"]["observedGeneration"], 1);
        let row = scene
            .plane
            .kubectl(&["get", "ecrp", "team-a"], "")
            .await
            .out;
        let row: Vec<&str> = row.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            row[..5],
            [
                "team-a",
                "1",
                "arn:aws:iam::123456789012:role/a",
                "Enforce",
                "True"
            ]
        );

        // The first by name wins, and the other one is told.
        let both = grant(&["team-a"], Some("z"));
        scene.apply("z", &both).await;
        scene
            .comes_to_say("z", "Conflict", "True OtherPolicyWins")
            .await;
        scene.apply("shared", &grant(&["team-c"], None)).await;
        scene
            .comes_to_say("shared", "Isolated", "False SharedIdentity")
            .await;
        let default = Namespace::existing(&scene.plane, "default");
        let event = default.event("PolicyConflict").await;
        assert!(
            event.starts_with("Warning EcrPolicy z policy \"team-a\" wins"),
            "{event}"
        );

        // Written as often as it changed, not for ever.
        let version = scene.policy("z").await["metadata"]["resourceVersion"].clone();
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(
            scene.policy("z").await["metadata"]["resourceVersion"],
            version
        );

        scene
            .plane
            .api
            .delete(&format!("{POLICIES}/team-a"))
            .await
            .unwrap();
        scene
            .plane
            .api
            .delete(&format!("{POLICIES}/z"))
            .await
            .unwrap();
        scene.all("team-a", false).await;
    });
}

#[test]
fn what_gets_past_the_schema_grants_nothing_and_a_deleted_definition_changes_nothing() {
    run(async {
        let scene = Scene::start("policies-definition").await;
        for name in ["team-a", "team-b"] {
            Namespace::create(&scene.plane, name).await;
        }
        scene.apply("all", &grant(&["team-*"], None)).await;
        scene.comes_to_say("all", "Ready", "True Compiled").await;

        let lax = json!({"spec": {"versions": scene.lax_versions().await}});
        scene.plane.api.merge(DEFINITION, &lax).await.unwrap();
        let newer = json!({"namespaces": {"names": ["team-a"]}, "grants": "as the moon stands"});
        scene.apply("newer", &newer).await;
        eventually("it is stored as it was written", async || {
            scene.apply("newer", &newer).await;
            scene.policy("newer").await["spec"] == newer
        })
        .await;
        scene.all("team-a", false).await;
        scene.all("team-b", true).await;
        scene
            .comes_to_say("newer", "Ready", "False Undecodable")
            .await;
        scene.degraded("policies", true).await;
        scene
            .plane
            .api
            .delete(&format!("{POLICIES}/newer"))
            .await
            .unwrap();
        scene.all("team-a", true).await;
        apply(&scene.plane, manifest("crd.yaml")).await;

        // Nothing is granted to others, and nothing is taken.
        scene.apply("all", &grant(&["team-a"], None)).await;
        scene.all("team-b", true).await;
        scene
            .apply(
                "none",
                &json!({"grants": [{"registries": [ACCOUNT], "repositories": ["base/*"]}]}),
            )
            .await;
        scene.all("team-b", false).await;
        scene.plane.api.delete(DEFINITION).await.unwrap();
        eventually("the definition is gone", async || {
            !scene.plane.api.exists(DEFINITION).await
        })
        .await;
        scene.degraded("policies", true).await;
        scene.degraded("policy-watch", true).await;
        scene.all("team-b", false).await;
        scene.all("team-a", true).await;

        apply(&scene.plane, manifest("crd.yaml")).await;
        scene.apply("all", &grant(&["team-b"], None)).await;
        scene
            .apply(
                "none",
                &json!({"grants": [{"registries": [ACCOUNT], "repositories": ["base/*"]}]}),
            )
            .await;
        scene.all("team-b", true).await;
        scene.all("team-a", false).await;
        scene.degraded("policies", false).await;
        scene.degraded("policy-watch", false).await;
        scene.comes_to_say("all", "Ready", "True Compiled").await;
    });
}

impl Scene {
    /// The versions of the definition with a schema that lets everything pass.
    async fn lax_versions(&self) -> Value {
        let definition = self.plane.api.get(DEFINITION).await.unwrap();
        let mut versions = definition["spec"]["versions"].clone();
        let anything = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        versions[0]["schema"] = json!({"openAPIV3Schema": anything});
        versions
    }
}
