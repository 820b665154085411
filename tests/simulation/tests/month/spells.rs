//! When everything worked that a region's tokens need: what excuses a failure, and what does not.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How far back anything is looked for: longer than a token lives.
const MEMORY: Duration = Duration::from_hours(26);

/// The spells in which everything worked.
#[derive(Default)]
pub(crate) struct Spells {
    past: VecDeque<(Instant, Instant)>,
    since: Option<Instant>,
}

impl Spells {
    /// Whether everything works from `now` on.
    pub(crate) fn observe(&mut self, works: bool, now: Instant) {
        match (self.since, works) {
            (None, true) => self.since = Some(now),
            (Some(since), false) => {
                self.past.push_back((since, now));
                self.since = None;
            }
            _ => {}
        }
        while self.past.front().is_some_and(|(_, to)| now - *to > MEMORY) {
            self.past.pop_front();
        }
    }

    /// How long everything has worked.
    pub(crate) fn lasting(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now - since)
    }

    /// The longest spell between two moments.
    pub(crate) fn longest(&self, from: Instant, to: Instant) -> Duration {
        let current = self.since.map(|since| (since, to));
        let spells = self.past.iter().copied().chain(current);
        let lengths =
            spells.map(|(start, end)| end.min(to).saturating_duration_since(start.max(from)));
        lengths.max().unwrap_or_default()
    }
}

#[test]
fn a_spell_counts_as_far_as_it_lies_between() {
    let start = Instant::now();
    let at = |minute| start + Duration::from_mins(minute);
    let mut spells = Spells::default();
    for (works, minute) in [(true, 0), (true, 5), (false, 10), (true, 30)] {
        spells.observe(works, at(minute));
    }
    let longest = |from, to| spells.longest(at(from), at(to)).as_secs() / 60;
    assert_eq!(longest(0, 60), 30);
    assert_eq!(longest(0, 30), 10);
    assert_eq!(longest(4, 20), 6);
    assert_eq!(longest(12, 29), 0);
    assert_eq!(spells.lasting(at(45)).as_secs() / 60, 15);
}
