//! The envelope of a review: everything beside the Pod itself, and the one pass that reads both.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::answer::at_most;
use super::pod::Pod;
use super::text::Text;
use super::view::{all, fields, once, skip, view};

/// The longest reason why a body cannot be read, in characters.
const LONGEST_REASON: usize = 200;

/// What the API server says about a request beside its object.
#[derive(Debug, Default)]
pub struct Envelope<'a> {
    api_version: Option<Text<'a>>,
    review_kind: Option<Text<'a>>,
    uid: Option<Text<'a>>,
    kind: Option<Kind<'a>>,
    subresource: Option<Text<'a>>,
    name: Option<Text<'a>>,
    namespace: Option<Text<'a>>,
    operation: Option<Text<'a>>,
    dry_run: Option<bool>,
}

view! {
    "a kind":
    struct Kind<'a> {
        group = "group": Text<'a>,
        kind = "kind": Text<'a>,
    }
}

/// What is done to the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A new object.
    Create,
    /// A change of an existing one.
    Update,
    /// DELETE, CONNECT, or what a later API adds: nothing that we judge.
    Other,
}

impl Envelope<'_> {
    /// The request's uid: an answer must carry it, or the API server discards the answer.
    pub fn uid(&self) -> &str {
        self.uid.as_deref().unwrap_or_default()
    }

    /// The API group of the object; empty for the core group.
    pub fn group(&self) -> &str {
        let kind = self.kind.as_ref();
        kind.and_then(|kind| kind.group.as_deref())
            .unwrap_or_default()
    }

    /// The kind of the object, such as `Pod`; empty when the envelope does not say.
    pub fn kind(&self) -> &str {
        let kind = self.kind.as_ref();
        kind.and_then(|kind| kind.kind.as_deref())
            .unwrap_or_default()
    }

    /// The subresource, such as `ephemeralcontainers`; empty for none.
    pub fn subresource(&self) -> &str {
        self.subresource.as_deref().unwrap_or_default()
    }

    /// The name of the object; empty on CREATE with generateName.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The namespace, which is authoritative over the object's own.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }

    /// What is done. An envelope that does not say, as one that was cut off, is judged like the strictest: CREATE.
    pub fn operation(&self) -> Operation {
        match self.operation.as_deref() {
            Some("CREATE") | None => Operation::Create,
            Some("UPDATE") => Operation::Update,
            Some(_) => Operation::Other,
        }
    }

    /// Whether nothing may be written for this request.
    pub fn dry_run(&self) -> bool {
        self.dry_run.unwrap_or(false)
    }

    /// Why this cannot be answered as a review at all; `None` when it can.
    fn fault(&self) -> Option<&'static str> {
        if self.api_version.as_deref() != Some("admission.k8s.io/v1") {
            Some("its apiVersion is not admission.k8s.io/v1")
        } else if self.review_kind.as_deref() != Some("AdmissionReview") {
            Some("its kind is not AdmissionReview")
        } else if self.uid().is_empty() {
            Some("it has no request with a uid")
        } else {
            None
        }
    }
}

/// A review whose envelope and Pods could be read.
#[derive(Debug, Default)]
pub struct Review<'a> {
    /// Everything beside the objects.
    pub envelope: Envelope<'a>,
    /// The new state; absent on DELETE.
    pub object: Option<Pod<'a>>,
    /// The old state; present on UPDATE.
    pub old_object: Option<Pod<'a>>,
}

/// Why a body is no readable review.
#[derive(Debug)]
pub enum Unreadable<'a> {
    /// Nothing that could be answered with a uid: the caller gets HTTP 400 with this reason.
    NotAReview(String),
    /// The envelope was read and the object was not: the caller gets a review answer that says why.
    Object {
        /// What was read before the failure.
        envelope: Box<Envelope<'a>>,
        /// Where and why reading failed.
        reason: String,
    },
}

/// Reads a review in one pass over `body`.
///
/// # Errors
/// [`Unreadable`], which keeps the envelope whenever that much could be read.
pub fn parse(body: &[u8]) -> Result<Review<'_>, Unreadable<'_>> {
    let mut review = Review::default();
    let outcome = read(body, true, &mut review);
    match (outcome, review.envelope.fault()) {
        (Ok(()), None) => Ok(review),
        (Ok(()), Some(fault)) => Err(Unreadable::NotAReview(format!(
            "this is no AdmissionReview: {fault}"
        ))),
        (Err(error), _) => Err(unreadable(body, &error)),
    }
}

/// Parts of the envelope may stand behind the object that could not be read, so the objects are skipped this time.
fn unreadable<'a>(body: &'a [u8], error: &serde_json::Error) -> Unreadable<'a> {
    let mut review = Review::default();
    let _ = read(body, false, &mut review);
    let envelope = review.envelope;
    // The error can quote a value as long as the body.
    let reason = at_most(LONGEST_REASON, &error.to_string());
    if envelope.fault().is_none() {
        Unreadable::Object {
            envelope: Box::new(envelope),
            reason,
        }
    } else {
        Unreadable::NotAReview(format!("this is no AdmissionReview: {reason}"))
    }
}

/// Reads the envelope at the front of a body that was cut off. The API server writes it before the objects.
pub fn parse_front(front: &[u8]) -> Option<Envelope<'_>> {
    match parse(front) {
        Ok(review) => Some(review.envelope),
        Err(Unreadable::Object { envelope, .. }) => Some(*envelope),
        Err(Unreadable::NotAReview(_)) => None,
    }
}

/// Fills a review while it reads, so that what came before a failure is kept; without `objects` they are skipped unread.
fn read<'a>(body: &'a [u8], objects: bool, review: &mut Review<'a>) -> serde_json::Result<()> {
    all(body, ReviewSeed { review, objects })
}

struct ReviewSeed<'r, 'de> {
    review: &'r mut Review<'de>,
    objects: bool,
}

struct RequestSeed<'r, 'de>(ReviewSeed<'r, 'de>);

impl<'de> DeserializeSeed<'de> for ReviewSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReviewSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an AdmissionReview")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { review, objects } = self;
        let mut request_seen = false;
        fields! { map:
            api_version = "apiVersion" => once("apiVersion", &mut review.envelope.api_version, map),
            kind = "kind" => once("kind", &mut review.envelope.review_kind, map),
            request = "request" => {
                if request_seen {
                    return Err(A::Error::duplicate_field("request"));
                }
                request_seen = true;
                let review = &mut *review;
                map.next_value_seed(RequestSeed(ReviewSeed { review, objects }))
            },
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for RequestSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RequestSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an AdmissionRequest")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let ReviewSeed { review, objects } = self.0;
        let Review {
            envelope,
            object,
            old_object,
        } = review;
        fields! { map:
            uid = "uid" => once("uid", &mut envelope.uid, map),
            kind = "kind" => once("kind", &mut envelope.kind, map),
            subresource = "subResource" => once("subResource", &mut envelope.subresource, map),
            name = "name" => once("name", &mut envelope.name, map),
            namespace = "namespace" => once("namespace", &mut envelope.namespace, map),
            operation = "operation" => once("operation", &mut envelope.operation, map),
            dry_run = "dryRun" => once("dryRun", &mut envelope.dry_run, map),
            object = "object" => if objects { once("object", object, map) } else { skip(map) },
            old_object = "oldObject" => if objects { once("oldObject", old_object, map) } else { skip(map) },
        }
        Ok(())
    }
}
