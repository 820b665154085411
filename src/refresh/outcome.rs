//! What came of it, as data.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

/// What became of one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Its name.
    pub namespace: String,
    /// In one word.
    pub verdict: Verdict,
    /// Why it was skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The registries that are fresh now, or would be.
    pub registries: Vec<FreshRegistry>,
    /// Whether entries were taken out, or would be, that policies do not grant any more.
    pub revoked: bool,
    /// The ServiceAccounts that name the Secret now, or would.
    pub service_accounts: Vec<NamedBy>,
    /// What failed, one sentence each.
    pub errors: Vec<String>,
}

/// What became of a namespace, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The Secret was written, or would be.
    Renewed,
    /// Everything was as fresh as it can be.
    Unchanged,
    /// It needs nothing.
    Nothing,
    /// It is left out.
    Skipped,
    /// Something failed; other things may be done.
    Failed,
}

/// A registry whose credential is fresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FreshRegistry {
    /// Its host.
    pub host: String,
    /// Until when.
    pub expires_at: Timestamp,
}

/// A ServiceAccount that names the Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedBy {
    /// Its name.
    pub name: String,
    /// Whether it did before.
    pub result: AccountResult,
}

/// Whether a ServiceAccount named the Secret before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AccountResult {
    /// It did not; it does now, or would.
    Added,
    /// It did.
    Unchanged,
}

impl Outcome {
    pub(super) fn new(namespace: &str, errors: Vec<String>) -> Self {
        Self {
            namespace: namespace.to_owned(),
            verdict: if errors.is_empty() {
                Verdict::Nothing
            } else {
                Verdict::Failed
            },
            reason: None,
            registries: Vec::new(),
            revoked: false,
            service_accounts: Vec::new(),
            errors,
        }
    }

    pub(super) fn skipped(namespace: &str, reason: &'static str) -> Self {
        Self {
            verdict: Verdict::Skipped,
            reason: Some(reason),
            ..Self::new(namespace, Vec::new())
        }
    }

    pub(super) fn failed(namespace: &str, error: impl fmt::Display) -> Self {
        Self::new(namespace, vec![error.to_string()])
    }

    /// The same, with one more failure.
    #[must_use]
    pub(super) fn and_failed(mut self, error: impl fmt::Display) -> Self {
        self.verdict = Verdict::Failed;
        self.errors.push(error.to_string());
        self
    }

    /// The same, with these registries fresh.
    #[must_use]
    pub(super) fn fresh(mut self, registries: Vec<FreshRegistry>, written: bool) -> Self {
        self.registries = registries;
        if self.verdict != Verdict::Failed {
            self.verdict = if written {
                Verdict::Renewed
            } else {
                Verdict::Unchanged
            };
        }
        self
    }
}
