//! How fresh a token is.

use std::time::Duration;

/// The longest floor: a token with less than this left is not handed to a new Pod, however long its whole life.
const HIGHEST_FLOOR: Duration = Duration::from_hours(1);

/// What a token's remaining life calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Freshness {
    /// Below the floor or expired: an admission waits for a new one.
    Unusable,
    /// At most half of its life left, but above the floor: used, and renewed in the background.
    Aging,
    /// More than half of its life left.
    Fresh,
}

impl Freshness {
    /// Judges a token by what is left of its whole `life`.
    pub fn of(life: Duration, left: Duration) -> Self {
        if left <= floor(life) {
            Self::Unusable
        } else if left <= life / 2 {
            Self::Aging
        } else {
            Self::Fresh
        }
    }

    /// Whether a Pod may be admitted with it.
    pub fn is_usable(self) -> bool {
        self > Self::Unusable
    }
}

/// The least life that a token must have left to be used: the smaller of one hour and a quarter of its life.
pub fn floor(life: Duration) -> Duration {
    (life / 4).min(HIGHEST_FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_twelve_hour_token_is_fresh_above_six_hours_and_usable_above_one() {
        let life = Duration::from_hours(12);
        let second = Duration::from_secs(1);
        let cases = [
            (life, Freshness::Fresh),
            (life / 2 + second, Freshness::Fresh),
            (life / 2, Freshness::Aging),
            (Duration::from_hours(1) + second, Freshness::Aging),
            (Duration::from_hours(1), Freshness::Unusable),
            (Duration::ZERO, Freshness::Unusable),
        ];
        for (left, expected) in cases {
            assert_eq!(Freshness::of(life, left), expected, "{left:?} left");
        }
    }

    #[test]
    fn a_short_lived_token_has_a_quarter_of_its_life_as_floor() {
        assert_eq!(floor(Duration::from_mins(20)), Duration::from_mins(5));
        assert_eq!(
            Freshness::of(Duration::from_mins(20), Duration::from_mins(6)),
            Freshness::Aging
        );
    }

    #[test]
    fn a_token_without_life_is_unusable() {
        assert_eq!(
            Freshness::of(Duration::ZERO, Duration::ZERO),
            Freshness::Unusable
        );
    }
}
