//! What is read from disk, always by contents.

pub mod certificates;
pub mod policies;

pub use certificates::{AuthorityFile, CertificateFiles};
pub use policies::{PolicyFilesError, read_policies};
