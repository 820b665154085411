//! A client of the API server that takes and gives JSON.

use std::path::Path;

use ecr_admission::kubernetes;
use hyper::Request;
use serde_json::Value;

/// What the API server answers when it refuses.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) message: String,
}

pub(crate) type Answer = Result<Value, Refusal>;

#[derive(Clone)]
pub(crate) struct Api(kube::Client);

impl Api {
    pub(crate) async fn connect(kubeconfig: &Path) -> Self {
        let cluster = kubernetes::connect(Some(kubeconfig), None).await.unwrap();
        Self(cluster.requests)
    }

    /// For code of the product that takes a client.
    pub(crate) fn client(&self) -> kube::Client {
        self.0.clone()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", &Value::Null).await
    }

    pub(crate) async fn exists(&self, path: &str) -> bool {
        match self.get(path).await {
            Ok(_) => true,
            Err(Refusal { code: 404, .. }) => false,
            Err(refusal) => panic!("{path}: {refusal:?}"),
        }
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> Answer {
        self.send("POST", path, "application/json", object).await
    }

    /// A JSON merge patch.
    pub(crate) async fn merge(&self, path: &str, change: &Value) -> Answer {
        self.send("PATCH", path, "application/merge-patch+json", change)
            .await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "", &Value::Null).await
    }

    pub(crate) async fn is_ready(&self) -> bool {
        let request = Request::get("/readyz").body(Vec::new()).unwrap();
        self.0.request_text(request).await.is_ok()
    }

    async fn send(&self, method: &str, path: &str, kind: &str, body: &Value) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        let mut bytes = Vec::new();
        if !kind.is_empty() {
            request = request.header("content-type", kind);
            bytes = serde_json::to_vec(body).unwrap();
        }
        let answer = self.0.request::<Value>(request.body(bytes).unwrap()).await;
        answer.map_err(|error| match error {
            kube::Error::Api(status) => Refusal {
                code: status.code,
                message: status.message,
            },
            // No answer: the API server is away, or slow.
            error => Refusal {
                code: 0,
                message: error.to_string(),
            },
        })
    }
}
