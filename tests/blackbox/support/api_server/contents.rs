//! What a test finds in the cluster and puts there.

use serde_json::{Value, json};

use super::ApiServer;
use super::objects::{Resource, key};
use super::status::Status;

/// What is in the cluster, past every rule about who may write.
impl ApiServer {
    pub(crate) fn add_namespace(&self, name: &str) {
        let namespace = json!({"metadata": {"name": name}, "status": {"phase": "Active"}});
        self.create(Resource::Namespaces, "", namespace, "kubectl-create");
    }

    pub(crate) fn annotate_namespace(&self, name: &str, annotation: &str, value: &str) {
        self.edit(
            Resource::Namespaces,
            "",
            name,
            "kubectl-annotate",
            |namespace| {
                namespace["metadata"]["annotations"][annotation] = json!(value);
            },
        );
    }

    pub(crate) fn terminate_namespace(&self, name: &str) {
        self.edit(
            Resource::Namespaces,
            "",
            name,
            "kubectl-delete",
            |namespace| {
                namespace["metadata"]["deletionTimestamp"] = json!("2026-11-21T00:00:00Z");
                namespace["status"]["phase"] = json!("Terminating");
            },
        );
    }

    /// Deletes a namespace and all that is in it.
    pub(crate) fn remove_namespace(&self, name: &str) {
        for resource in [
            Resource::Secrets,
            Resource::Pods,
            Resource::Events,
            Resource::ServiceAccounts,
        ] {
            let inside: Vec<String> = self
                .shared
                .objects()
                .list(resource, Some(name))
                .map(|(key, _)| key.2.clone())
                .collect();
            for object in inside {
                self.remove(resource, name, &object);
            }
        }
        self.remove(Resource::Namespaces, "", name);
    }

    pub(crate) fn add_pod(&self, namespace: &str, name: &str, phase: &str, spec: &Value) {
        let pod = json!({"metadata": {"name": name}, "spec": spec, "status": {"phase": phase}});
        self.create(Resource::Pods, namespace, pod, "kubectl-create");
    }

    /// Installs the definition of EcrPolicy.
    pub(crate) fn define_policies(&self) {
        let definition = json!({"metadata": {"name": "ecrpolicies.ecr-admission.dev"}});
        let resource = Resource::CustomResourceDefinitions;
        self.create(resource, "", definition, "kubectl");
        self.shared.objects().no_policies = false;
    }

    /// As if there had never been one.
    pub(crate) fn never_define_policies(&self) {
        self.shared.objects().no_policies = true;
    }

    /// Deletes it, and as on a real server all policies first; who watches must be cut off by the test.
    pub(crate) fn undefine_policies(&self) {
        let resource = Resource::CustomResourceDefinitions;
        let name = "ecrpolicies.ecr-admission.dev";
        self.edit(resource, "", name, "kubectl", |definition| {
            definition["metadata"]["deletionTimestamp"] = json!("2026-11-21T00:00:00Z");
        });
        let policies: Vec<String> = self
            .shared
            .objects()
            .list(Resource::EcrPolicies, None)
            .map(|(key, _)| key.2.clone())
            .collect();
        for policy in policies {
            self.remove(Resource::EcrPolicies, "", &policy);
        }
        self.remove(resource, "", name);
        self.never_define_policies();
    }

    /// Makes a policy, or changes the spec of one.
    pub(crate) fn apply_policy(&self, name: &str, spec: &Value) {
        if self.get(Resource::EcrPolicies, "", name).is_some() {
            return self.edit(Resource::EcrPolicies, "", name, "kubectl", |policy| {
                policy["spec"] = spec.clone();
            });
        }
        let policy = json!({"metadata": {"name": name}, "spec": spec});
        self.create(Resource::EcrPolicies, "", policy, "kubectl");
    }

    /// A workload, or a policy (which is in no namespace).
    pub(crate) fn add(&self, resource: Resource, namespace: &str, object: Value) {
        self.create(resource, namespace, object, "kubectl-create");
    }

    /// The Events in a namespace.
    pub(crate) fn events(&self, namespace: &str) -> Vec<Value> {
        let objects = self.shared.objects();
        let events = objects.list(Resource::Events, Some(namespace));
        events.map(|(_, event)| event).collect()
    }

    pub(crate) fn get(&self, resource: Resource, namespace: &str, name: &str) -> Option<Value> {
        let found = self.shared.objects().get(&key(resource, namespace, name));
        found.ok()
    }

    pub(crate) fn create(&self, resource: Resource, namespace: &str, object: Value, manager: &str) {
        let created = self
            .shared
            .write(|objects| objects.create(resource, namespace, object, manager));
        expect(created);
    }

    pub(crate) fn edit(
        &self,
        resource: Resource,
        namespace: &str,
        name: &str,
        manager: &str,
        edit: impl FnOnce(&mut Value),
    ) {
        let key = key(resource, namespace, name);
        expect(
            self.shared
                .write(|objects| objects.update(&key, manager, edit)),
        );
    }

    pub(crate) fn remove(&self, resource: Resource, namespace: &str, name: &str) {
        let key = key(resource, namespace, name);
        expect(
            self.shared
                .write(|objects| objects.delete(&key, &Value::Null)),
        );
    }
}

fn expect<T>(result: Result<T, Status>) {
    if let Err(status) = result {
        panic!("a test asks for what cannot be: {}", status.body);
    }
}
