//! What the rest of the program relies on of a store of Secrets: one contract, asked of each store there is, the one in
//! the cluster suite included.

use ecr_admission::secret::{
    DataWriter, SecretContent, SecretMetadata, SecretStore, StoreErrorKind, StoredSecret,
};
use secrecy::ExposeSecret;

/// A cluster around a store, in which somebody else can act too.
pub(crate) trait Cluster {
    fn store(&self) -> &dyn SecretStore;
    async fn terminate_namespace(&self, namespace: &str);
    async fn remove_namespace(&self, namespace: &str);
    /// Makes a Secret of our name without our label.
    async fn add_foreign(&self, namespace: &str);
    /// Changes the data as `kubectl edit` does.
    async fn edit_data(&self, namespace: &str);
    /// Clears managedFields.
    async fn clear_tracking(&self, namespace: &str);
    /// Makes the Secret `immutable`.
    async fn make_immutable(&self, namespace: &str);
    async fn delete(&self, namespace: &str);
}

/// Gives the names of all promises to a macro, which asks them of its store.
macro_rules! every_promise {
    ($ask:ident) => {
        $ask! {
            a_secret_that_was_created_is_read_back
            there_is_no_secret_in_a_namespace_that_does_not_exist
            a_second_create_finds_the_first
            nothing_is_created_in_a_namespace_that_is_missing
            nothing_is_created_in_a_namespace_that_is_being_deleted
            an_update_keeps_the_uid_and_moves_the_version
            of_two_updates_from_one_version_the_second_conflicts
            an_update_never_writes_to_a_secret_that_was_made_anew
            an_update_of_a_deleted_secret_makes_none
            a_delete_takes_exactly_what_it_names
            the_label_of_a_foreign_secret_shows
            an_edit_by_somebody_shows_until_our_next_update
            tracking_that_was_cleared_is_restored_by_our_next_update
            an_immutable_secret_shows_and_is_not_updated
            one_namespace_never_touches_another
        }
    };
}
pub(crate) use every_promise;

/// The namespaces that exist at first.
pub(crate) const NAMESPACES: [&str; 2] = ["team-a", "team-b"];
pub(crate) const EDITED: &str = r#"{"auths":{"edited":{}}}"#;

