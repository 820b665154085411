//! When a review arrived, and how long it may take.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Clock, Moment};

/// When a review arrived, and by when its answer must be on its way.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// What credentials are judged by too: the clocks are not asked again for that.
    pub arrived: Moment,
    /// By the monotonic clock.
    pub deadline: Instant,
}

impl Timing {
    /// Of a review that arrives now.
    pub fn within(budget: Duration, clock: &Clock) -> Self {
        let arrived = clock.moment();
        Self {
            arrived,
            deadline: arrived.monotonic + budget,
        }
    }
}
