//! What the benchmarks share.

#![allow(dead_code, reason = "each benchmark takes what it needs of it")]

pub(crate) mod numbers;
pub(crate) mod review;
pub(crate) mod service;
pub(crate) mod tenants;
