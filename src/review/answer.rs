//! Writing the answer: a review with the caller's uid, whatever the verdict.

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// What the answer does to the Pod's `imagePullSecrets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// Nothing: our name is there already, or nothing is to be injected.
    None,
    /// The list is absent: add it with our name alone (appending to an absent list fails).
    AddList,
    /// The list is there: append our name (adding the list would replace it).
    Append,
}

/// The two JSON patches (RFC 6902) for one Secret name, encoded once for the life of the process.
#[derive(Clone, Debug)]
pub struct InjectionPatch {
    add_list: Box<RawValue>,
    append: Box<RawValue>,
}

impl InjectionPatch {
    /// The patches that inject `secret`.
    pub fn new(secret: &str) -> Self {
        let reference = serde_json::json!({ "name": secret });
        let encode = |path: &str, value: serde_json::Value| {
            use base64::Engine;
            let patch = serde_json::json!([{ "op": "add", "path": path, "value": value }]);
            let encoded = base64::engine::general_purpose::STANDARD.encode(patch.to_string());
            // A string always serialises; null would patch nothing.
            to_raw_value(&encoded).unwrap_or_default()
        };
        Self {
            add_list: encode("/spec/imagePullSecrets", serde_json::json!([reference])),
            append: encode("/spec/imagePullSecrets/-", reference.clone()),
        }
    }

    fn encoded(&self, patch: Patch) -> Option<&RawValue> {
        match patch {
            Patch::None => None,
            Patch::AddList => Some(&self.add_list),
            Patch::Append => Some(&self.append),
        }
    }
}

/// The answer to one review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Why the request is refused, for the Pod's author; `None` allows it.
    pub refusal: Option<String>,
    /// What `kubectl` shows though the request is allowed.
    pub warnings: Vec<String>,
    /// What findings under the action `Audit` leave in the audit log.
    pub audit: Option<String>,
    /// What is injected.
    pub patch: Patch,
}

impl Answer {
    /// Allowed, with nothing to say.
    pub const fn allow() -> Self {
        Self {
            refusal: None,
            warnings: Vec::new(),
            audit: None,
            patch: Patch::None,
        }
    }

    /// Refused, with the reason.
    pub fn refuse(reason: impl Into<String>) -> Self {
        Self {
            refusal: Some(reason.into()),
            ..Self::allow()
        }
    }

    /// Allowed, with a warning.
    pub fn warn(warning: impl Into<String>) -> Self {
        Self {
            warnings: vec![warning.into()],
            ..Self::allow()
        }
    }

    /// The AdmissionReview to send.
    pub fn to_json(&self, uid: &str, injection: &InjectionPatch) -> Vec<u8> {
        let patch = injection.encoded(self.patch);
        let review = Wire {
            api_version: "admission.k8s.io/v1",
            kind: "AdmissionReview",
            response: Response {
                uid,
                allowed: self.refusal.is_none(),
                status: self.refusal.as_deref().map(Status::forbidden),
                patch,
                patch_type: patch.map(|_| "JSONPatch"),
                warnings: self.warnings.iter().map(|text| for_people(text)).collect(),
                audit_annotations: self.audit.as_deref().map(|audit| AuditAnnotations {
                    findings: for_people(audit),
                }),
            },
        };
        let mut body = Vec::with_capacity(USUAL_ANSWER_BYTES);
        // Strings and booleans always serialise into memory. Half a body would be a failed call, hence failurePolicy's
        // matter.
        let _ = serde_json::to_writer(&mut body, &review);
        body
    }
}

/// Room for an injection into a Pod with nothing to say about it.
const USUAL_ANSWER_BYTES: usize = 512;

/// The longest text that leaves us, in characters: it may quote what the caller sent, and that can be megabytes. Room
/// for ten findings about the longest images.
const LONGEST_TEXT: usize = 8_192;

/// A text without control characters (the API server drops a warning that has any) and of bounded length.
pub fn for_people(text: &str) -> String {
    at_most(LONGEST_TEXT, text)
}

/// As [`for_people`], of at most `characters`.
pub fn at_most(characters: usize, text: &str) -> String {
    let end = text
        .char_indices()
        .nth(characters)
        .map_or(text.len(), |(end, _)| end);
    let kept = text[..end].chars();
    let mut clean: String = kept
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect();
    if end < text.len() {
        clean.push('…');
    }
    clean
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_annotations: Option<AuditAnnotations>,
}

/// `metav1.Status`: without a code the API server would show the refusal as HTTP 400.
#[derive(Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

impl Status {
    fn forbidden(message: &str) -> Self {
        Self {
            code: 403,
            reason: "Forbidden",
            message: for_people(message),
        }
    }
}

#[derive(Serialize)]
struct AuditAnnotations {
    findings: String,
}
