//! Writing the answer: a review with the caller's uid, whatever the verdict.

use serde::Serialize;

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

/// The two JSON patches (RFC 6902) for one Secret name, encoded once for the life of the process: the fields `patch` and
/// `patchType` of an answer, each behind a comma.
#[derive(Clone, Debug)]
pub struct InjectionPatch {
    add_list: Box<[u8]>,
    append: Box<[u8]>,
}

impl InjectionPatch {
    /// The patches that inject `secret`.
    pub fn new(secret: &str) -> Self {
        let reference = serde_json::json!({ "name": secret });
        let encode = |path: &str, value: serde_json::Value| {
            use base64::Engine;
            let patch = serde_json::json!([{ "op": "add", "path": path, "value": value }]);
            let encoded = base64::engine::general_purpose::STANDARD.encode(patch.to_string());
            let fields = format!(r#","patch":"{encoded}","patchType":"JSONPatch""#);
            fields.into_bytes().into_boxed_slice()
        };
        Self {
            add_list: encode("/spec/imagePullSecrets", serde_json::json!([reference])),
            append: encode("/spec/imagePullSecrets/-", reference.clone()),
        }
    }

    fn fields(&self, patch: Patch) -> &[u8] {
        match patch {
            Patch::None => &[],
            Patch::AddList => &self.add_list,
            Patch::Append => &self.append,
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

    /// The AdmissionReview to send. Most of the usual one is the same every time and is copied: serde_json would look at
    /// each of its bytes.
    pub fn to_json(&self, uid: &str, injection: &InjectionPatch) -> Vec<u8> {
        let mut body = Vec::with_capacity(USUAL_ANSWER_BYTES);
        body.extend_from_slice(
            br#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"#,
        );
        write(&mut body, uid);
        let allowed: &[u8] = match self.refusal {
            None => br#","allowed":true"#,
            Some(_) => br#","allowed":false"#,
        };
        body.extend_from_slice(allowed);
        if let Some(message) = &self.refusal {
            body.extend_from_slice(br#","status":"#);
            write(&mut body, &Status::forbidden(message));
        }
        body.extend_from_slice(injection.fields(self.patch));
        if !self.warnings.is_empty() {
            let warnings: Vec<String> = self.warnings.iter().map(|text| for_people(text)).collect();
            body.extend_from_slice(br#","warnings":"#);
            write(&mut body, &warnings);
        }
        if let Some(audit) = &self.audit {
            let findings = for_people(audit);
            body.extend_from_slice(br#","auditAnnotations":"#);
            write(&mut body, &AuditAnnotations { findings });
        }
        body.extend_from_slice(b"}}");
        body
    }
}

/// Strings and numbers always serialise into memory. Half a body would be a failed call, hence failurePolicy's matter.
fn write(body: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let _ = serde_json::to_writer(body, value);
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
