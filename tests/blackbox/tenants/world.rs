//! A service, policies that can change, and a cluster of namespaces that its mirror may lag behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ecr_admission::assembly::Rules;
use ecr_admission::clock::Clock;
use ecr_admission::namespace::Namespace;
use ecr_admission::policy::spec::EcrPolicySpec;
use ecr_admission::policy::{
    Identity, Labels, Policy, PolicySet, PolicyVersion, Unreadable, compile,
};
use ecr_admission::rulebook::{LiveReads, PolicyVersions};
use ecr_admission::secret::memory::MemorySecretStore;
use ecr_admission::secret::{StoreError, StoreErrorKind};
use ecr_admission::watch::Mirror;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::time::sleep;

use crate::support::service::{START, Service};

/// One account of each tenant, and one that both share.
pub(super) const HOST_A: &str = "111111111111.dkr.ecr.eu-west-1.amazonaws.com";
pub(super) const HOST_B: &str = "222222222222.dkr.ecr.eu-west-1.amazonaws.com";
pub(super) const SHARED: &str = "999999999999.dkr.ecr.eu-west-1.amazonaws.com";
pub(super) const ROLE_A: &str = "role arn:aws:iam::111111111111:role/ecr-team-a";
pub(super) const ROLE_B: &str = "role arn:aws:iam::222222222222:role/ecr-team-b";
pub(super) const CONTROLLER: &str = "the controller's own AWS identity";

pub(super) const TEAM_A: &str = r#"
    namespaces: {matchLabels: {team: a}}
    grants:
    - registries: ["111111111111"]
      role: {arn: "arn:aws:iam::111111111111:role/ecr-team-a"}
"#;
pub(super) const TEAM_B: &str = r#"
    namespaces: {matchLabels: {team: b}}
    grants:
    - registries: ["222222222222"]
      role: {arn: "arn:aws:iam::222222222222:role/ecr-team-b"}
"#;

/// Namespaces of no team pull from the first tenant's account by the identity of ecr-admission.
pub(super) const NO_TEAM: &str = r#"
    namespaces: {matchExpressions: [{key: team, operator: DoesNotExist}]}
    grants:
    - registries: ["111111111111"]
"#;

/// The cluster as a live read sees it.
#[derive(Default)]
pub(super) struct Cluster {
    namespaces: Mutex<BTreeMap<String, Namespace>>,
    policies: Mutex<BTreeMap<String, (PolicyVersion, String)>>,
}

impl Cluster {
    /// Deletes a policy, of which nobody has heard yet.
    pub(super) fn forget(&self, name: &str) {
        self.policies.lock().unwrap().remove(name);
    }

    /// Gives a namespace these labels.
    pub(super) fn label(&self, namespace: &str, labels: &[(&str, &str)]) {
        let mut namespaces = self.namespaces.lock().unwrap();
        namespaces.insert(namespace.to_owned(), labelled(labels));
    }
}

fn labelled(labels: &[(&str, &str)]) -> Namespace {
    let labels = labels.iter();
    let labels = labels.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Namespace {
        labels: Arc::new(labels.collect::<Labels>()),
        ..Namespace::default()
    }
}

impl LiveReads for Cluster {
    fn namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Namespace, StoreError>> {
        let found = self.namespaces.lock().unwrap().get(name).cloned();
        let missing = || StoreError {
            kind: StoreErrorKind::NamespaceMissing,
            message: format!("there is no namespace {name:?}"),
        };
        ready(found.ok_or_else(missing)).boxed()
    }

    fn policy<'a>(
        &'a self,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<PolicyVersion>, StoreError>> {
        let policies = self.policies.lock().unwrap();
        let version = policies.get(name).map(|(version, _)| version.clone());
        ready(Ok(version)).boxed()
    }

    fn policies(&self) -> BoxFuture<'_, Result<Option<PolicyVersions>, StoreError>> {
        let policies = self.policies.lock().unwrap();
        let versions = policies.iter();
        let versions = versions.map(|(name, (version, _))| (name.clone(), version.clone()));
        ready(Ok(Some(versions.collect()))).boxed()
    }
}

/// The service and its cluster.
pub(super) struct World {
    pub(super) cluster: Arc<Cluster>,
    pub(super) service: Service,
}

