//! The seeds that simulations run with.

use std::ops::Range;

/// The usual seeds, or those of `SIMULATION_SEEDS=5000..5100 cargo test NAME`.
pub(crate) fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(asked) = std::env::var("SIMULATION_SEEDS") else {
        return usual;
    };
    let (from, to) = asked.split_once("..").expect("SIMULATION_SEEDS=FROM..TO");
    from.parse().unwrap()..to.parse().unwrap()
}
