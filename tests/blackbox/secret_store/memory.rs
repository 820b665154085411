//! The store in memory: the cluster around it, and what it promises beyond the contract.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecr_admission::clock::Clock;
use ecr_admission::secret::memory::{MemorySecretStore, NamespacePhase};
use ecr_admission::secret::{DataWriter, SecretMetadata, SecretStore, StoredSecret};
use ecr_admission::watch::Mirror;

use super::contract::{Cluster, EDITED, NAMESPACES, content};

pub(super) struct InMemory(MemorySecretStore);

impl InMemory {
    pub(super) async fn start() -> Self {
        let store = MemorySecretStore::new(Clock::system());
        for namespace in ["nowhere", "No/Name", "..", ""] {
            store.set_namespace(namespace, NamespacePhase::Missing);
        }
        for namespace in NAMESPACES {
            store.set_namespace(namespace, NamespacePhase::Active);
        }
        std::future::ready(Self(store)).await
    }

    fn change(&self, namespace: &str, change: impl FnOnce(&mut StoredSecret)) {
        self.0.change(namespace, |secret| {
            let mut secret = secret.unwrap();
            change(&mut secret);
            Some(secret)
        });
    }
}

impl Cluster for InMemory {
    fn store(&self) -> &dyn SecretStore {
        &self.0
    }

    async fn terminate_namespace(&self, namespace: &str) {
        self.0.set_namespace(namespace, NamespacePhase::Terminating);
    }

    async fn remove_namespace(&self, namespace: &str) {
        self.0.set_namespace(namespace, NamespacePhase::Missing);
    }

    async fn add_foreign(&self, namespace: &str) {
        self.0.change(namespace, |_| {
            Some(StoredSecret {
                metadata: SecretMetadata {
                    uid: String::new(),
                    resource_version: String::new(),
                    owned: false,
                    state: None,
                    data_writer: DataWriter::SomebodyElse,
                },
                writable: true,
                docker_config: Some(EDITED.as_bytes().to_vec().into()),
            })
        });
    }

    async fn edit_data(&self, namespace: &str) {
        self.change(namespace, |secret| {
            secret.metadata.data_writer = DataWriter::SomebodyElse;
            secret.docker_config = Some(EDITED.as_bytes().to_vec().into());
        });
    }

    async fn clear_tracking(&self, namespace: &str) {
        self.change(namespace, |secret| {
            secret.metadata.data_writer = DataWriter::Untracked;
        });
    }

    async fn make_immutable(&self, namespace: &str) {
        self.change(namespace, |secret| secret.writable = false);
    }

    async fn delete(&self, namespace: &str) {
        self.0.change(namespace, |_| None);
    }
}

/// Writes down what a mirror is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn tell(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl Mirror<SecretMetadata> for Told {
    fn apply(&self, key: &str, object: SecretMetadata) {
        self.tell(format!("apply {key} {}", object.resource_version));
    }

    fn delete(&self, key: &str, version: &str) {
        self.tell(format!("delete {key} {version}"));
    }

    fn listed(&self, keys: &HashSet<String>, version: &str) {
        self.tell(format!("listed {} {version}", keys.len()));
    }

    fn heard(&self) {
        self.tell("heard".to_owned());
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_is_told_what_is_there_and_every_change_and_a_bookmark_a_minute() {
    let store = MemorySecretStore::new(Clock::simulated(jiff::Timestamp::UNIX_EPOCH, 1));
    store.create("a", &content("a")).await.unwrap();
    let told = Arc::new(Told::default());
    store.attach(Arc::<Told>::clone(&told));
    let b = store.create("b", &content("b")).await.unwrap();
    store.delete("b", &b.metadata).await.unwrap();
    tokio::select! {
        never = store.bookmarks() => match never {},
        () = tokio::time::sleep(Duration::from_secs(61)) => {}
    }
    let told = told.0.lock().unwrap();
    let expected = [
        "apply a 1",
        "listed 1 1",
        "heard",
        "apply b 2",
        "heard",
        "delete b 3",
        "heard",
        "heard",
    ];
    assert_eq!(*told, expected);
}
