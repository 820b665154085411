//! Which namespaces are to be looked into, why, and when. No I/O, no clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// The first and the longest wait before a namespace that could not be mended is looked into again.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// The longest where a Secret still holds what is granted no more.
const LONGEST_OVERRULED_WAIT: Duration = Duration::from_mins(1);

/// Why a namespace is looked into; reasons add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Why {
    /// What its Pods need counts too, for which they are listed; what it pins always does.
    pub(super) pods: bool,
    /// Its Secret was deleted or edited by somebody, who may do so again and again.
    pub(super) touched: bool,
}

/// What came of looking into a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mended {
    /// There is nothing more to do.
    Done,
    /// It could not be mended, and there is no use in trying before that moment.
    Failed {
        /// When the tokens may be asked for again.
        not_before: Instant,
    },
    /// It could not be mended, and its Secret still holds what is granted no more: that waits for nobody.
    Overruled,
    /// It is left alone until then.
    Wait {
        /// When it may be mended again.
        until: Instant,
    },
}

#[derive(Clone, Copy, Debug)]
struct Item {
    why: Why,
    /// How often in a row it could not be mended.
    streak: u32,
    /// Whether its turn comes before that of others.
    first: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    InLine,
    UnderWay,
    /// Being looked into, and something has happened again meanwhile.
    Overtaken,
    Waiting(Instant),
}

/// The namespaces to be looked into: one item each. There can be thousands while ECR is down, so nothing here that
/// happens at every step looks at all of them.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    items: BTreeMap<Box<str>, Item>,
    line: VecDeque<Box<str>>,
    /// Those of [`Stage::Waiting`], the next first.
    waiting: BTreeSet<(Instant, Box<str>)>,
    /// How many could not be mended at the last try.
    failing: usize,
}

impl Agenda {
    /// Puts a namespace into the line, or to its front, before all that can wait.
    pub(super) fn add(&mut self, namespace: Box<str>, why: Why, first: bool) {
        let Some(item) = self.items.get_mut(&namespace) else {
            let item = Item {
                why,
                streak: 0,
                first,
                stage: Stage::InLine,
            };
            self.items.insert(namespace.clone(), item);
            self.enqueue(namespace, first);
            return;
        };
        item.why.pods |= why.pods;
        item.why.touched |= why.touched;
        match item.stage {
            Stage::InLine | Stage::Overtaken => {}
            Stage::UnderWay => item.stage = Stage::Overtaken,
            Stage::Waiting(at) => {
                item.stage = Stage::InLine;
                let waiting = (at, namespace);
                self.waiting.remove(&waiting);
                self.enqueue(waiting.1, first);
            }
        }
    }

    /// Puts those into the line whose time has come, and tells when the next one's will.
    pub(super) fn ripen(&mut self, now: Instant) -> Option<Instant> {
        while self.waiting.first().is_some_and(|(at, _)| *at <= now) {
            let Some((_, namespace)) = self.waiting.pop_first() else {
                break;
            };
            let Some(item) = self.items.get_mut(&namespace) else {
                continue;
            };
            item.stage = Stage::InLine;
            let first = item.first;
            self.enqueue(namespace, first);
        }
        self.waiting.first().map(|(at, _)| *at)
    }

    /// Whether somebody stands in line.
    pub(super) fn has_next(&self) -> bool {
        !self.line.is_empty()
    }

    /// The first in line, which is under way from now on.
    pub(super) fn next(&mut self) -> Option<(Box<str>, Why)> {
        let namespace = self.line.pop_front()?;
        let item = self.items.get_mut(&namespace)?;
        item.stage = Stage::UnderWay;
        Some((namespace, item.why))
    }

    /// What came of a namespace that was under way; `jitter` makes a random part of a wait.
    pub(super) fn finished(
        &mut self,
        namespace: Box<str>,
        mended: Mended,
        now: Instant,
        jitter: impl FnOnce(Duration) -> Duration,
    ) {
        let Some(item) = self.items.get_mut(&namespace) else {
            return;
        };
        let overtaken = item.stage == Stage::Overtaken;
        let has_failed = item.streak > 0;
        item.first = mended == Mended::Overruled;
        let failed = |longest: Duration, not_before: Instant| {
            self.failing += usize::from(!has_failed);
            let wait = (FIRST_WAIT * 2u32.pow(item.streak.min(8))).min(longest);
            item.streak = item.streak.saturating_add(1);
            (now + wait).max(not_before) + jitter(wait / 2)
        };
        let at = match mended {
            Mended::Done => {
                self.failing -= usize::from(has_failed);
                if !overtaken {
                    self.items.remove(&namespace);
                    return;
                }
                item.streak = 0;
                now
            }
            Mended::Failed { not_before } => failed(LONGEST_WAIT, not_before),
            Mended::Overruled => failed(LONGEST_OVERRULED_WAIT, now),
            Mended::Wait { until } => until.max(now),
        };
        if overtaken {
            item.stage = Stage::InLine;
            self.enqueue(namespace, false);
        } else {
            item.stage = Stage::Waiting(at);
            self.waiting.insert((at, namespace));
        }
    }

