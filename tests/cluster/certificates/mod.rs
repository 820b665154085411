//! Certificates that look after themselves, or that others look after, at the real API server.

mod bundle_policy;
mod clients;
pub(crate) mod clocks;
mod files;
mod repair;
mod rotation;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::control_plane::ControlPlane;
use crate::harness::eventually;
use crate::harness::install::{Target, apply, manifest, register_as, service};
use crate::harness::namespace::{IMAGE, Namespace, SECRET as PULL_SECRET, pull_secrets};
use crate::harness::webhook::{Settings, Webhook};
use crate::harness::wire::Wire;
use crate::https::Client;

/// What the API server asks for.
const NAME: &str = "ecr-admission.ecr-admission.svc";
const SECRET: &str = "/api/v1/namespaces/ecr-admission/secrets/ecr-admission-tls";
const CONFIGURATIONS: [&str; 2] = [
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/zz-ecr-admission",
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/zz-ecr-admission",
];

/// Self-managed certificates with these lives and times.
fn self_managed(settings: &[&str]) -> Settings {
    Settings::self_managed().with(settings.iter().map(Into::into))
}

/// Registers the webhooks as they are shipped, without a `caBundle`, and so that a call that fails refuses the Pod.
async fn register(plane: &ControlPlane, wire: &Wire) {
    register_as(plane, Target::Service(wire.port), |webhook| {
        let client = webhook["clientConfig"].as_object_mut().unwrap();
        client.remove("caBundle");
        must_be_called(webhook);
    })
    .await;
}

/// A call that fails refuses the Pod; one that is slow on a busy machine has not failed.
fn must_be_called(webhook: &mut Value) {
    webhook["failurePolicy"] = json!("Fail");
    webhook["timeoutSeconds"] = json!(30);
}

/// Registers a webhook of its own, called `name`, for the Pods of one namespace.
async fn register_for(namespace: &Namespace<'_>, plane: &ControlPlane, name: &str, client: Value) {
    let mut configuration = manifest("webhooks.yaml").swap_remove(0);
    configuration["metadata"]["name"] = json!(name);
    let webhook = &mut configuration["webhooks"][0];
    webhook["clientConfig"] = client;
    webhook["namespaceSelector"] =
        json!({"matchLabels": {"kubernetes.io/metadata.name": namespace.name}});
    must_be_called(webhook);
    apply(plane, vec![configuration]).await;
}

/// How the API server is to call a Service that stands for a port of localhost.
async fn client(plane: &ControlPlane, name: &str, port: u16, bundle: &str) -> Value {
    apply(plane, vec![service(name)]).await;
    let service =
        json!({"name": name, "namespace": "ecr-admission", "path": "/mutate", "port": port});
    trusted_only(json!({"service": service}), bundle)
}

/// A client that trusts what is in `bundle`.
fn trusted_only(mut client: Value, bundle: &str) -> Value {
    client["caBundle"] = json!(BASE64_STANDARD.encode(bundle));
    client
}

/// The `caBundle` of every webhook of ours, in PEM.
async fn bundles(plane: &ControlPlane) -> Vec<String> {
    let mut all = Vec::new();
    for path in CONFIGURATIONS {
        let configuration = plane.api.get(path).await.unwrap();
        for webhook in configuration["webhooks"].as_array().unwrap() {
            let encoded = webhook["clientConfig"]["caBundle"].as_str();
            let bundle = BASE64_STANDARD.decode(encoded.unwrap_or_default());
            all.push(String::from_utf8(bundle.unwrap()).unwrap());
        }
    }
    all
}

/// The leaf that a replica serves, as a client gets it that trusts what every `caBundle` says now.
async fn trusted_leaf(
    plane: &ControlPlane,
    replica: &Webhook,
) -> std::io::Result<CertificateDer<'static>> {
    loop {
        let bundles_before = bundles(plane).await;
        let leaf = leaf_by(&bundles_before, replica).await;
        // What is no longer current may refuse what is served by now, if we were slow.
        if leaf.is_ok() || bundles(plane).await == bundles_before {
            return leaf;
        }
    }
}

async fn leaf_by(
    bundles: &[String],
    replica: &Webhook,
) -> std::io::Result<CertificateDer<'static>> {
    let mut leaf = Err(std::io::ErrorKind::NotFound.into());
    for bundle in bundles {
        let client = Client::trusting(&[bundle], replica.address).asking_for(NAME);
        let stream = client.connect(&["http/1.1"]).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        leaf = Ok(chain[0].clone().into_owned());
    }
    leaf
}

/// When the certificate that a replica serves expires, in seconds since 1970.
async fn expiry(replica: &Webhook) -> u64 {
    replica
        .counted("ecr_admission_certificate_not_after_timestamp_seconds")
        .await
}

/// Creates Pods until told to stop, and counts them; the first that is refused, or comes without the Secret, ends the test.
async fn pods(namespace: &Namespace<'_>, done: &AtomicBool, made: &AtomicUsize) {
    while !done.load(Ordering::Relaxed) {
        let number = made.fetch_add(1, Ordering::Relaxed);
        let pod = namespace.run(&format!("pod-{number}"), IMAGE).await;
        assert_eq!(pull_secrets(&pod), [PULL_SECRET]);
        sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the API server gets through to the webhook; until then Pods are refused.
async fn asked(namespace: &Namespace<'_>) {
    eventually("the API server asks the webhook", async || {
        let name = format!("probe-{}", fastrand::u32(..));
        let pod = crate::harness::namespace::one_container(IMAGE);
        let made = namespace.create_pod(&name, &pod).await;
        made.is_ok_and(|pod| pull_secrets(&pod) == [PULL_SECRET])
    })
    .await;
}
