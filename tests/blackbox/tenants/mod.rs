//! Tenants: the service under policies that select namespaces, from the admission to the Secret.

mod combined;
mod isolation;
mod removal;
mod world;
