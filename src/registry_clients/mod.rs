//! Clients that pull from registries by themselves (docker, helm, podman and all that read their files): where they keep
//! credentials, and how one is put there.
//!
//! | module | does |
//! |---|---|
//! | [`location`] | which file a client reads |
//! | [`document`] | what such a file holds; pure |
//! | [`helper`] | the protocol of `docker-credential-…` programs |
//! | [`store`] | puts a credential where the file says it belongs |

pub mod document;
pub mod helper;
pub mod location;
pub mod store;

pub use location::{Client, Environment};
pub use store::{ClientError, Destination, answers_for, put};
