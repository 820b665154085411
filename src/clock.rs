//! The only source of time and of randomness.
//!
//! Two clocks, because each fails in its own way: the *wall* clock is what certificates and tokens are dated in, and
//! it can jump; the *monotonic* clock never jumps, and knows no dates. Code that decides whether something has expired
//! asks both.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A handle on both clocks and on the jitter source; clones share them.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

/// One moment by both clocks: whoever judges several things by it asks each clock once.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The date and time, as [`Clock::reckoned`].
    pub wall: Timestamp,
    /// By the monotonic clock.
    pub monotonic: Instant,
}

#[derive(Debug)]
struct Inner {
    wall: Wall,
    heard: Mutex<Option<Heard>>,
    jitter: Mutex<fastrand::Rng>,
}

/// What a better clock said, and what ours did at that moment.
#[derive(Clone, Copy, Debug)]
struct Heard {
    said: Timestamp,
    wall: Timestamp,
    monotonic: Instant,
}

#[derive(Debug)]
enum Wall {
    System,
    /// Moves with tokio's clock, so that a test with paused time moves it too, and jumps when told.
    Simulated {
        origin: Instant,
        at_origin: Mutex<Timestamp>,
    },
}

impl Clock {
    /// The machine's own clock, with jitter that differs at every start.
    pub fn system() -> Self {
        Self::with(Wall::System, fastrand::Rng::new())
    }

    /// A wall clock that says `start` now and then follows tokio's clock; jitter comes from `seed`. For tests and
    /// simulations.
    pub fn simulated(start: Timestamp, seed: u64) -> Self {
        let wall = Wall::Simulated {
            origin: Instant::now(),
            at_origin: Mutex::new(start),
        };
        Self::with(wall, fastrand::Rng::with_seed(seed))
    }

    fn with(wall: Wall, rng: fastrand::Rng) -> Self {
        Self(Arc::new(Inner {
            wall,
            heard: Mutex::default(),
            jitter: Mutex::new(rng),
        }))
    }

    /// The time by this machine's wall clock.
    pub fn now(&self) -> Timestamp {
        match &self.0.wall {
            Wall::System => Timestamp::now(),
            Wall::Simulated { origin, at_origin } => {
                let start = *at_origin.lock().unwrap_or_else(PoisonError::into_inner);
                add(start, origin.elapsed())
            }
        }
    }

    /// The time by both clocks.
    pub fn moment(&self) -> Moment {
        let heard = *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (wall, monotonic) = (self.now(), self.monotonic());
        let reckoned = heard.map_or(wall, |heard| {
            let by_wall = Duration::try_from(wall.duration_since(heard.wall));
            let by_monotonic = monotonic.duration_since(heard.monotonic);
            add(heard.said, by_wall.unwrap_or_default().max(by_monotonic))
        });
        Moment {
            wall: reckoned,
            monotonic,
        }
    }

    /// The monotonic time.
    pub fn monotonic(&self) -> Instant {
        Instant::now()
    }

    /// Takes in that it is `at` now by a clock that everybody shares: the API server's.
    pub fn heard(&self, at: Timestamp) {
        let heard = Heard {
            said: at,
            wall: self.now(),
            monotonic: self.monotonic(),
        };
        *self.0.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(heard);
    }

    /// The time by what was heard last and how far this machine's clocks have moved since: what dates of others are
    /// judged by. A wall clock that is hours wrong does not matter then, only one that jumps, until more is heard; the
    /// monotonic clock alone would miss that the machine was suspended. Where nothing was heard, the wall clock's.
    pub fn reckoned(&self) -> Timestamp {
        self.moment().wall
    }

    /// A uniformly random duration below `max`.
    pub fn jitter(&self, max: Duration) -> Duration {
        let mut rng = self.0.jitter.lock().unwrap_or_else(PoisonError::into_inner);
        max.mul_f64(rng.f64())
    }

    /// Moves a simulated wall clock by `by` and leaves the monotonic clock alone, as an administrator or NTP would.
    /// Does nothing to the system's clock.
    pub fn jump(&self, by: SignedDuration) {
        if let Wall::Simulated { at_origin, .. } = &self.0.wall {
            let mut start = at_origin.lock().unwrap_or_else(PoisonError::into_inner);
            *start = start.saturating_add(by).unwrap_or(*start);
        }
    }
}

/// `at` + `by`, held at the end of time instead of overflowing.
pub fn add(at: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by)
        .ok()
        .and_then(|by| at.checked_add(by).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_simulated_wall_clock_follows_paused_time_and_jumps_alone() {
        let start: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
        let clock = Clock::simulated(start, 1);
        let before = clock.monotonic();
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(clock.now(), add(start, Duration::from_mins(1)));

        clock.jump(SignedDuration::from_hours(-1));
        assert_eq!(clock.now(), start + SignedDuration::from_mins(-59));
        assert_eq!(clock.monotonic() - before, Duration::from_mins(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_heard_counts_more_than_a_wall_clock_that_is_wrong() {
        let start: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
        let minutes = |count| start + SignedDuration::from_mins(count);
        for wrong in [
            SignedDuration::from_hours(-6),
            SignedDuration::from_hours(6),
        ] {
            let clock = Clock::simulated(start + wrong, 1);
            assert_eq!(clock.reckoned(), clock.now(), "nothing was heard yet");

            clock.heard(start);
            tokio::time::advance(Duration::from_mins(1)).await;
            assert_eq!(clock.reckoned(), minutes(1));
            assert_eq!(clock.moment().wall, minutes(1));

            clock.jump(SignedDuration::from_mins(-30));
            assert_eq!(clock.reckoned(), minutes(1), "time does not go back");
            // A machine that was suspended looks like one whose clock went ahead.
            clock.jump(SignedDuration::from_mins(90));
            assert_eq!(clock.reckoned(), minutes(61));
            clock.heard(minutes(1));
            assert_eq!(clock.reckoned(), minutes(1), "its last word counts");
        }
    }

    #[test]
    fn jitter_is_repeatable_from_its_seed_and_stays_below_its_maximum() {
        let (a, b) = (
            Clock::simulated(Timestamp::UNIX_EPOCH, 7),
            Clock::simulated(Timestamp::UNIX_EPOCH, 7),
        );
        for _ in 0..1000 {
            let max = Duration::from_secs(10);
            let drawn = a.jitter(max);
            assert_eq!(drawn, b.jitter(max));
            assert!(drawn < max);
        }
    }
}
