//! Watches the dates of what is served: metric, readiness, and what is degraded.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::certificate::metrics::CertificateMetrics;
use crate::certificate::pair::{CertificatePair, Fingerprint};
use crate::clock::Clock;
use crate::health::{Condition, Gate, Health};

/// A served leaf that expires within this time makes the process unready: a new connection could fail.
const UNUSABLE_BEFORE_EXPIRY: Duration = Duration::from_mins(1);

/// Degraded when less than this part of the leaf's life is left. Issuers renew at a third or more (cert-manager and we
/// ourselves: at a third), so whoever sees this has a renewal that fails. A leaf with so short a life that a minute is
/// more than this part of it is unusable only from here on.
const DEGRADED_PART_OF_LIFE: u32 = 10;

/// Tells of the expiry of what is served.
#[derive(Debug)]
pub(crate) struct Expiry {
    clock: Clock,
    metrics: CertificateMetrics,
    usable: Gate,
    expiring: Condition,
    /// When the pair that was last looked at expires by the monotonic clock: the wall clock may be set back.
    deadline: Mutex<Option<(Fingerprint, Instant)>>,
}

/// How much of a pair's life is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remaining {
    /// Renewal is not overdue.
    Enough,
    /// It should have been renewed by now.
    Little,
    /// A new connection could fail.
    Unusable,
}

impl Expiry {
    pub(crate) fn new(clock: Clock, health: &Health, metrics: CertificateMetrics) -> Self {
        Self {
            clock,
            metrics,
            usable: health.gate("certificate", "not checked yet"),
            expiring: health.condition("certificate-expiry"),
            deadline: Mutex::default(),
        }
    }

    /// Nothing can be served, for this reason.
    pub(crate) fn nothing(&self, reason: impl Into<String>) {
        self.usable.hold(reason);
    }

    /// Looks at the dates of what is served. `objection` is another reason not to be ready.
    pub(crate) fn check(&self, served: &CertificatePair, objection: Option<String>) {
        let not_after = served.not_after;
        self.metrics.served(not_after);
        let remaining = self.remaining(served);
        match remaining {
            Remaining::Enough => self.expiring.clear(),
            Remaining::Little => self.expiring.set(format!(
                "the served certificate expires at {not_after} and has not been renewed"
            )),
            Remaining::Unusable => self.expiring.set(expiring(served)),
        }
        match objection {
            _ if remaining == Remaining::Unusable => self.usable.hold(expiring(served)),
            Some(objection) => self.usable.hold(objection),
            None => self.usable.release(),
        }
    }

    /// How much of its life is left, by whichever clock leaves less.
    pub(crate) fn remaining(&self, pair: &CertificatePair) -> Remaining {
        let seconds = pair.not_after.as_second() - self.clock.now().as_second();
        let by_wall = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let now = self.clock.monotonic();
        let left = by_wall.min(self.deadline(pair, now + by_wall) - now);

        let life = pair.not_after.as_second() - pair.not_before.as_second();
        let part = Duration::from_secs(u64::try_from(life).unwrap_or_default());
        let part = part / DEGRADED_PART_OF_LIFE;
        if left <= UNUSABLE_BEFORE_EXPIRY.min(part) {
            Remaining::Unusable
        } else if left < part {
            Remaining::Little
        } else {
            Remaining::Enough
        }
    }

    /// The deadline that was set when this pair was first seen.
    fn deadline(&self, pair: &CertificatePair, by_wall: Instant) -> Instant {
        let mut deadline = self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        match *deadline {
            Some((fingerprint, deadline)) if fingerprint == pair.fingerprint => deadline,
            _ => {
                *deadline = Some((pair.fingerprint, by_wall));
                by_wall
            }
        }
    }
}

fn expiring(served: &CertificatePair) -> String {
    let not_after = served.not_after;
    format!("the served certificate expires at {not_after}: renew it now")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::development::DevelopmentCa;
    use jiff::SignedDuration;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_back_gives_no_certificate_a_longer_life() {
        let clock = Clock::simulated("2026-11-21T00:00:00Z".parse().unwrap(), 1);
        let day = Duration::from_hours(24);
        let ca = DevelopmentCa::new(clock.now(), &["a.test".to_owned()], day).unwrap();
        let pair = CertificatePair::check(&ca.pem_pair(), &[], clock.now()).unwrap();
        let health = Health::default();
        let expiry = Expiry::new(clock.clone(), &health, CertificateMetrics::default());
        expiry.check(&pair, None);
        assert!(health.report().ready);
        clock.jump(SignedDuration::from_hours(-48));
        tokio::time::advance(day).await;
        expiry.check(&pair, None);
        assert!(!health.report().ready);
    }
}
