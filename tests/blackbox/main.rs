//! Black-box tests: the crate through its public surface, with doubles of the outside systems on loopback. One binary,
//! one module a subject, because linking is what takes the time.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test sets up must work, and clippy's exemption for tests leaves their helpers out"
)]

mod admission;
mod aws;
mod cert_manager;
mod certs;
mod chart;
mod check;
mod cleanup;
mod client_ca;
mod concurrency;
mod decisions;
mod demo;
mod documentation;
mod drain;
mod ecr_hosts;
mod freshness;
mod fuzzed;
mod healing;
mod image;
mod limits;
mod listener;
mod login;
mod manifest;
mod merging;
mod messages;
mod one_shot;
mod one_shot_tenants;
mod patching;
mod pinning;
mod policies;
mod reconciling;
mod redaction;
mod references;
mod refresh_command;
mod refreshing;
mod report;
mod repositories;
mod reviews;
mod routes;
mod secret_store;
mod self_managed;
mod serve;
mod service_accounts;
mod support;
mod telling;
mod tenants;
mod tls;
mod tokens;
mod uninjected;
mod verify;
mod watching;
mod writing;
