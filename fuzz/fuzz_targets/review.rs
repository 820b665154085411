//! Fuzzes the reading of AdmissionReviews.

#![no_main]

#[path = "../checks/review.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::review(data));
