//! What `cleanup` takes away, in which order, and what it leaves. The cluster suite does it for real.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use ecr_admission::cleanup::{
    Choice, Entry, FoundSecret, Installation, Kind, Object, Outcome, clean,
};
use ecr_admission::clock::Clock;
use ecr_admission::secret::{DataWriter, SecretMetadata, StoreError, StoreErrorKind};
use ecr_admission::service_account::memory::MemoryServiceAccounts;
use futures_util::future::{BoxFuture, ready};
use serde_json::json;

const SECRET: &str = "ecr-pull-secret";

/// An installation in memory that keeps a diary.
struct Fake {
    objects: Mutex<HashSet<(&'static str, String)>>,
    secrets: Mutex<Vec<FoundSecret>>,
    accounts: MemoryServiceAccounts,
    diary: Mutex<Vec<String>>,
    /// How often Pods are still found.
    pods: Mutex<usize>,
    /// How often a Secret turns out to have changed.
    conflicts: Mutex<usize>,
}

impl Fake {
    fn new() -> Self {
        let named = |kind: Kind, name: &str| (kind.name(), name.to_owned());
        let accounts = MemoryServiceAccounts::default();
        let (theirs, ours) = (json!({"name": "theirs"}), json!({"name": SECRET}));
        accounts.set("team-a", "default", &[theirs.clone(), ours]);
        accounts.set("team-b", "default", &[theirs]);
        let secret = |namespace: &str, name: &str, owned: bool| FoundSecret {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            metadata: SecretMetadata {
                uid: namespace.to_owned(),
                resource_version: "1".to_owned(),
                owned,
                state: None,
                data_writer: DataWriter::Untracked,
            },
        };
        Self {
            objects: Mutex::new(HashSet::from([
                named(Kind::MutatingWebhookConfiguration, "zz-x"),
                named(Kind::ValidatingWebhookConfiguration, "zz-x"),
                named(Kind::MutatingAdmissionPolicyBinding, "x-inject"),
                named(Kind::MutatingAdmissionPolicy, "x-inject"),
                named(Kind::Deployment, "x"),
            ])),
            secrets: Mutex::new(vec![
                secret("team-a", SECRET, true),
                secret("team-c", SECRET, false),
                secret("x-system", "x-tls", true),
            ]),
            accounts,
            diary: Mutex::default(),
            pods: Mutex::new(3),
            conflicts: Mutex::default(),
        }
    }

    fn note(&self, what: &str, object: &Object) {
        let mut diary = self.diary.lock().unwrap();
        diary.push(format!("{what} {} {}", object.kind.name(), object.name));
    }

    fn has(&self, object: &Object) -> bool {
        let key = (object.kind.name(), object.name.clone());
        self.objects.lock().unwrap().contains(&key)
    }

    async fn clean(&self, change: impl FnOnce(&mut Choice)) -> Vec<String> {
        let mut choice = Choice {
            name: "x".to_owned(),
            namespace: "x-system".to_owned(),
            webhook_configuration: "zz-x".to_owned(),
            secret: SECRET.to_owned(),
            more_secrets: vec![("x-system".to_owned(), "x-tls".to_owned())],
            keep_secrets: false,
            dry_run: false,
            patience: Duration::from_mins(1),
        };
        change(&mut choice);
        let clock = Clock::simulated("2026-11-21T00:00:00Z".parse().unwrap(), 1);
        let mut told = Vec::new();
        let mut tell = |Entry { object, outcome }: Entry| {
            let outcome = match outcome {
                Outcome::Done => "done".to_owned(),
                Outcome::Would => "would".to_owned(),
                Outcome::Kept(_) => "kept".to_owned(),
                Outcome::Failed(error) => format!("failed: {error}"),
            };
            told.push(format!(
                "{} {}/{} {outcome}",
                object.kind.name(),
                object.namespace,
                object.name
            ));
        };
        clean(&choice, self, &self.accounts, &clock, &mut tell).await;
        told
    }

    fn left(&self) -> Vec<String> {
        let secrets = self.secrets.lock().unwrap();
        secrets
            .iter()
            .map(|found| format!("{}/{}", found.namespace, found.name))
            .collect()
    }
}

impl Installation for Fake {
    fn exists<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(ready(Ok(self.has(object))))
    }

