//! When a namespace that is due, and could not be renewed, has its next turn. No I/O, no clock.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// The first and the longest wait before a namespace that could not be renewed is tried again.
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// The part of what a token has left that may pass before it is tried again, and the least wait for that reason: whatever
/// failed may fail again, and a wait that outlasts the token gives it up.
const TRIES_PER_REST: u32 = 6;
const LEAST_LAST_WAIT: Duration = Duration::from_mins(1);
/// The wait before Pods are asked for again whether they use what none used: a warm admission tells nobody.
const UNUSED_WAIT: Duration = Duration::from_hours(1);

/// The namespaces that are due and must wait all the same.
#[derive(Debug, Default)]
pub(super) struct Retries {
    waiting: HashMap<Box<str>, Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// How often in a row it had to.
    streak: u32,
    retry_at: Instant,
    /// Whether there is something to renew.
    has_failed: bool,
}

impl Retries {
    /// It could not be renewed, and its first token to expire has so much left, nothing if it has expired already;
    /// `jitter` makes a random part of a wait.
    pub(super) fn failed(
        &mut self,
        namespace: &str,
        left: Duration,
        now: Instant,
        jitter: impl FnOnce(Duration) -> Duration,
    ) {
        let streak = self.streak(namespace);
        let patience = FIRST_WAIT * 2u32.pow(streak.min(8));
        let rest = if left.is_zero() {
            LONGEST_WAIT
        } else {
            (left / TRIES_PER_REST).max(LEAST_LAST_WAIT)
        };
        let wait = patience.min(rest).min(LONGEST_WAIT);
        self.wait(namespace, now + wait + jitter(wait / 2), true);
    }

    /// It is due, and no Pod uses what is.
    pub(super) fn unused(
        &mut self,
        namespace: &str,
        now: Instant,
        jitter: impl FnOnce(Duration) -> Duration,
    ) {
        let retry_at = now + UNUSED_WAIT + jitter(UNUSED_WAIT / 2);
        self.wait(namespace, retry_at, false);
    }

    /// It is not due any more.
    pub(super) fn done(&mut self, namespace: &str) {
        self.waiting.remove(namespace);
    }

    /// Forgets those that had their turn long ago, and did not take it: they are renewed, or gone.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.waiting
            .retain(|_, waiting| now < waiting.retry_at + LONGEST_WAIT);
    }

    /// Whether it must wait still.
    pub(super) fn must_wait(&self, namespace: &str, now: Instant) -> bool {
        let waiting = self.waiting.get(namespace);
        waiting.is_some_and(|waiting| now < waiting.retry_at)
    }

    /// When the first of those that could not be renewed has its turn.
    pub(super) fn next(&self) -> Option<Instant> {
        self.failing().map(|(_, waiting)| waiting.retry_at).min()
    }

    /// Those that could not be renewed and have their turn.
    pub(super) fn ripe(&self, now: Instant) -> impl Iterator<Item = &str> {
        let ripe = self
            .failing()
            .filter(move |(_, waiting)| waiting.retry_at <= now);
        ripe.map(|(namespace, _)| namespace)
    }

    fn failing(&self) -> impl Iterator<Item = (&str, &Waiting)> {
        let all = self.waiting.iter();
        let failing = all.filter(|(_, waiting)| waiting.has_failed);
        failing.map(|(namespace, waiting)| (&**namespace, waiting))
    }

    fn streak(&self, namespace: &str) -> u32 {
        let waiting = self.waiting.get(namespace);
        waiting.map_or(0, |waiting| waiting.streak)
    }

    fn wait(&mut self, namespace: &str, retry_at: Instant, has_failed: bool) {
        let streak = self.streak(namespace).saturating_add(1);
        let waiting = Waiting {
            streak,
            retry_at,
            has_failed,
        };
        self.waiting.insert(namespace.into(), waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    /// The waits of a namespace whose token has `left` to live at the first try, until there have been as many or it has
    /// expired, each as long as jitter can make it.
    fn waits(left: Duration, tries: usize) -> Vec<u64> {
        let start = Instant::now();
        let (mut retries, mut now) = (Retries::default(), start);
        let mut waits = Vec::new();
        while waits.len() < tries && now < start + left {
            retries.failed("a", left.saturating_sub(now - start), now, |most| most);
            let next = retries.next().unwrap();
            waits.push((next - now).as_secs());
            assert!(retries.must_wait("a", next - Duration::from_nanos(1)));
            assert!(!retries.must_wait("a", next));
            assert_eq!(retries.ripe(now).count(), 0);
            assert_eq!(retries.ripe(next).collect::<Vec<_>>(), ["a"]);
            now = next;
        }
        waits
    }

    #[test]
    fn who_cannot_be_renewed_waits_longer_each_time_up_to_a_quarter_of_an_hour() {
        assert_eq!(waits(6 * HOUR, 7), [45, 90, 180, 360, 720, 900, 900]);
    }

    #[test]
    fn somebody_tries_again_in_the_last_two_minutes_of_a_token() {
        for left in (2..=120).map(Duration::from_mins) {
            let waits = waits(left, 99);
            let before_last: u64 = waits[..waits.len() - 1].iter().sum();
            let at_last = left.saturating_sub(Duration::from_secs(before_last));
            assert!(at_last < Duration::from_mins(2), "{left:?} left: {waits:?}");
        }
    }

    #[test]
    fn what_has_expired_is_tried_as_patiently_as_what_lasts() {
        let now = Instant::now();
        let mut retries = Retries::default();
        for _ in 0..9 {
            retries.failed("a", Duration::ZERO, now, |_| Duration::ZERO);
        }
        assert_eq!(retries.next(), Some(now + LONGEST_WAIT));
    }

    #[test]
    fn what_no_pod_uses_waits_and_is_no_failure() {
        let now = Instant::now();
        let mut retries = Retries::default();
        retries.unused("a", now, |_| Duration::ZERO);
        assert_eq!(retries.next(), None);
        assert!(retries.must_wait("a", now + UNUSED_WAIT / 2));
        assert_eq!(retries.ripe(now + 2 * UNUSED_WAIT).count(), 0);
        retries.forget_old(now + UNUSED_WAIT);
        assert!(retries.must_wait("a", now), "its turn has only come");
        retries.forget_old(now + UNUSED_WAIT + LONGEST_WAIT);
        assert!(retries.waiting.is_empty());
    }

    #[test]
    fn who_was_renewed_starts_afresh() {
        let now = Instant::now();
        let mut retries = Retries::default();
        for _ in 0..3 {
            retries.failed("a", HOUR, now, |_| Duration::ZERO);
        }
        retries.done("a");
        assert_eq!(retries.next(), None);
        retries.failed("a", HOUR, now, |_| Duration::ZERO);
        assert_eq!(retries.next(), Some(now + FIRST_WAIT));
    }
}
