//! The `admission.k8s.io/v1` AdmissionReview on the wire: what is read of a request, and how an answer is written.
//!
//! Own types, because a typed `Pod` costs five times as much and fails on fields that nobody here needs, and because
//! every failure after the envelope must still be answered with the caller's uid.

mod answer;
mod envelope;
mod pod;
mod text;
mod view;
mod workload;

pub use answer::{Answer, InjectionPatch, Patch, at_most, for_people};
pub use envelope::{Envelope, Operation, Review, Unreadable, parse, parse_front};
pub use pod::{ImageField, ImageList, Pod};
pub use workload::parse_workload;