    /// How many could not be mended at the last try.
    pub(super) fn failing(&self) -> usize {
        self.failing
    }

    fn enqueue(&mut self, namespace: Box<str>, first: bool) {
        if first {
            self.line.push_front(namespace);
        } else {
            self.line.push_back(namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PINS: Why = Why {
        pods: false,
        touched: false,
    };
    const PODS: Why = Why {
        pods: true,
        touched: false,
    };

    #[tokio::test(start_paused = true)]
    async fn each_stands_in_line_once_and_what_happens_meanwhile_is_not_lost() {
        let now = Instant::now();
        let mut agenda = Agenda::default();
        agenda.add("a".into(), PODS, false);
        agenda.add("b".into(), PINS, true);
        agenda.add("a".into(), PINS, true);
        assert_eq!(agenda.next(), Some(("b".into(), PINS)));
        assert_eq!(agenda.next(), Some(("a".into(), PODS)));
        assert!(!agenda.has_next());
        agenda.add("a".into(), PINS, true);
        agenda.finished("a".into(), Mended::Done, now, |wait| wait);
        agenda.finished("b".into(), Mended::Done, now, |wait| wait);
        assert_eq!(agenda.ripen(now), None);
        assert_eq!(agenda.next(), Some(("a".into(), PODS)));
        agenda.finished("a".into(), Mended::Done, now, |wait| wait);
        assert!(agenda.items.is_empty() && !agenda.has_next());
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_be_mended_waits_longer_each_time() {
        let mut now = Instant::now();
        let mut agenda = Agenda::default();
        agenda.add("a".into(), PINS, false);
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert!(agenda.next().is_some());
            let failed = Mended::Failed { not_before: now };
            agenda.finished("a".into(), failed, now, |_| Duration::ZERO);
            let next = agenda.ripen(now).unwrap();
            waits.push((next - now).as_secs());
            assert!(!agenda.has_next());
            now = next;
            agenda.ripen(now);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
        assert_eq!(agenda.failing(), 1);
        // Something new does not wait.
        agenda.next();
        let not_before = now + LONGEST_WAIT;
        agenda.finished("a".into(), Mended::Failed { not_before }, now, |wait| wait);
        agenda.add("a".into(), PINS, false);
        assert!(agenda.has_next());
        assert_eq!(
            agenda.ripen(now + 2 * LONGEST_WAIT),
            None,
            "it waits no more"
        );
        agenda.next();
        assert!(!agenda.has_next(), "and stands in line once");
        agenda.finished("a".into(), Mended::Done, now, |wait| wait);
        assert_eq!(agenda.failing(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_granted_no_more_is_tried_within_a_minute_and_before_all_others() {
        let mut now = Instant::now();
        let mut agenda = Agenda::default();
        agenda.add("a".into(), PODS, false);
        let mut waits = Vec::new();
        for _ in 0..6 {
            assert_eq!(agenda.next(), Some(("a".into(), PODS)));
            agenda.finished("a".into(), Mended::Overruled, now, |_| Duration::ZERO);
            let next = agenda.ripen(now).unwrap();
            waits.push((next - now).as_secs());
            now = next;
            agenda.add("b".into(), PODS, false);
            agenda.ripen(now);
        }
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        assert_eq!(agenda.failing(), 1);
        agenda.next();
        agenda.finished("a".into(), Mended::Done, now, |wait| wait);
        assert_eq!(agenda.failing(), 0);
        assert_eq!(agenda.next(), Some(("b".into(), PODS)));
    }

    #[tokio::test(start_paused = true)]
    async fn whose_time_has_come_first_stands_first() {
        let now = Instant::now();
        let mut agenda = Agenda::default();
        for (namespace, minutes) in [("a", 3), ("b", 1), ("c", 2)] {
            agenda.add(namespace.into(), PODS, false);
            agenda.next();
            let until = now + Duration::from_mins(minutes);
            agenda.finished(namespace.into(), Mended::Wait { until }, now, |wait| wait);
        }
        let at = |minutes| now + Duration::from_mins(minutes);
        assert_eq!(agenda.ripen(now), Some(at(1)));
        assert_eq!(agenda.ripen(at(2)), Some(at(3)));
        let order = [agenda.next(), agenda.next()].map(|next| next.unwrap().0);
        assert_eq!(order, ["b", "c"].map(Box::from));
        assert!(!agenda.has_next());
    }
}
