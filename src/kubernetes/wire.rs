//! What we read of the API's objects. Whatever is not named here is skipped while parsing and never stored.

use std::collections::HashMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::managed_fields::ManagedFieldsEntry;

/// An object of which only the metadata was asked for (`PartialObjectMetadata`), a ServiceAccount, or an EcrPolicy.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartialObject {
    pub(super) metadata: ObjectMeta,
    /// Of a ServiceAccount only.
    #[serde(default)]
    pub(super) image_pull_secrets: Option<Vec<Value>>,
    /// Of an EcrPolicy only.
    #[serde(default)]
    pub(super) spec: Value,
    /// The same.
    #[serde(default)]
    pub(super) status: Value,
}

/// The part of `metadata` that we use.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ObjectMeta {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) resource_version: String,
    /// Counts up when the spec changes; zero where the API server keeps none.
    pub(super) generation: i64,
    pub(super) deletion_timestamp: Option<IgnoredAny>,
    pub(super) labels: Option<HashMap<String, String>>,
    pub(super) annotations: Option<HashMap<String, String>>,
    pub(super) managed_fields: Option<Vec<ManagedFieldsEntry>>,
}

impl ObjectMeta {
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        Some(self.labels.as_ref()?.get(key)?)
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        Some(self.annotations.as_ref()?.get(key)?)
    }
}
