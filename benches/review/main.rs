//! What one warm admission costs without any network: parse, decide, patch, answer; against serde_json skipping the
//! same bytes, and against kube's typed `AdmissionReview<Pod>`; with the allocator that `serve` has.

mod contest;
#[path = "../support/mod.rs"]
mod support;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> anyhow::Result<()> {
    contest::run("review")
}
