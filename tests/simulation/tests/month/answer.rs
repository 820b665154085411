//! What a webhook answers, as far as a Pod's author sees it.

use serde_json::Value;

/// The verdict on a Pod.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) allowed: bool,
    /// Why it was refused, or what it was warned of; empty if nobody was told anything.
    pub(crate) said: String,
}

impl Answer {
    pub(crate) fn read(body: &[u8]) -> Self {
        let review: Value = serde_json::from_slice(body).unwrap();
        let response = &review["response"];
        let allowed = response["allowed"].as_bool().unwrap();
        let refusal = response["status"]["message"].as_str();
        let warnings = response["warnings"].as_array().into_iter().flatten();
        let lines = refusal
            .into_iter()
            .chain(warnings.filter_map(Value::as_str));
        Self {
            allowed,
            said: lines.collect::<Vec<_>>().join("\n"),
        }
    }
}
