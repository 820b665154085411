//! What a webhook answers, as far as a Pod's author sees it.

use serde_json::Value;

/// The uid of every review.
pub(super) const UID: &str = "1";

/// The verdict on a Pod.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) allowed: bool,
    /// Why it was refused, or what it was warned of; empty if nobody was told anything.
    pub(crate) said: String,
}

impl Answer {
    /// As strictly as the API server (pkg/admission/plugin/webhook/request/admissionreview.go).
    pub(crate) fn read(body: &[u8]) -> Self {
        let review: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(review["kind"], "AdmissionReview");
        let response = &review["response"];
        assert_eq!(response["uid"], UID);
        let is_patch = response["patchType"] == "JSONPatch";
        assert_eq!(response["patch"].is_string(), is_patch);
        assert!(response["patch"].is_null() || response["allowed"] == true);
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
