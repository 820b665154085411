//! ecr-admission: a Kubernetes mutating admission webhook that makes private Amazon ECR images *just pull*.
//!
//! ```text
//!  API server ──HTTPS──▶ server ─▶ review ─▶ image ─▶ policy ─▶ pull_secret ─▶ patch ─▶ answer
//!                        (TLS,      (wire,    (grammar, (what is    (fresh? else
//!                        limits,     Pod view) ECR host) allowed,    ensure)
//!                                                        whose
//!                                                        identity)
//! ```
//!
//! Layers; an import goes down only, and inside a layer only to a module named before it (`tests/architecture`
//! keeps this true):
//!
//! | layer | modules | may do |
//! |---|---|---|
//! | 0 domain | [`image`] [`policy`] [`review`] [`manifest`] [`pull_secret`] | compute: no I/O, no clock, no globals |
//! | 1 core | [`clock`] [`watch`] [`attention`] [`health`] [`namespace`] [`token`] [`secret`] [`rulebook`] [`event`] [`policy_book`] [`inventory`] [`service_account`] [`repository`] [`cleanup`] [`certificate`] | wait and decide: knows no kube client, no AWS client |
//! | 2a adapters | [`aws`] [`kubernetes`] [`files`] [`registry_clients`] | implement the traits of layer 1, one outside system each |
//! | 2b service | [`admit`] [`refresh`] [`report`] [`server`] | compose 0 and 1, never 2a |
//! | 3 composition | [`assembly`] [`config`] [`commands`] | wire everything; no logic of its own |

pub mod admit;
pub mod assembly;
pub mod attention;
pub mod aws;
pub mod certificate;
pub mod cleanup;
pub mod clock;
pub mod commands;
pub mod config;
pub mod event;
pub mod files;
pub mod health;
pub mod image;
pub mod inventory;
pub mod kubernetes;
pub mod manifest;
pub mod namespace;
pub mod policy;
pub mod policy_book;
pub mod pull_secret;
pub mod refresh;
pub mod registry_clients;
pub mod report;
pub mod repository;
pub mod review;
pub mod rulebook;
pub mod secret;
pub mod server;
pub mod service_account;
pub mod token;
pub mod watch;
