//! The core of the product once more, from the very same files: what decides, waits and writes, without any adapter to a
//! cluster, to AWS or to files. That this compiles shows that it needs none.

#[path = "../../../src/admit/mod.rs"]
pub mod admit;
#[path = "../../../src/assembly.rs"]
pub mod assembly;
#[path = "../../../src/attention.rs"]
pub mod attention;
#[path = "../../../src/certificate/mod.rs"]
pub mod certificate;
#[path = "../../../src/clock.rs"]
pub mod clock;
#[path = "../../../src/event/mod.rs"]
pub mod event;
#[path = "../../../src/health.rs"]
pub mod health;
#[path = "../../../src/image/mod.rs"]
pub mod image;
#[path = "../../../src/manifest/mod.rs"]
pub mod manifest;
#[path = "../../../src/namespace/mod.rs"]
pub mod namespace;
#[path = "../../../src/policy/mod.rs"]
pub mod policy;
#[path = "../../../src/pull_secret/mod.rs"]
pub mod pull_secret;
#[path = "../../../src/review/mod.rs"]
pub mod review;
#[path = "../../../src/rulebook/mod.rs"]
pub mod rulebook;
#[path = "../../../src/secret/mod.rs"]
pub mod secret;
#[path = "../../../src/token/mod.rs"]
pub mod token;
#[path = "../../../src/watch.rs"]
pub mod watch;
