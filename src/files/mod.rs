//! What is read from disk, always by contents.

pub mod certificates;

pub use certificates::{AuthorityFile, CertificateFiles};
