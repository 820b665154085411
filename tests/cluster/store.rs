//! The store of Secrets over the real API, as our account: the contract that its double and the store in memory keep.

use ecr_admission::kubernetes::KubeSecretStore;
use ecr_admission::secret::{SecretContent, SecretMetadata, SecretStore, StoreError, StoredSecret};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::contract::{self, EDITED, NAMESPACES};
use crate::harness::api::Api;
use crate::harness::install::Cluster;
use crate::harness::namespace::{Namespace, SECRET};
use crate::harness::{eventually, in_shared_cluster};

/// The real API server, with namespaces of one promise's own under the names that the contract gives them.
struct RealApi<'a> {
    store: Renamed,
    api: &'a Api,
}

/// A store in which each namespace of the contract has a prefix.
struct Renamed {
    store: KubeSecretStore,
    prefix: &'static str,
}

impl Renamed {
    fn real(&self, namespace: &str) -> String {
        if NAMESPACES.contains(&namespace) {
            format!("{}-{namespace}", self.prefix)
        } else {
            namespace.to_owned()
        }
    }
}

impl SecretStore for Renamed {
    fn get<'a>(
        &'a self,
        namespace: &'a str,
    ) -> BoxFuture<'a, Result<Option<StoredSecret>, StoreError>> {
        Box::pin(async move { SecretStore::get(&self.store, &self.real(namespace)).await })
    }

    fn create<'a>(
        &'a self,
        namespace: &'a str,
        content: &'a SecretContent,
    ) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(
            async move { SecretStore::create(&self.store, &self.real(namespace), content).await },
        )
    }

    fn update<'a>(
        &'a self,
        namespace: &'a str,
        current: &'a SecretMetadata,
        content: &'a SecretContent,
    ) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(async move {
            SecretStore::update(&self.store, &self.real(namespace), current, content).await
        })
    }

    fn delete<'a>(
        &'a self,
        namespace: &'a str,
        current: &'a SecretMetadata,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(
            async move { SecretStore::delete(&self.store, &self.real(namespace), current).await },
        )
    }
}

impl<'a> RealApi<'a> {
    async fn new(cluster: &'a Cluster, prefix: &'static str) -> Self {
        let token = cluster.plane.token().await;
        let kubeconfig = cluster.plane.kubeconfig(prefix, &token);
        let client = Api::connect(&kubeconfig).await.client();
        let store = Renamed {
            store: KubeSecretStore::new(client, SECRET),
            prefix,
        };
        for namespace in NAMESPACES {
            Namespace::create(&cluster.plane, store.real(namespace)).await;
        }
        Self {
            store,
            api: &cluster.plane.api,
        }
    }

    fn namespace(&self, namespace: &str) -> String {
        format!("/api/v1/namespaces/{}", self.store.real(namespace))
    }

    fn secret(&self, namespace: &str) -> String {
        format!("{}/secrets/{SECRET}", self.namespace(namespace))
    }

    async fn merge(&self, namespace: &str, patch: &Value) {
        let patched = self.api.merge(&self.secret(namespace), patch).await;
        patched.unwrap();
    }
}

impl contract::Cluster for RealApi<'_> {
    fn store(&self) -> &dyn SecretStore {
        &self.store
    }

    async fn terminate_namespace(&self, namespace: &str) {
        // Something that nobody finishes keeps the namespace from going.
        let held = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "held", "finalizers": ["example.com/held"]},
        });
        let namespace = self.namespace(namespace);
        let path = format!("{namespace}/configmaps");
        self.api.create(&path, &held).await.unwrap();
        self.api.delete(&namespace).await.unwrap();
    }

    async fn remove_namespace(&self, namespace: &str) {
        let namespace = self.namespace(namespace);
        self.api.delete(&namespace).await.unwrap();
        eventually("the namespace is gone", async || {
            !self.api.exists(&namespace).await
        })
        .await;
    }

    async fn add_foreign(&self, namespace: &str) {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "labels": {"app.kubernetes.io/managed-by": "Helm"}},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": EDITED},
        });
        let path = format!("{}/secrets", self.namespace(namespace));
        self.api.create(&path, &secret).await.unwrap();
    }

    async fn edit_data(&self, namespace: &str) {
        let edit = json!({"stringData": {".dockerconfigjson": EDITED}});
        self.merge(namespace, &edit).await;
    }

    async fn clear_tracking(&self, namespace: &str) {
        let cleared = json!({"metadata": {"managedFields": [{}]}});
        self.merge(namespace, &cleared).await;
    }

    async fn make_immutable(&self, namespace: &str) {
        self.merge(namespace, &json!({"immutable": true})).await;
    }

    async fn delete(&self, namespace: &str) {
        self.api.delete(&self.secret(namespace)).await.unwrap();
    }
}

/// The names of the promises are too long for a namespace's name: numbers instead.
macro_rules! ask_the_real_api {
    ($($promise:ident)*) => {
        $(#[test]
        fn $promise() {
            in_shared_cluster(async |cluster| {
                let prefix = number_of(stringify!($promise));
                contract::$promise(&RealApi::new(cluster, prefix).await).await;
            });
        })*

        fn number_of(promise: &str) -> &'static str {
            let promises = [$(stringify!($promise)),*];
            let at = promises.iter().position(|name| *name == promise).unwrap();
            format!("contract-{at}").leak()
        }
    };
}
contract::every_promise!(ask_the_real_api);
