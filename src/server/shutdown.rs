//! The three stages of a listener's life.

use tokio::sync::watch;

/// How far the process is on its way out. Stages only move forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// As usual.
    Serving,
    /// Accepts and answers as usual, since clients do not know yet, but every HTTP/1 answer says `Connection: close`:
    /// clients then move elsewhere by themselves, and no request meets a connection that is being closed.
    Leaving,
    /// No new connections; open ones end with the request that they carry.
    Draining,
}

/// Moves listeners from stage to stage.
#[derive(Debug)]
pub struct Shutdown(watch::Sender<Stage>);

/// What a listener follows; clones follow the same [`Shutdown`].
#[derive(Clone, Debug)]
pub struct Stages(watch::Receiver<Stage>);

impl Shutdown {
    /// At [`Stage::Serving`].
    pub fn new() -> Self {
        Self(watch::Sender::new(Stage::Serving))
    }

    /// Moves on to [`Stage::Leaving`].
    pub fn leave(&self) {
        self.advance(Stage::Leaving);
    }

    /// Moves on to [`Stage::Draining`].
    pub fn drain(&self) {
        self.advance(Stage::Draining);
    }

    /// For a listener to follow.
    pub fn stages(&self) -> Stages {
        Stages(self.0.subscribe())
    }

    fn advance(&self, to: Stage) {
        self.0.send_if_modified(|stage| {
            let forward = *stage < to;
            *stage = to.max(*stage);
            forward
        });
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Stages {
    /// The stage right now.
    pub fn current(&self) -> Stage {
        *self.0.borrow()
    }

    /// Returns once the stage is [`Stage::Draining`]; also when nobody is left who could say so, since a listener that
    /// nobody can stop would keep the process.
    pub async fn draining(&mut self) {
        let _gone = self.0.wait_for(|stage| *stage == Stage::Draining).await;
    }
}
