//! The same as `review`, with the system's allocator: what an admission takes hardly depends on it, for it allocates
//! little; what the typed review takes does.

mod contest;
#[path = "../support/mod.rs"]
mod support;

fn main() -> anyhow::Result<()> {
    contest::run("review-system-allocator")
}
