//! What this process tells of itself: whether it is ready, and what is degraded.
//!
//! Two kinds of trouble are kept apart, so that a cause common to all replicas never takes all of them out of the
//! Service: a *gate* makes the process unready, a *condition* only makes it degraded. A gate is held before the first
//! sync and while the served certificate is unusable; everything else is a condition.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The health of the process; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    draining: AtomicBool,
    entries: Mutex<Vec<Entry>>,
    degraded: Family<ConditionLabel, Gauge>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: &'static str,
    kind: Kind,
    /// What is wrong; `None` when all is well.
    trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Gate,
    Condition,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConditionLabel {
    condition: &'static str,
}

impl Health {
    /// A health without gates and conditions, whose gauge `degraded` (one series a condition: 0 or 1) is in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let health = Self::default();
        registry.register(
            "degraded",
            "Whether a condition degrades the process (1) or not (0)",
            health.0.degraded.clone(),
        );
        health
    }

    /// A new gate, held with `reason` until it is released. Names are fixed words of the code, one gate each.
    pub fn gate(&self, name: &'static str, reason: &str) -> Gate {
        Gate(self.entry(name, Kind::Gate, Some(reason.to_owned())))
    }

    /// A new condition, clear until it is set. Names are fixed words of the code, one condition each: they label a
    /// metric.
    pub fn condition(&self, name: &'static str) -> Condition {
        self.0
            .degraded
            .get_or_create(&ConditionLabel { condition: name })
            .set(0);
        Condition(self.entry(name, Kind::Condition, None))
    }

    /// Unready from now on and for good: the process is about to end.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// The state of everything, in the order in which gates and conditions were made.
    pub fn report(&self) -> Report {
        let draining = self.0.draining.load(Ordering::Acquire);
        let entries = self.entries();
        let lines: Vec<_> = entries
            .iter()
            .map(|entry| Line {
                name: entry.name,
                state: match (&entry.trouble, entry.kind) {
                    (None, _) => State::Ok,
                    (Some(reason), Kind::Gate) => State::NotReady(reason.clone()),
                    (Some(reason), Kind::Condition) => State::Degraded(reason.clone()),
                },
            })
            .collect();
        drop(entries);
        let held = lines
            .iter()
            .any(|line| matches!(line.state, State::NotReady(_)));
        Report {
            ready: !draining && !held,
            draining,
            lines,
        }
    }

    fn entry(&self, name: &'static str, kind: Kind, trouble: Option<String>) -> Handle {
        let mut entries = self.entries();
        entries.push(Entry {
            name,
            kind,
            trouble,
        });
        Handle {
            health: self.clone(),
            index: entries.len() - 1,
        }
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.0
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One entry of the list, which only ever grows.
#[derive(Clone, Debug)]
struct Handle {
    health: Health,
    index: usize,
}

impl Handle {
    fn set(&self, trouble: Option<String>) {
        let mut entries = self.health.entries();
        let Some(entry) = entries.get_mut(self.index) else {
            return;
        };
        entry.trouble = trouble;
        if entry.kind == Kind::Condition {
            let label = ConditionLabel {
                condition: entry.name,
            };
            let value = i64::from(entry.trouble.is_some());
            self.health.0.degraded.get_or_create(&label).set(value);
        }
    }
}

/// Something without which the process must not get requests.
#[derive(Clone, Debug)]
pub struct Gate(Handle);

impl Gate {
    /// Lets requests come, as far as this gate goes.
    pub fn release(&self) {
        self.0.set(None);
    }

    /// Makes the process unready; `reason` is shown to people.
    pub fn hold(&self, reason: impl Into<String>) {
        self.0.set(Some(reason.into()));
    }
}

/// Something that is wrong, or may become so, while requests are still answered well.
#[derive(Clone, Debug)]
pub struct Condition(Handle);

impl Condition {
    /// Degraded; `reason` is shown to people.
    pub fn set(&self, reason: impl Into<String>) {
        self.0.set(Some(reason.into()));
    }

    /// As it should be.
    pub fn clear(&self) {
        self.0.set(None);
    }
}

/// A snapshot of a [`Health`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether requests should come: nothing holds a gate and the process is not draining.
    pub ready: bool,
    /// Whether the process is about to end.
    pub draining: bool,
    /// Every gate and condition.
    pub lines: Vec<Line>,
}

/// One gate or condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its fixed name.
    pub name: &'static str,
    /// How it is.
    pub state: State,
}

/// How a gate or condition is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Ok,
    /// Holds the process unready, with the reason.
    NotReady(String),
    /// Degrades the process, with the reason.
    Degraded(String),
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    #[test]
    fn ready_once_every_gate_is_released_and_never_while_draining() {
        let health = Health::default();
        let (index, certificate) = (
            health.gate("secret-index", "not synced yet"),
            health.gate("certificate", "not loaded yet"),
        );
        assert!(!health.report().ready);
        index.release();
        assert!(!health.report().ready);
        certificate.release();
        assert!(health.report().ready);
        certificate.hold("expires within a minute");
        assert!(!health.report().ready);
        certificate.release();
        health.drain();
        let report = health.report();
        assert!(!report.ready && report.draining);
    }

    #[test]
    fn a_condition_degrades_but_never_makes_unready_and_shows_in_the_gauge() {
        let mut registry = Registry::default();
        let health = Health::register(&mut registry);
        let condition = health.condition("certificate-reload");
        let metrics = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        assert!(metrics().contains("degraded{condition=\"certificate-reload\"} 0"));
        condition.set("tls.crt is garbage");
        let report = health.report();
        assert!(report.ready);
        assert_eq!(
            report.lines[0].state,
            State::Degraded("tls.crt is garbage".to_owned())
        );
        assert!(metrics().contains("degraded{condition=\"certificate-reload\"} 1"));
        condition.clear();
        assert_eq!(health.report().lines[0].state, State::Ok);
        assert!(metrics().contains("degraded{condition=\"certificate-reload\"} 0"));
    }
}
