//! What a row of durations says.

use std::time::Duration;

/// The value below which this share of them lies; of none, zero.
pub(super) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list"
    )]
    let place = (last as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or_default()
}

pub(super) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The least and the greatest.
pub(super) fn spread(values: &[f64]) -> (f64, f64) {
    (quantile(values, 0.0), quantile(values, 1.0))
}

pub(super) fn milliseconds(durations: &[Duration]) -> Vec<f64> {
    let each = durations.iter().map(|one| one.as_secs_f64() * 1e3);
    each.collect()
}
