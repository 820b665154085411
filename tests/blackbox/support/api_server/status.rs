//! Failures as the API server words them.

use serde_json::{Value, json};

/// A `Status` with its HTTP code.
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

impl Status {
    pub(crate) fn new(code: u16, reason: &str, message: &str) -> Self {
        Self::detailed(code, reason, message, &json!({}))
    }

    pub(crate) fn detailed(code: u16, reason: &str, message: &str, details: &Value) -> Self {
        let body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "reason": reason, "details": details, "code": code,
        });
        Self { code, body }
    }

    pub(crate) fn unknown_resource() -> Self {
        let message = "the server could not find the requested resource";
        Self::new(404, "NotFound", message)
    }

    pub(crate) fn not_found(resource: &str, name: &str) -> Self {
        let message = format!("{resource} \"{name}\" not found");
        let details = json!({"name": name, "kind": resource});
        Self::detailed(404, "NotFound", &message, &details)
    }

    pub(crate) fn already_exists(resource: &str, name: &str) -> Self {
        let message = format!("{resource} \"{name}\" already exists");
        let details = json!({"name": name, "kind": resource});
        Self::detailed(409, "AlreadyExists", &message, &details)
    }

    pub(crate) fn conflict(resource: &str, name: &str, cause: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {cause}");
        let details = json!({"name": name, "kind": resource});
        Self::detailed(409, "Conflict", &message, &details)
    }

    pub(crate) fn modified(resource: &str, name: &str) -> Self {
        let cause = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, cause)
    }

    pub(crate) fn invalid(kind: &str, name: &str, field: &str, cause: &str) -> Self {
        let message = format!("{kind} \"{name}\" is invalid: {field}: {cause}");
        let details = json!({"name": name, "kind": kind, "causes": [
            {"reason": "FieldValueInvalid", "message": cause, "field": field},
        ]});
        Self::detailed(422, "Invalid", &message, &details)
    }

    pub(crate) fn terminating(resource: &str, name: &str, namespace: &str) -> Self {
        let message = format!(
            "{resource} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being terminated"
        );
        let details = json!({"name": name, "kind": resource, "causes": [{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]});
        Self::detailed(403, "Forbidden", &message, &details)
    }

    pub(crate) fn expired(requested: u64, oldest: u64) -> Self {
        let message = format!("too old resource version: {requested} ({oldest})");
        Self::new(410, "Expired", &message)
    }
}
