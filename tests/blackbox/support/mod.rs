//! What several subjects need: doubles of outside systems that speak their wire protocols.

pub(crate) mod api_server;
pub(crate) mod credentials;
pub(crate) mod ecr;
pub(crate) mod events;
pub(crate) mod https;
pub(crate) mod mint;
pub(crate) mod pki;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod registry;
pub(crate) mod review;
pub(crate) mod service;
pub(crate) mod store;
pub(crate) mod sts;
pub(crate) mod volume;
