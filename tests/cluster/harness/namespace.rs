//! A namespace of one test's own.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::api::{Answer, Api, Refusal};
use super::control_plane::{ControlPlane, Said};
use super::eventually;

pub(crate) const SECRET: &str = "ecr-pull-secret";
pub(crate) const REGISTRY: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
/// An ECR image that nothing is wrong with.
pub(crate) const IMAGE: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app:v1";
pub(crate) const UNTAGGED: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app";

pub(crate) struct Namespace<'a> {
    pub(crate) name: String,
    plane: &'a ControlPlane,
}

impl<'a> Namespace<'a> {
    /// One that is there.
    pub(crate) fn of(plane: &'a ControlPlane, name: impl Into<String>) -> Self {
        let name = name.into();
        Self { name, plane }
    }

    /// Makes a namespace, in which Pods can be created.
    pub(crate) async fn create(plane: &'a ControlPlane, name: impl Into<String>) -> Self {
        Self::create_labelled(plane, name, &json!({})).await
    }

    /// The same, with these labels from the start.
    pub(crate) async fn create_labelled(
        plane: &'a ControlPlane,
        name: impl Into<String>,
        labels: &Value,
    ) -> Self {
        let namespace = Self::of(plane, name);
        let metadata = json!({"name": namespace.name, "labels": labels});
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        let created = plane.api.create("/api/v1/namespaces", &object).await;
        created.unwrap();
        let account = namespace.path("serviceaccounts/default");
        eventually("there is a default ServiceAccount", async || {
            plane.api.exists(&account).await
        })
        .await;
        namespace
    }

    /// One that was created before.
    pub(crate) fn existing(plane: &'a ControlPlane, name: &str) -> Self {
        let name = name.to_owned();
        Self { name, plane }
    }

    pub(crate) fn api(&self) -> &'a Api {
        &self.plane.api
    }

    /// A path of the core group in this namespace.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.name)
    }

    /// Runs kubectl in this namespace.
    pub(crate) async fn kubectl(&self, arguments: &[&str], stdin: &str) -> Said {
        let arguments = [&["--namespace", &self.name], arguments].concat();
        self.plane.kubectl(&arguments, stdin).await
    }

    /// Runs kubectl in this namespace, which must succeed.
    pub(crate) async fn kubectl_ok(&self, arguments: &[&str], stdin: &str) -> Said {
        let said = self.kubectl(arguments, stdin).await;
        assert!(said.ok, "kubectl {arguments:?}: {}", said.err);
        said
    }

    /// The Events with a reason, as kubectl lists them: type, object, message.
    pub(crate) async fn events(&self, reason: &str) -> Vec<String> {
        let selector = format!("--field-selector=reason={reason}");
        let columns = "-o=custom-columns=:.type,:.regarding.kind,:.regarding.name,:.note";
        let list = [
            "get",
            "events.events.k8s.io",
            &selector,
            "--no-headers",
            columns,
        ];
        let said = self.kubectl_ok(&list, "").await;
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        said.out.lines().map(words).collect()
    }

    /// The one Event with a reason, once it is there.
    pub(crate) async fn event(&self, reason: &str) -> String {
        eventually("the Event is there", async || {
            !self.events(reason).await.is_empty()
        })
        .await;
        let events = self.events(reason).await;
        let [event] = &events[..] else {
            panic!("{reason}: {events:?}");
        };
        event.clone()
    }

    pub(crate) async fn create_pod(&self, name: &str, spec: &Value) -> Answer {
        let pod =
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec});
        self.api().create(&self.path("pods"), &pod).await
    }

    /// Creates a Pod, once, however often a busy API server gives no answer.
    pub(crate) async fn create_pod_patiently(&self, name: &str, spec: &Value) -> Answer {
        for tried in 0..60 {
            match self.create_pod(name, spec).await {
                Err(Refusal { code: 0, .. }) => sleep(Duration::from_secs(1)).await,
                Err(Refusal { code: 409, .. }) if tried > 0 => {
                    return self.api().get(&self.path(&format!("pods/{name}"))).await;
                }
                answer => return answer,
            }
        }
        panic!("the API server never said what became of Pod {name}");
    }

    /// Creates a Pod with one container and no finalizer, which must be admitted.
    pub(crate) async fn run(&self, name: &str, image: &str) -> Value {
        self.create_pod(name, &one_container(image)).await.unwrap()
    }

    pub(crate) async fn pods(&self) -> Vec<Value> {
        let list = self.api().get(&self.path("pods")).await.unwrap();
        list["items"].as_array().unwrap().clone()
    }

    /// Our Secret here, if there is one.
    pub(crate) async fn secret(&self) -> Option<Value> {
        let secret = self.api().get(&self.secret_path()).await;
        match secret {
            Ok(secret) => Some(secret),
            Err(refusal) => {
                assert_eq!(refusal.code, 404, "{refusal:?}");
                None
            }
        }
    }

    pub(crate) fn secret_path(&self) -> String {
        self.path(&format!("secrets/{SECRET}"))
    }

    /// The registries that our Secret here has a password for, each with it.
    pub(crate) async fn passwords(&self) -> BTreeSet<(String, String)> {
        let Some(secret) = self.secret().await else {
            return BTreeSet::new();
        };
        let decode = |text: &str| BASE64_STANDARD.decode(text).unwrap();
        let Some(document) = secret["data"][".dockerconfigjson"].as_str() else {
            return BTreeSet::new();
        };
        let document: Value = serde_json::from_slice(&decode(document)).unwrap();
        let auths = document["auths"].as_object().unwrap();
        let pairs = auths.iter().filter_map(|(registry, entry)| {
            let pair = String::from_utf8(decode(entry["auth"].as_str()?)).unwrap();
            Some((registry.clone(), pair.strip_prefix("AWS:")?.to_owned()))
        });
        pairs.collect()
    }

    /// Whether the Secret here is as we make it, with a password for our test registry.
    pub(crate) async fn is_served(&self) -> bool {
        let expected = (REGISTRY.to_owned(), "password-of-eu-west-1".to_owned());
        self.passwords().await.contains(&expected)
    }
}

pub(crate) fn one_container(image: &str) -> Value {
    json!({"containers": [{"name": "app", "image": image}]})
}

/// The names in a Pod's (or Pod spec's) `imagePullSecrets`, in order.
pub(crate) fn pull_secrets(pod: &Value) -> Vec<&str> {
    let list = pod["spec"]["imagePullSecrets"].as_array();
    let names = list
        .into_iter()
        .flatten()
        .map(|entry| entry["name"].as_str());
    names.map(Option::unwrap).collect()
}
