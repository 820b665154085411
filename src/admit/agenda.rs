//! Which namespaces are to be looked into, why, and when. No I/O, no clock.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// The first and the longest wait before a namespace that could not be mended is looked into again.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_mins(10);

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

/// The namespaces to be looked into: one item each.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    items: BTreeMap<Box<str>, Item>,
    line: VecDeque<Box<str>>,
}

impl Agenda {
    /// Puts a namespace into the line, or to its front, before all that can wait.
    pub(super) fn add(&mut self, namespace: Box<str>, why: Why, first: bool) {
        let Some(item) = self.items.get_mut(&namespace) else {
            let (streak, stage) = (0, Stage::InLine);
            self.items
                .insert(namespace.clone(), Item { why, streak, stage });
            self.enqueue(namespace, first);
            return;
        };
        item.why.pods |= why.pods;
        item.why.touched |= why.touched;
        match item.stage {
            Stage::InLine | Stage::Overtaken => {}
            Stage::UnderWay => item.stage = Stage::Overtaken,
            Stage::Waiting(_) => {
                item.stage = Stage::InLine;
                self.enqueue(namespace, first);
            }
        }
    }

    /// Puts those into the line whose time has come, and tells when the next one's will.
    pub(super) fn ripen(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for (namespace, item) in &mut self.items {
            if let Stage::Waiting(at) = item.stage {
                if at <= now {
                    item.stage = Stage::InLine;
                    self.line.push_back(namespace.clone());
                } else {
                    next = Some(next.map_or(at, |next| next.min(at)));
                }
            }
        }
        next
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
        let at = match mended {
            Mended::Done if overtaken => {
                item.streak = 0;
                now
            }
            Mended::Done => {
                self.items.remove(&namespace);
                return;
            }
            Mended::Failed { not_before } => {
                let wait = (FIRST_WAIT * 2u32.pow(item.streak.min(8))).min(LONGEST_WAIT);
                item.streak = item.streak.saturating_add(1);
                (now + wait).max(not_before) + jitter(wait / 2)
            }
            Mended::Wait { until } => until.max(now),
        };
        if overtaken {
            item.stage = Stage::InLine;
            self.enqueue(namespace, false);
        } else {
            item.stage = Stage::Waiting(at);
        }
    }

    /// How many could not be mended at the last try.
    pub(super) fn failing(&self) -> usize {
        self.items.values().filter(|item| item.streak > 0).count()
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
    }
}
