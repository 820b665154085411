//! What time it is by the API server, as each of its answers says in the header `Date` (RFC 9110, 6.6.1).

use std::sync::{Arc, OnceLock};

use hyper::Response;
use hyper::header::DATE;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use crate::clock::Clock;

/// Who is told the dates of answers. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Dates(Arc<OnceLock<Clock>>);

impl Dates {
    /// The first who asks to be told is told.
    pub(super) fn tell(&self, clock: &Clock) {
        let _ = self.0.set(clock.clone());
    }

    /// Tells the date of an answer, and hands the answer on.
    pub(super) fn note<B>(&self, answer: Response<B>) -> Response<B> {
        let date = answer.headers().get(DATE);
        if let (Some(clock), Some(date)) = (self.0.get(), date)
            && let Some(at) = read(date.as_bytes())
        {
            clock.heard(at);
        }
        answer
    }
}

fn read(date: &[u8]) -> Option<Timestamp> {
    const PARSER: DateTimeParser = DateTimeParser::new();
    PARSER.parse_timestamp(date).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_date_of_an_answer_is_told_and_anything_else_is_not() {
        let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 1);
        let dates = Dates::default();
        dates.tell(&clock);
        for (date, expected) in [
            (None, "1970-01-01T00:00:00Z"),
            (Some("yesterday"), "1970-01-01T00:00:00Z"),
            (
                Some("Sat, 21 Nov 2026 22:39:34 GMT"),
                "2026-11-21T22:39:34Z",
            ),
            (None, "2026-11-21T22:39:34Z"),
        ] {
            let mut answer = Response::new(());
            if let Some(date) = date {
                answer.headers_mut().insert(DATE, date.parse().unwrap());
            }
            let _ = dates.note(answer);
            assert_eq!(clock.reckoned().to_string(), expected, "after {date:?}");
        }
    }
}
