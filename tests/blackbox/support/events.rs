//! What people are told, kept for a test to read.

use std::sync::Mutex;

use ecr_admission::event::{Event, EventSink, Written};
use ecr_admission::secret::{StoreError, StoreErrorKind};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

/// Keeps every Event that is written.
#[derive(Default)]
pub(crate) struct Noticeboard {
    events: Mutex<Vec<Event>>,
    fails: Mutex<Option<StoreErrorKind>>,
    tried: Mutex<usize>,
}

impl Noticeboard {
    /// What was written since the last time this was asked.
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    /// The same as lines for people, in the order of the alphabet.
    pub(crate) fn said(&self) -> String {
        let events = self.take().into_iter();
        let lines = events.map(|event| {
            let subject = event.subject;
            format!(
                "{} {} {}/{}: {}",
                event.severity.name(),
                event.reason,
                subject.kind.name(),
                subject.name,
                event.note
            )
        });
        let mut lines: Vec<String> = lines.collect();
        lines.sort();
        lines.join("\n")
    }

    /// Writing fails so, or works again.
    pub(crate) fn fail(&self, kind: Option<StoreErrorKind>) {
        *self.fails.lock().unwrap() = kind;
    }

    /// How often writing was tried.
    pub(crate) fn tried(&self) -> usize {
        *self.tried.lock().unwrap()
    }
}

impl EventSink for Noticeboard {
    fn write<'a>(&'a self, event: &'a Event) -> BoxFuture<'a, Result<Written, StoreError>> {
        *self.tried.lock().unwrap() += 1;
        let fails = *self.fails.lock().unwrap();
        if let Some(kind) = fails {
            let message = format!("cannot create an Event: {}", kind.label());
            return ready(Err(StoreError { kind, message })).boxed();
        }
        let mut events = self.events.lock().unwrap();
        let same = |known: &Event| (&known.subject, known.reason) == (&event.subject, event.reason);
        let written = if events.iter().any(same) {
            Written::Known
        } else {
            Written::New
        };
        events.push(event.clone());
        ready(Ok(written)).boxed()
    }
}