pub(crate) fn content(mark: &str) -> SecretContent {
    SecretContent {
        docker_config: format!(r#"{{"auths":{{"{mark}":{{"auth":"QVdTOnRva2Vu"}}}}}}"#).into(),
        state: format!(r#"{{"v":1,"mark":"{mark}"}}"#),
        expires_at: "2026-11-21T12:00:00Z".to_owned(),
    }
}

fn holds(secret: &StoredSecret, content: &SecretContent) -> bool {
    let data = secret
        .docker_config
        .as_ref()
        .map(ExposeSecret::expose_secret);
    data == Some(content.docker_config.expose_secret().as_bytes())
        && secret.metadata.state.as_ref() == Some(&content.state)
}

pub(crate) fn ours(secret: &StoredSecret) -> bool {
    matches!(secret.metadata.data_writer, DataWriter::Us { at: Some(_) })
}

pub(crate) async fn get(cluster: &impl Cluster, namespace: &str) -> Option<StoredSecret> {
    cluster.store().get(namespace).await.unwrap()
}

pub(crate) async fn create(cluster: &impl Cluster, namespace: &str, mark: &str) -> StoredSecret {
    let created = cluster.store().create(namespace, &content(mark)).await;
    created.unwrap()
}

pub(crate) async fn update(
    cluster: &impl Cluster,
    current: &SecretMetadata,
    mark: &str,
) -> Result<StoredSecret, StoreErrorKind> {
    let updated = cluster
        .store()
        .update("team-a", current, &content(mark))
        .await;
    updated.map_err(|error| error.kind)
}

pub(crate) async fn create_error(
    cluster: &impl Cluster,
    namespace: &str,
) -> (StoreErrorKind, String) {
    let error = cluster.store().create(namespace, &content("x")).await;
    let error = error.unwrap_err();
    (error.kind, error.message)
}

pub(crate) async fn a_secret_that_was_created_is_read_back(cluster: &impl Cluster) {
    assert!(get(cluster, "team-a").await.is_none());
    let created = create(cluster, "team-a", "one").await;
    let read = get(cluster, "team-a").await.unwrap();
    assert_eq!(read.metadata, created.metadata);
    for secret in [created, read] {
        assert!(holds(&secret, &content("one")));
        assert!(secret.writable && secret.metadata.owned && ours(&secret));
        assert!(!secret.metadata.uid.is_empty());
    }
}

pub(crate) async fn there_is_no_secret_in_a_namespace_that_does_not_exist(cluster: &impl Cluster) {
    for namespace in ["nowhere", "No/Name", "..", ""] {
        assert!(get(cluster, namespace).await.is_none(), "{namespace}");
    }
}

pub(crate) async fn a_second_create_finds_the_first(cluster: &impl Cluster) {
    create(cluster, "team-a", "one").await;
    let (kind, message) = create_error(cluster, "team-a").await;
    assert_eq!(kind, StoreErrorKind::AlreadyExists);
    assert!(message.contains("already exists"), "{message}");
    assert!(holds(
        &get(cluster, "team-a").await.unwrap(),
        &content("one")
    ));
}

pub(crate) async fn nothing_is_created_in_a_namespace_that_is_missing(cluster: &impl Cluster) {
    cluster.remove_namespace("team-b").await;
    let (kind, message) = create_error(cluster, "team-b").await;
    assert_eq!(kind, StoreErrorKind::NamespaceMissing);
    assert!(message.contains("team-b"), "{message}");
}

pub(crate) async fn nothing_is_created_in_a_namespace_that_is_being_deleted(
    cluster: &impl Cluster,
) {
    cluster.terminate_namespace("team-b").await;
    let (kind, message) = create_error(cluster, "team-b").await;
    assert_eq!(kind, StoreErrorKind::NamespaceTerminating);
    assert!(message.contains("being terminated"), "{message}");
    assert!(get(cluster, "team-b").await.is_none());
}

pub(crate) async fn an_update_keeps_the_uid_and_moves_the_version(cluster: &impl Cluster) {
    let one = create(cluster, "team-a", "one").await;
    let two = update(cluster, &one.metadata, "two").await.unwrap();
    assert_eq!(two.metadata.uid, one.metadata.uid);
    assert_ne!(two.metadata.resource_version, one.metadata.resource_version);
    assert!(holds(&two, &content("two")) && two.metadata.owned && ours(&two));
    assert_eq!(get(cluster, "team-a").await.unwrap().metadata, two.metadata);
}

pub(crate) async fn of_two_updates_from_one_version_the_second_conflicts(cluster: &impl Cluster) {
    let one = create(cluster, "team-a", "one").await;
    update(cluster, &one.metadata, "two").await.unwrap();
    let late = update(cluster, &one.metadata, "three").await;
    assert_eq!(late.unwrap_err(), StoreErrorKind::Conflict);
    assert!(holds(
        &get(cluster, "team-a").await.unwrap(),
        &content("two")
    ));
}

pub(crate) async fn an_update_never_writes_to_a_secret_that_was_made_anew(cluster: &impl Cluster) {
    let old = create(cluster, "team-a", "old").await;
    cluster.delete("team-a").await;
    let new = create(cluster, "team-a", "new").await;
    assert_ne!(old.metadata.uid, new.metadata.uid);
    // Also where only the uid is wrong, and where the write would be a server-side apply.
    let mixed = SecretMetadata {
        uid: old.metadata.uid.clone(),
        ..new.metadata.clone()
    };
    for current in [old.metadata, mixed] {
        for data_writer in [current.data_writer, DataWriter::Untracked] {
            let current = SecretMetadata {
                data_writer,
                ..current.clone()
            };
            let result = update(cluster, &current, "late").await;
            assert_eq!(result.unwrap_err(), StoreErrorKind::Conflict);
        }
    }
    assert!(holds(
        &get(cluster, "team-a").await.unwrap(),
        &content("new")
    ));
}

pub(crate) async fn an_update_of_a_deleted_secret_makes_none(cluster: &impl Cluster) {
    let one = create(cluster, "team-a", "one").await;
    cluster.delete("team-a").await;
    let gone = update(cluster, &one.metadata, "two").await;
    assert_eq!(gone.unwrap_err(), StoreErrorKind::NotFound);
    // A server-side apply would create where nothing is, if it did not name the uid.
    let untracked = SecretMetadata {
        data_writer: DataWriter::Untracked,
        ..one.metadata
    };
    let gone = update(cluster, &untracked, "two").await.unwrap_err();
    assert!(matches!(
        gone,
        StoreErrorKind::NotFound | StoreErrorKind::Conflict
    ));
    assert!(get(cluster, "team-a").await.is_none());
}

pub(crate) async fn a_delete_takes_exactly_what_it_names(cluster: &impl Cluster) {
    let store = cluster.store();
    let one = create(cluster, "team-a", "one").await.metadata;
    let two = update(cluster, &one, "two").await.unwrap().metadata;
    let other_uid = SecretMetadata {
        uid: "another".to_owned(),
        ..two.clone()
    };
    for stale in [&one, &other_uid] {
        let error = store.delete("team-a", stale).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Conflict);
    }
    store.delete("team-a", &two).await.unwrap();
    assert!(get(cluster, "team-a").await.is_none());
    let error = store.delete("team-a", &two).await.unwrap_err();
    assert_eq!(error.kind, StoreErrorKind::NotFound);
}

pub(crate) async fn the_label_of_a_foreign_secret_shows(cluster: &impl Cluster) {
    cluster.add_foreign("team-a").await;
    let foreign = get(cluster, "team-a").await.unwrap().metadata;
    assert!(!foreign.owned);
    assert_eq!(foreign.state, None);
    assert_eq!(foreign.data_writer, DataWriter::SomebodyElse);
    let (kind, _) = create_error(cluster, "team-a").await;
    assert_eq!(kind, StoreErrorKind::AlreadyExists);
}

pub(crate) async fn an_edit_by_somebody_shows_until_our_next_update(cluster: &impl Cluster) {
    create(cluster, "team-a", "one").await;
    cluster.edit_data("team-a").await;
    let edited = get(cluster, "team-a").await.unwrap();
    assert_eq!(edited.metadata.data_writer, DataWriter::SomebodyElse);
    let data = edited.docker_config.as_ref().unwrap();
    assert_eq!(data.expose_secret(), EDITED.as_bytes());
    let repaired = update(cluster, &edited.metadata, "two").await.unwrap();
    assert!(ours(&repaired) && holds(&repaired, &content("two")));
}

pub(crate) async fn tracking_that_was_cleared_is_restored_by_our_next_update(
    cluster: &impl Cluster,
) {
    create(cluster, "team-a", "one").await;
    cluster.clear_tracking("team-a").await;
    let untracked = get(cluster, "team-a").await.unwrap().metadata;
    assert_eq!(untracked.data_writer, DataWriter::Untracked);
    let repaired = update(cluster, &untracked, "two").await.unwrap();
    assert!(ours(&repaired) && holds(&repaired, &content("two")) && repaired.metadata.owned);
    // From then on an edit shows again.
    cluster.edit_data("team-a").await;
    let edited = get(cluster, "team-a").await.unwrap().metadata;
    assert_eq!(edited.data_writer, DataWriter::SomebodyElse);
}

pub(crate) async fn an_immutable_secret_shows_and_is_not_updated(cluster: &impl Cluster) {
    create(cluster, "team-a", "one").await;
    cluster.make_immutable("team-a").await;
    let immutable = get(cluster, "team-a").await.unwrap();
    assert!(!immutable.writable);
    let result = update(cluster, &immutable.metadata, "two").await;
    assert_eq!(result.unwrap_err(), StoreErrorKind::Refused);
    assert!(holds(
        &get(cluster, "team-a").await.unwrap(),
        &content("one")
    ));
}

pub(crate) async fn one_namespace_never_touches_another(cluster: &impl Cluster) {
    let a = create(cluster, "team-a", "a").await;
    let b = create(cluster, "team-b", "b").await;
    assert_ne!(a.metadata.uid, b.metadata.uid);
    update(cluster, &a.metadata, "a2").await.unwrap();
    cluster.delete("team-a").await;
    assert_eq!(get(cluster, "team-b").await.unwrap().metadata, b.metadata);
}
