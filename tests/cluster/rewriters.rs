//! Other webhooks that rewrite images to ECR (mirrors, pull-through caches), before ours and after it.

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ecr_admission::certificate::{CertificatePair, ServedCertificate};
use ecr_admission::clock::Clock;
use ecr_admission::server::listener::Limits;
use serde_json::{Value, json};

use crate::harness::in_shared_cluster;
use crate::harness::install::Cluster;
use crate::harness::namespace::{IMAGE, Namespace, SECRET, pull_secrets};
use crate::https::Server;

const UPSTREAM: &str = "registry.example/team/app:v1";

/// Answers a review of a Pod with a patch that makes its first image [`IMAGE`].
async fn rewrite(body: Bytes) -> impl IntoResponse {
    let review: Value = serde_json::from_slice(&body).unwrap();
    let patch = json!([{"op": "replace", "path": "/spec/containers/0/image", "value": IMAGE}]);
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": review["request"]["uid"],
            "allowed": true,
            "patchType": "JSONPatch",
            "patch": BASE64_STANDARD.encode(patch.to_string()),
        },
    });
    ([(CONTENT_TYPE, "application/json")], answer.to_string())
}

/// Starts a webhook and registers it for one namespace, under a name that decides about its place. It runs until dropped.
async fn register(cluster: &Cluster, name: &str, namespace: &str) -> Server {
    let ca = &cluster.plane.ca;
    let pair = CertificatePair::check(&ca.pem_pair(), &[], Clock::system().now()).unwrap();
    let router = Router::new().route("/", post(rewrite));
    let certificate = ServedCertificate::new(pair);
    let server = Server::with_certificate(certificate, router, Limits::default()).await;
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{
            "name": "rewriter.example.com",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {
                "url": format!("https://{}/", server.address),
                "caBundle": BASE64_STANDARD.encode(&ca.ca_pem),
            },
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
        }],
    });
    let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    cluster
        .plane
        .api
        .create(path, &configuration)
        .await
        .unwrap();
    server
}

/// Runs Pods with the upstream image until one of them has been rewritten; returns it and what kubectl said.
async fn rewritten(namespace: &Namespace<'_>) -> (Value, String) {
    for number in 0..200 {
        let name = format!("app-{number}");
        let said = namespace
            .kubectl_ok(&["run", &name, "--image", UPSTREAM], "")
            .await;
        let path = namespace.path(&format!("pods/{name}"));
        let pod = namespace.api().get(&path).await.unwrap();
        if pod["spec"]["containers"][0]["image"] == IMAGE {
            return (pod, said.err);
        }
    }
    panic!("the API server never asked the rewriter");
}

#[test]
fn a_pod_whose_image_becomes_ecr_before_us_is_served() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "rewritten-before").await;
        let _rewriter = register(cluster, "rewriter", "rewritten-before").await;
        let (pod, said) = rewritten(&namespace).await;
        assert_eq!(said, "");
        assert_eq!(pull_secrets(&pod), [SECRET]);
        assert!(namespace.is_served().await);
    });
}

#[test]
fn the_author_of_a_pod_whose_image_becomes_ecr_after_us_is_told() {
    in_shared_cluster(async |cluster| {
        let namespace = Namespace::create(&cluster.plane, "rewritten-after").await;
        let _rewriter = register(cluster, "zzz-rewriter", "rewritten-after").await;
        let (pod, said) = rewritten(&namespace).await;
        assert!(pull_secrets(&pod).is_empty());
        insta::assert_snapshot!(said, @"Warning: private ECR image without Secret ecr-pull-secret in imagePullSecrets: another webhook changed the image, or ecr-admission was not asked; recreate the Pod");
    });
}
