//! Namespaces to which something has happened that somebody should look into. The mirrors tell it, and never wait.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The most namespaces that are told apart; if there are more, all are to be looked into.
const MOST: usize = 10_000;

/// What one mirror draws attention to.
#[derive(Debug, Default)]
pub struct Attention {
    drawn: Mutex<Drawn>,
    has_list: AtomicBool,
    changed: Notify,
}

/// What attention has been drawn to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawn {
    /// These namespaces.
    pub namespaces: BTreeSet<Box<str>>,
    /// All of them: something may have been missed.
    pub all: bool,
}

impl Attention {
    /// Something happened to this namespace.
    pub fn draw(&self, namespace: &str) {
        let mut drawn = self.drawn();
        if drawn.namespaces.len() >= MOST && !drawn.namespaces.contains(namespace) {
            drawn.namespaces.clear();
            drawn.all = true;
        }
        drawn.namespaces.insert(namespace.into());
        drop(drawn);
        self.changed.notify_one();
    }

    /// A whole list has come: whatever happened before it may have been missed.
    pub fn listed(&self) {
        self.has_list.store(true, Ordering::Release);
        self.drawn().all = true;
        self.changed.notify_one();
    }

    /// Whether a whole list has ever come.
    pub fn has_list(&self) -> bool {
        self.has_list.load(Ordering::Acquire)
    }

    /// Waits until attention is drawn to something; one waits at a time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What attention was drawn to since the last time this was asked.
    pub fn take(&self) -> Drawn {
        std::mem::take(&mut *self.drawn())
    }

    fn drawn(&self) -> MutexGuard<'_, Drawn> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_drawn_wakes_is_taken_once_and_is_bounded() {
        let attention = Attention::default();
        attention.draw("a");
        attention.draw("a");
        attention.changed().await;
        let drawn = attention.take();
        assert_eq!(drawn.namespaces.len(), 1);
        assert!(!drawn.all && !attention.has_list());
        assert_eq!(attention.take(), Drawn::default());

        for number in 0..=MOST {
            attention.draw(&format!("team-{number}"));
        }
        let drawn = attention.take();
        assert!(drawn.all && drawn.namespaces.len() == 1);
        attention.listed();
        assert!(attention.take().all && attention.has_list());
    }
}
