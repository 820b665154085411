//! Serving: connections, limits, readiness, and an orderly end.

pub mod activity;
pub mod admin;
pub mod body;
mod connection;
pub mod listener;
pub mod metrics;
pub mod routes;
pub mod shutdown;
pub mod supervise;
pub mod tls;
