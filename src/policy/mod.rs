//! What is allowed, and whose identity pulls it.

pub mod identity;
pub mod native;

pub mod compiled;
pub mod rule;

mod judge;
mod shown;

mod correct;
mod message;
mod registry;

pub mod decide;

#[cfg(test)]
mod properties;

pub use compiled::{Action, OnFailure, Policy};
pub use decide::{Credential, Decision, decide};
pub use identity::Identity;
pub use native::NativeRegistry;
pub use registry::{NotARegistry, private_registry};
pub use rule::{Finding, Rule};