impl World {
    /// With these policies, by name, and nothing in the cluster.
    pub(super) fn new(policies: &[(&str, &str)]) -> Self {
        let cluster = Arc::new(Cluster::default());
        let clock = Clock::simulated(START, 1);
        let secrets = Arc::new(MemorySecretStore::new(Clock::simulated(START, 2)));
        let rules = Rules {
            policies: PolicySet::default(),
            tell_apart: true,
            live: Arc::clone(&cluster) as Arc<_>,
        };
        let service = Service::ruled(rules, &clock, &secrets);
        secrets.attach(Arc::clone(&service.index) as Arc<_>);
        tokio::spawn(async move { secrets.bookmarks().await });
        let world = Self { cluster, service };
        for (name, spec) in policies {
            world.write_policy(name, spec);
        }
        world.hear_of_policies();
        world
            .service
            .namespaces
            .listed(&std::collections::HashSet::new(), "1");
        world
    }

    /// What two tenants have.
    pub(super) fn of_two_tenants() -> Self {
        let world = Self::new(&[("team-a", TEAM_A), ("team-b", TEAM_B)]);
        world.label("one", &[("team", "a")]);
        world.label("two", &[("team", "b")]);
        world
    }

    /// Writes a policy to the cluster, of which nobody has heard yet.
    pub(super) fn write_policy(&self, name: &str, spec: &str) {
        let mut policies = self.cluster.policies.lock().unwrap();
        let generation = policies
            .get(name)
            .map_or(0, |(before, _)| before.generation)
            + 1;
        let version = PolicyVersion {
            uid: format!("uid-of-{name}"),
            generation,
        };
        policies.insert(name.to_owned(), (version, spec.to_owned()));
    }

    pub(super) fn delete_policy(&self, name: &str) {
        self.cluster.forget(name);
        self.hear_of_policies();
    }

    /// What a watch of the policies tells at last. One that does not compile is unreadable.
    pub(super) fn hear_of_policies(&self) {
        let (mut readable, mut unreadable) = (Vec::new(), Vec::new());
        for (name, (version, spec)) in &*self.cluster.policies.lock().unwrap() {
            let before = self.service.rulebook.set();
            let last = before.policies().iter().find(|last| last.name() == name);
            let spec: Result<EcrPolicySpec, _> = serde_saphyr::from_str(spec);
            let version = version.clone();
            match spec.map(|spec| compile(name, &spec)) {
                Ok(Ok(compiled)) => readable.push(compiled.of_version(version)),
                _ => unreadable.push(Unreadable::new(name, None, last).of_version(version)),
            }
        }
        let set = PolicySet::new(Policy::default(), readable, unreadable);
        self.service.rulebook.replace(set);
    }

    /// What a watch of the policies tells that has heard that this one was deleted, and of nothing else lately.
    pub(super) fn hear_only_that_is_gone(&self, name: &str) {
        let before = self.service.rulebook.set();
        let policies = before.policies().iter();
        let left = policies.filter(|policy| policy.name() != name).cloned();
        let set = PolicySet::new(Policy::default(), left.collect(), Vec::new());
        self.service.rulebook.replace(set);
    }

    /// Gives a namespace these labels, of which nobody has heard yet.
    pub(super) fn label_unheard(&self, namespace: &str, labels: &[(&str, &str)]) {
        self.cluster.label(namespace, labels);
    }

    /// What a watch of namespaces tells that is wrong about one, because it lags.
    pub(super) fn mishear_of(&self, namespace: &str, labels: &[(&str, &str)]) {
        self.service.namespaces.apply(namespace, labelled(labels));
    }

    /// What the watch of namespaces tells at last.
    pub(super) fn hear_of(&self, namespace: &str) {
        let namespaces = self.cluster.namespaces.lock().unwrap();
        let labelled = namespaces[namespace].clone();
        self.service.namespaces.apply(namespace, labelled);
    }

    pub(super) fn label(&self, namespace: &str, labels: &[(&str, &str)]) {
        self.label_unheard(namespace, labels);
        self.hear_of(namespace);
    }

    /// Whose token a namespace's Secret holds under a key, and until when it was ever minted for anybody else.
    pub(super) fn holder(&self, namespace: &str, key: &str) -> Option<String> {
        let password = self.service.password(namespace, key)?;
        let number: usize = password.rsplit_once('-').unwrap().1.parse().unwrap();
        let calls = self.service.tokens.calls();
        Some(calls[number - 1].0.identity.to_string())
    }

    /// The identities that tokens were minted for.
    pub(super) fn minted_for(&self) -> Vec<Identity> {
        let calls = self.service.tokens.calls();
        calls.into_iter().map(|(key, _)| key.identity).collect()
    }
}

/// What "within seconds" is in these tests.
pub(super) async fn seconds() {
    sleep(Duration::from_secs(5)).await;
}
