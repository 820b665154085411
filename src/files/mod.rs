//! What is read from disk, always by contents, and how files are replaced.

pub mod atomic;
pub mod certificates;
pub mod policies;

pub use atomic::write_atomically;
pub use certificates::{AuthorityFile, CertificateFiles};
pub use policies::{PolicyFiles, PolicyFilesError, parse_policies, read_policies};
