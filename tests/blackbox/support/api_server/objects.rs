//! The stored objects and the rules of writing them.

use std::collections::{BTreeMap, VecDeque};

use ecr_admission::clock::Clock;
use serde_json::{Value, json};

use super::checks::{check_event, check_secret};
use super::fields::ManagedFields;
use super::status::Status;

/// The kinds of object that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Resource {
    Secrets,
    Namespaces,
    Pods,
    Events,
    ServiceAccounts,
    MutatingWebhookConfigurations,
    ValidatingWebhookConfigurations,
    ReplicationControllers,
    Deployments,
    StatefulSets,
    DaemonSets,
    ReplicaSets,
    Jobs,
    CronJobs,
    EcrPolicies,
    CustomResourceDefinitions,
}

impl Resource {
    const ALL: [Self; 16] = [
        Self::Secrets,
        Self::Namespaces,
        Self::Pods,
        Self::Events,
        Self::ServiceAccounts,
        Self::MutatingWebhookConfigurations,
        Self::ValidatingWebhookConfigurations,
        Self::ReplicationControllers,
        Self::Deployments,
        Self::StatefulSets,
        Self::DaemonSets,
        Self::ReplicaSets,
        Self::Jobs,
        Self::CronJobs,
        Self::EcrPolicies,
        Self::CustomResourceDefinitions,
    ];

    pub(crate) fn named(path: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|resource| resource.plural() == path)
    }

    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Secrets => "secrets",
            Self::Namespaces => "namespaces",
            Self::Pods => "pods",
            Self::Events => "events",
            Self::ServiceAccounts => "serviceaccounts",
            Self::MutatingWebhookConfigurations => "mutatingwebhookconfigurations",
            Self::ValidatingWebhookConfigurations => "validatingwebhookconfigurations",
            Self::ReplicationControllers => "replicationcontrollers",
            Self::Deployments => "deployments",
            Self::StatefulSets => "statefulsets",
            Self::DaemonSets => "daemonsets",
            Self::ReplicaSets => "replicasets",
            Self::Jobs => "jobs",
            Self::CronJobs => "cronjobs",
            Self::EcrPolicies => "ecrpolicies",
            Self::CustomResourceDefinitions => "customresourcedefinitions",
        }
    }

    pub(crate) fn is_namespaced(self) -> bool {
        !matches!(
            self,
            Self::Namespaces
                | Self::MutatingWebhookConfigurations
                | Self::ValidatingWebhookConfigurations
                | Self::EcrPolicies
                | Self::CustomResourceDefinitions
        )
    }

    pub(crate) fn api_version(self) -> &'static str {
        match self {
            Self::Secrets
            | Self::Namespaces
            | Self::Pods
            | Self::ServiceAccounts
            | Self::ReplicationControllers => "v1",
            Self::Deployments | Self::StatefulSets | Self::DaemonSets | Self::ReplicaSets => {
                "apps/v1"
            }
            Self::Jobs | Self::CronJobs => "batch/v1",
            Self::EcrPolicies => "ecr-admission.dev/v1alpha1",
            Self::Events => "events.k8s.io/v1",
            Self::MutatingWebhookConfigurations | Self::ValidatingWebhookConfigurations => {
                "admissionregistration.k8s.io/v1"
            }
            Self::CustomResourceDefinitions => "apiextensions.k8s.io/v1",
        }
    }

    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Secrets => "Secret",
            Self::Namespaces => "Namespace",
            Self::Pods => "Pod",
            Self::Events => "Event",
            Self::ServiceAccounts => "ServiceAccount",
            Self::MutatingWebhookConfigurations => "MutatingWebhookConfiguration",
            Self::ValidatingWebhookConfigurations => "ValidatingWebhookConfiguration",
            Self::ReplicationControllers => "ReplicationController",
            Self::Deployments => "Deployment",
            Self::StatefulSets => "StatefulSet",
            Self::DaemonSets => "DaemonSet",
            Self::ReplicaSets => "ReplicaSet",
            Self::Jobs => "Job",
            Self::CronJobs => "CronJob",
            Self::EcrPolicies => "EcrPolicy",
            Self::CustomResourceDefinitions => "CustomResourceDefinition",
        }
    }
}

