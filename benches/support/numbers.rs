//! Medians, and whether a promise is kept.

/// The middle one; of an even number the mean of the two in the middle.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let (at, odd) = (numbers.len() / 2, numbers.len() % 2 == 1);
    match (at, odd) {
        (0, false) => f64::NAN,
        (_, true) => numbers[at],
        (_, false) => f64::midpoint(numbers[at - 1], numbers[at]),
    }
}

/// `met` or `MISSED`, for a number that may be at most `target`.
pub(crate) fn at_most(number: f64, target: f64) -> &'static str {
    if number <= target { "met" } else { "MISSED" }
}

/// The same for one that must be at least `target`.
pub(crate) fn at_least(number: f64, target: f64) -> &'static str {
    if number >= target { "met" } else { "MISSED" }
}
