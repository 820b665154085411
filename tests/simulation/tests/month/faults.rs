//! What goes wrong, and when.

use std::time::Duration;

use ecr_admission::token::MintErrorKind;
use jiff::SignedDuration;
use tokio::time::Instant;

use super::ecr::REGIONS;
use super::per_day;
use super::tenancy::Tenant;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// A fault, from its beginning to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// ECR fails in one region, or in all.
    Ecr(Option<usize>, MintErrorKind),
    /// The API server answers nobody, and its watches are silent.
    ApiServer,
    /// So many calls of the API server in a hundred fail, before or after they have had their effect.
    Flaky(u8),
    /// A replica's watch is cut.
    Watch(usize),
    /// A replica hears nothing about namespaces and policies, and does not notice.
    Blind(usize),
    /// A tenant's policy is deleted, and comes back.
    Policy(Tenant),
    /// A replica is gone.
    Crash(usize),
    /// All are.
    Outage,
    /// A replica's wall clock is wrong.
    Clock(usize, SignedDuration),
    /// All are, by the same, for hours: where they get their time from is.
    Clocks(SignedDuration),
}

/// One kind of fault, which comes again and again.
struct Source {
    draw: fn(&mut fastrand::Rng, usize) -> Fault,
    /// How long it stays away on average, and how long it lasts: at the least, and at the most beyond that.
    away: Duration,
    lasts: [Duration; 2],
    /// When it begins or ends next.
    next: Instant,
    current: Option<Fault>,
}

/// Everything that goes wrong.
pub(crate) struct Faults {
    sources: Vec<Source>,
    replicas: usize,
}

/// How ECR fails.
const FAILURES: [MintErrorKind; 5] = [
    MintErrorKind::Throttled,
    MintErrorKind::Unreachable,
    MintErrorKind::TimedOut,
    MintErrorKind::Service,
    MintErrorKind::ExpiredCredentials,
];

impl Faults {
    pub(crate) fn new(replicas: usize, rng: &mut fastrand::Rng) -> Self {
        let mut faults = Self {
            sources: Vec::new(),
            replicas,
        };
        let mut add = |away, lasts, draw| {
            let next = Instant::now() + exponential(away, rng);
            let current = None;
            let source = Source {
                draw,
                away,
                lasts,
                next,
                current,
            };
            faults.sources.push(source);
        };
        add(per_day(3), [MINUTE, 5 * HOUR], |rng, _| {
            Fault::Ecr(Some(rng.usize(..REGIONS.len())), failure(rng))
        });
        add(per_day(1), [MINUTE, 5 * HOUR], |rng, _| {
            Fault::Ecr(None, failure(rng))
        });
        add(per_day(3), [10 * SECOND, 10 * MINUTE], |_, _| {
            Fault::ApiServer
        });
        add(per_day(2), [MINUTE, 90 * MINUTE], |rng, _| {
            Fault::Flaky(rng.u8(5..40))
        });
        add(per_day(8), [MINUTE, 40 * MINUTE], |rng, replicas| {
            Fault::Watch(rng.usize(..replicas))
        });
        add(per_day(8), [10 * MINUTE, 40 * MINUTE], |rng, replicas| {
            Fault::Blind(rng.usize(..replicas))
        });
        add(per_day(2), [MINUTE, 4 * HOUR], |rng, _| {
            let tenant = Tenant::NONE.next();
            Fault::Policy(if rng.bool() { tenant } else { tenant.next() })
        });
        add(per_day(4), [SECOND, 2 * HOUR], |rng, replicas| {
            Fault::Crash(rng.usize(..replicas))
        });
        add(2 * per_day(1), [MINUTE, 4 * HOUR], |_, _| Fault::Outage);
        add(per_day(2), [MINUTE, 30 * MINUTE], |rng, replicas| {
            let minutes = rng.i64(-360..=360);
            Fault::Clock(rng.usize(..replicas), SignedDuration::from_mins(minutes))
        });
        add(2 * per_day(1), [HOUR, 16 * HOUR], |rng, _| {
            let back = rng.bool();
            let minutes = if back { -720..=-360 } else { 60..=360 };
            Fault::Clocks(SignedDuration::from_mins(rng.i64(minutes)))
        });
        faults
    }

    /// What begins (`true`) and ends by now.
    pub(crate) fn due(&mut self, now: Instant, rng: &mut fastrand::Rng) -> Vec<(Fault, bool)> {
        let mut due = Vec::new();
        for source in self.sources.iter_mut().filter(|source| source.next <= now) {
            if let Some(over) = source.current.take() {
                due.push((over, false));
                source.next = now + exponential(source.away, rng);
            } else {
                let fault = (source.draw)(rng, self.replicas);
                due.push((fault, true));
                source.current = Some(fault);
                let [least, most] = source.lasts;
                // Short ones are more frequent.
                source.next = now + least + most.mul_f64(rng.f64().powi(2));
            }
        }
        due
    }
}

fn failure(rng: &mut fastrand::Rng) -> MintErrorKind {
    FAILURES[rng.usize(..FAILURES.len())]
}

/// A waiting time of this mean, without memory, and not absurdly long.
pub(crate) fn exponential(mean: Duration, rng: &mut fastrand::Rng) -> Duration {
    mean.mul_f64(-(1.0 - rng.f64()).ln()).min(mean * 6)
}