    fn delete<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.note("delete", object);
        let key = (object.kind.name(), object.name.clone());
        Box::pin(ready(Ok(self.objects.lock().unwrap().remove(&key))))
    }

    fn scale_to_zero<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.note("scale", object);
        Box::pin(ready(Ok(self.has(object))))
    }

    fn pods<'a>(&'a self, object: &'a Object) -> BoxFuture<'a, Result<usize, StoreError>> {
        self.note("count", object);
        let mut pods = self.pods.lock().unwrap();
        *pods = pods.saturating_sub(1);
        Box::pin(ready(Ok(*pods)))
    }

    fn service_accounts(&self) -> BoxFuture<'_, Result<Vec<(String, String)>, StoreError>> {
        self.diary
            .lock()
            .unwrap()
            .push("list ServiceAccounts".to_owned());
        let account = ("team-a".to_owned(), "default".to_owned());
        let named = self
            .accounts
            .look("team-a", "default")
            .unwrap()
            .names(SECRET);
        Box::pin(ready(Ok(named.then_some(account).into_iter().collect())))
    }

    fn secrets<'a>(
        &'a self,
        namespace: Option<&'a str>,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Vec<FoundSecret>, StoreError>> {
        self.diary
            .lock()
            .unwrap()
            .push(format!("list Secrets {name}"));
        let secrets = self.secrets.lock().unwrap();
        let found = secrets.iter().filter(|found| {
            found.name == name && namespace.is_none_or(|wanted| wanted == found.namespace)
        });
        Box::pin(ready(Ok(found.cloned().collect())))
    }

    fn delete_secret<'a>(
        &'a self,
        found: &'a FoundSecret,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let mut conflicts = self.conflicts.lock().unwrap();
        if *conflicts > 0 {
            *conflicts -= 1;
            let kind = StoreErrorKind::Conflict;
            let message = "somebody else changed it".to_owned();
            return Box::pin(ready(Err(StoreError { kind, message })));
        }
        let mut secrets = self.secrets.lock().unwrap();
        secrets.retain(|secret| secret.metadata.uid != found.metadata.uid);
        Box::pin(ready(Ok(())))
    }
}

#[tokio::test(start_paused = true)]
async fn everything_of_ours_goes_in_order_and_nothing_else() {
    let fake = Fake::new();
    *fake.conflicts.lock().unwrap() = 2;
    let told = fake.clean(|_| {}).await;
    assert_eq!(
        told,
        [
            "MutatingWebhookConfiguration /zz-x done",
            "ValidatingWebhookConfiguration /zz-x done",
            "MutatingAdmissionPolicyBinding /x-inject done",
            "MutatingAdmissionPolicy /x-inject done",
            "Deployment x-system/x done",
            "ServiceAccount team-a/default done",
            "Secret team-a/ecr-pull-secret done",
            "Secret team-c/ecr-pull-secret kept",
            "Secret x-system/x-tls done",
        ]
    );
    let diary = fake.diary.lock().unwrap().clone();
    let place = |what: &str| diary.iter().rposition(|entry| entry == what).unwrap();
    assert!(place("delete MutatingAdmissionPolicy x-inject") < place("scale Deployment x"));
    assert!(place("count Deployment x") < place("list ServiceAccounts"));
    assert!(place("list ServiceAccounts") < place("list Secrets ecr-pull-secret"));
    let left = fake.accounts.look("team-a", "default").unwrap();
    assert_eq!(left.pull_secrets, [json!({"name": "theirs"})]);
    assert_eq!(fake.left(), ["team-c/ecr-pull-secret"]);

    fake.objects.lock().unwrap().clear();
    assert_eq!(
        fake.clean(|_| {}).await,
        ["Secret team-c/ecr-pull-secret kept"]
    );
}

#[tokio::test(start_paused = true)]
async fn what_replicas_would_put_back_is_not_touched_while_they_live() {
    let fake = Fake::new();
    *fake.pods.lock().unwrap() = usize::MAX;
    let told = fake.clean(|_| {}).await;
    let last = told.last().unwrap();
    assert!(
        last.starts_with("Deployment x-system/x failed: ")
            && last.contains("have not ended within 60s"),
        "{last}"
    );
    assert!(
        fake.accounts
            .look("team-a", "default")
            .unwrap()
            .names(SECRET)
    );
    assert_eq!(fake.left().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_tells_the_same_and_changes_nothing() {
    let fake = Fake::new();
    let told = fake.clean(|choice| choice.dry_run = true).await;
    assert_eq!(told.len(), 9);
    assert_eq!(
        told.iter().filter(|line| line.ends_with(" would")).count(),
        8
    );
    assert_eq!(fake.left().len(), 3);
    assert_eq!(fake.accounts.writes(), 0);
    assert_eq!(fake.objects.lock().unwrap().len(), 5);
    let diary = fake.diary.lock().unwrap();
    assert!(
        diary.iter().all(|entry| entry.starts_with("list")),
        "{diary:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn secrets_can_be_kept() {
    let fake = Fake::new();
    let told = fake.clean(|choice| choice.keep_secrets = true).await;
    assert_eq!(
        told.iter().filter(|line| line.ends_with(" kept")).count(),
        3
    );
    assert_eq!(fake.left().len(), 3);
    assert!(
        !fake
            .accounts
            .look("team-a", "default")
            .unwrap()
            .names(SECRET)
    );
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_changes_all_the_time_is_told_of() {
    let fake = Fake::new();
    *fake.conflicts.lock().unwrap() = usize::MAX;
    let told = fake.clean(|_| {}).await;
    assert!(
        told.contains(&"Secret team-a/ecr-pull-secret failed: somebody else changed it".to_owned()),
        "{told:?}"
    );
    assert_eq!(fake.left().len(), 3);
}
