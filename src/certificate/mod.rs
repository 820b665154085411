//! The serving certificate: what may be served, what is served, and how it is replaced without a restart.

pub mod clients;
pub mod development;
mod error;
mod expiry;
mod issue;
mod leaf;
pub mod managed;
pub mod metrics;
pub mod pair;
pub mod reload;
pub mod resolver;

pub use clients::{AcceptedClients, AuthoritySource, ClientReloader};
pub use error::PairError;
pub use leaf::subject_names;
pub use pair::{CertificatePair, PemPair};
pub use reload::{CertificateSource, Reloader, ReloaderOptions};
pub use resolver::ServedCertificate;