/// Where an object is: resource, namespace (empty for one that is in none), name.
pub(crate) type Key = (Resource, String, String);

pub(crate) fn key(resource: Resource, namespace: &str, name: &str) -> Key {
    (resource, namespace.to_owned(), name.to_owned())
}

struct Object {
    value: Value,
    fields: ManagedFields,
}

impl Object {
    fn render(&self) -> Value {
        let mut value = self.value.clone();
        value["metadata"]["managedFields"] = self.fields.render();
        value
    }
}

/// One change, as a watch delivers it.
pub(crate) struct Event {
    pub(crate) version: u64,
    pub(crate) kind: &'static str,
    pub(crate) key: Key,
    pub(crate) object: Value,
}

pub(crate) struct Objects {
    clock: Clock,
    pub(crate) version: u64,
    stored: BTreeMap<Key, Object>,
    pub(crate) history: VecDeque<Event>,
    /// A watch from before this version has missed events.
    pub(crate) compacted: u64,
    /// Whether nobody knows what an EcrPolicy is.
    pub(crate) no_policies: bool,
}

impl Objects {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            version: 100,
            stored: BTreeMap::new(),
            history: VecDeque::new(),
            compacted: 0,
            no_policies: false,
        }
    }

    pub(crate) fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.version;
    }

    pub(crate) fn get(&self, key: &Key) -> Result<Value, Status> {
        self.stored
            .get(key)
            .map(Object::render)
            .ok_or_else(|| Status::not_found(key.0.plural(), &key.2))
    }

    /// All objects of a resource in the order of their keys, from one namespace or all.
    pub(crate) fn list(
        &self,
        resource: Resource,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = (&Key, Value)> {
        self.stored
            .iter()
            .filter(move |((kind, at, _), _)| {
                *kind == resource && namespace.is_none_or(|wanted| wanted == at)
            })
            .map(|(key, object)| (key, object.render()))
    }

    pub(crate) fn create(
        &mut self,
        resource: Resource,
        namespace: &str,
        mut value: Value,
        manager: &str,
    ) -> Result<Value, Status> {
        let name = value["metadata"]["name"].as_str().unwrap_or_default();
        let key = key(resource, namespace, name);
        self.check_namespace(&key)?;
        if self.stored.contains_key(&key) {
            return Err(Status::already_exists(resource.plural(), &key.2));
        }
        check_secret(&key, &value)?;
        check_event(&key, &value)?;
        let now = self.now();
        let metadata = &mut value["metadata"];
        metadata["creationTimestamp"] = json!(now);
        metadata["uid"] = json!(format!("00000000-0000-4000-8000-{:012}", self.version + 1));
        if resource.is_namespaced() {
            metadata["namespace"] = json!(namespace);
        }
        if resource == Resource::EcrPolicies {
            metadata["generation"] = json!(1);
        }
        value["apiVersion"] = json!(resource.api_version());
        value["kind"] = json!(resource.kind());
        let mut fields = ManagedFields::default();
        fields.update(&Value::Null, &value, manager, &now);
        self.stored.insert(key.clone(), Object { value, fields });
        Ok(self.commit("ADDED", key))
    }

    fn check_namespace(&self, key: &Key) -> Result<(), Status> {
        let (resource, namespace, name) = key;
        if !resource.is_namespaced() {
            return Ok(());
        }
        let found = self
            .stored
            .get(&(Resource::Namespaces, String::new(), namespace.clone()))
            .ok_or_else(|| Status::not_found("namespaces", namespace))?;
        if found.value["metadata"]["deletionTimestamp"].is_string() {
            return Err(Status::terminating(resource.plural(), name, namespace));
        }
        Ok(())
    }

    /// Changes an object by an update or a patch of `manager`; `patch` gets the object as a client sees it.
    pub(crate) fn update(
        &mut self,
        key: &Key,
        manager: &str,
        patch: impl FnOnce(&mut Value),
    ) -> Result<Value, Status> {
        let before = self.get(key)?;
        let mut after = before.clone();
        patch(&mut after);
        check_update(key, &before, &after)?;
        if key.0 == Resource::EcrPolicies && before["spec"] != after["spec"] {
            let generation = before["metadata"]["generation"].as_u64();
            after["metadata"]["generation"] = json!(generation.unwrap_or_default() + 1);
        }
        let clears = after["metadata"]["managedFields"] == json!([{}]);
        Ok(
            self.replace(key, &before, after, |fields, before, after, now| {
                if clears {
                    fields.clear();
                } else {
                    fields.update(before, after, manager, now);
                }
            }),
        )
    }

    /// Server-side apply.
    pub(crate) fn apply(
        &mut self,
        key: &Key,
        manager: &str,
        force: bool,
        config: Value,
    ) -> Result<Value, Status> {
        let Some(object) = self.stored.get(key) else {
            if let Some(uid) = config["metadata"]["uid"].as_str() {
                let cause = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(Status::conflict(key.0.plural(), &key.2, &cause));
            }
            return self.create(key.0, &key.1, config, manager);
        };
        let before = object.render();
        if !force && object.fields.apply_conflicts(&before, &config, manager) {
            let message = format!("Apply failed with conflicts on {}", key.2);
            return Err(Status::new(409, "Conflict", &message));
        }
        let mut after = before.clone();
        json_patch::merge(&mut after, &config);
        check_update(key, &before, &after)?;
        Ok(self.replace(key, &before, after, |fields, before, _, now| {
            fields.apply(before, &config, manager, now);
        }))
    }

    fn replace(
        &mut self,
        key: &Key,
        before: &Value,
        mut after: Value,
        track: impl FnOnce(&mut ManagedFields, &Value, &Value, &str),
    ) -> Value {
        if *before == after {
            return after;
        }
        let now = self.now();
        let object = self.stored.get_mut(key).expect("it was read just now");
        track(&mut object.fields, before, &after, &now);
        if let Some(metadata) = after["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        object.value = after;
        self.commit("MODIFIED", key.clone())
    }

    /// Deletes an object under `preconditions`.
    pub(crate) fn delete(&mut self, key: &Key, preconditions: &Value) -> Result<(), Status> {
        let stored = self.get(key)?;
        for (field, word) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
            let (wanted, found) = (&preconditions[field], &stored["metadata"][field]);
            if wanted.is_string() && wanted != found {
                let cause = format!(
                    "the {word} in the precondition ({wanted}) does not match the {word} in record ({found}). The object might have been deleted and then recreated"
                );
                return Err(Status::conflict(key.0.plural(), &key.2, &cause));
            }
        }
        self.commit("DELETED", key.clone());
        self.stored.remove(key);
        Ok(())
    }

    /// Gives the object a new version and tells the watches.
    fn commit(&mut self, kind: &'static str, key: Key) -> Value {
        self.version += 1;
        let version = self.version;
        let object = self
            .stored
            .get_mut(&key)
            .expect("only what is stored changes");
        object.value["metadata"]["resourceVersion"] = json!(version.to_string());
        let object = object.render();
        self.history.push_back(Event {
            version,
            kind,
            key,
            object: object.clone(),
        });
        object
    }

    fn now(&self) -> String {
        let now = self.clock.now();
        // The API server keeps whole seconds.
        jiff::Timestamp::from_second(now.as_second())
            .expect("a time that was one is one")
            .to_string()
    }
}

fn check_update(key: &Key, before: &Value, after: &Value) -> Result<(), Status> {
    let (resource, _, name) = key;
    let kind = resource.kind();
    let changed = |pointer: &str| before.pointer(pointer) != after.pointer(pointer);
    if changed("/metadata/resourceVersion") {
        return Err(Status::modified(resource.plural(), name));
    }
    if changed("/metadata/uid") {
        let cause = "Invalid value: field is immutable";
        return Err(Status::invalid(kind, name, "metadata.uid", cause));
    }
    if changed("/type") {
        let cause = "Invalid value: field is immutable";
        return Err(Status::invalid(kind, name, "type", cause));
    }
    if before["immutable"] == true && (changed("/data") || changed("/immutable")) {
        let cause = "Forbidden: field is immutable when `immutable` is set";
        return Err(Status::invalid(kind, name, "data", cause));
    }
    check_secret(key, after)
}
