//! What is allowed, and whose identity pulls it.

mod glob;
mod pattern;
mod prefixes;

mod session;

pub mod identity;
pub mod native;

pub mod compiled;
pub mod rule;
pub mod spec;

pub mod compile;

mod judge;
mod shown;

mod combined;
mod demand;
mod grants;
mod isolation;
mod set;
mod unreadable;

mod correct;
mod message;
mod registry;

pub mod decide;

#[cfg(test)]
mod properties;

pub use combined::Combined;
pub use compile::{Compiled, Invalid, Labels, PolicyVersion, compile};
pub use compiled::{Action, DefaultGrant, OnFailure, Policy};
pub use decide::{Credential, Decider, Decision, decide, decide_for};
pub use grants::Conflict;
pub use identity::{Identity, RoleIdentity};
pub use isolation::Isolation;
pub use native::NativeRegistry;
pub use registry::{NotARegistry, private_registry};
pub use rule::{Finding, Rule};
pub use session::is_cluster_name;
pub use set::{PolicySet, Selection};
pub use unreadable::Unreadable;
