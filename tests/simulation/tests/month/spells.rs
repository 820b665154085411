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

    /// How long everything had worked at a moment that is past.
    pub(crate) fn lasting_at(&self, at: Instant) -> Duration {
        let current = self.since.map(|since| (since, at));
        let mut spells = self.past.iter().copied().chain(current);
        let around = spells.find(|(from, to)| (*from..=*to).contains(&at));
        around.map_or(Duration::ZERO, |(from, _)| at - from)
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
    let lasting = |minute| spells.lasting_at(at(minute)).as_secs() / 60;
    assert_eq!([4, 10, 20, 45].map(lasting), [4, 10, 0, 15]);
}
