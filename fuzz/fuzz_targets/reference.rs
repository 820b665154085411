//! Fuzzes the reference grammar and the decision about an image.

#![no_main]

#[path = "../checks/reference.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::reference(data));
