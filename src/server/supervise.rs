//! Runs the process's tasks: restarts those that fail, ends the process when that does not help, and ends it in order
//! when told.

use std::collections::VecDeque;
use std::io;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::health::Health;
use crate::server::metrics::ServerMetrics;
use crate::server::shutdown::Shutdown;

/// This many restarts of one task …
const RESTARTS_MAX: usize = 5;
/// … within this time end the process: it does not heal by itself.
const RESTARTS_WITHIN: Duration = Duration::from_mins(10);
/// The pause before the first restart; it doubles with each within [`RESTARTS_WITHIN`], and jitter adds up to half.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(30);

/// How long the process serves on after it was told to end, unless told otherwise: endpoints are withdrawn, and load
/// balancers and API servers hear of it, some seconds after we are unready.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(5);

/// Why the process ends other than in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A task failed again and again.
    #[error(
        "the task {0:?} failed {RESTARTS_MAX} times within ten minutes; its reasons are in the log above"
    )]
    KeepsFailing(&'static str),
    /// Something that the process cannot be without has ended.
    #[error("{0:?} has ended, without which there is nothing to serve")]
    Ended(&'static str),
    /// A second signal came while the process was ending.
    #[error("ended at once by a second signal")]
    SecondSignal,
}

/// The tasks of a process. Dropping it ends them all.
#[derive(Debug)]
pub struct Supervisor {
    clock: Clock,
    metrics: ServerMetrics,
    background: JoinSet<Failure>,
    listeners: JoinSet<&'static str>,
}

impl Supervisor {
    /// Without tasks.
    pub fn new(clock: Clock, metrics: ServerMetrics) -> Self {
        Self {
            clock,
            metrics,
            background: JoinSet::new(),
            listeners: JoinSet::new(),
        }
    }

    /// Runs a task that is never to end: when it ends or panics, `task` makes it anew of its `parts` after a pause. `name`
    /// labels a metric.
    pub fn spawn<P, F, T>(&mut self, name: &'static str, parts: P, task: F)
    where
        P: Clone + Send + 'static,
        F: Fn(P) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        self.metrics.expect_task(name);
        let (clock, metrics) = (self.clock.clone(), self.metrics.clone());
        let task = move || task(parts.clone());
        self.background
            .spawn(restart_for_ever(name, task, clock, metrics));
    }

    /// Runs something that serves until it is drained: its end ends the process, and an orderly end waits for it.
    pub fn spawn_listener<T>(&mut self, name: &'static str, listener: T)
    where
        T: Future<Output = ()> + Send + 'static,
    {
        self.listeners.spawn(async move {
            end_of(name, listener).await;
            name
        });
    }

    /// Runs something that serves to the very end, such as the admin port: its end ends the process, and an orderly end
    /// drops it last.
    pub fn spawn_companion<T>(&mut self, name: &'static str, companion: T)
    where
        T: Future<Output = ()> + Send + 'static,
    {
        self.background.spawn(async move {
            end_of(name, companion).await;
            Failure::Ended(name)
        });
    }

    /// Runs everything until a signal comes or something fails for good.
    ///
    /// At a signal: unready at once, served on for the grace time, then listeners drain, then `Ok`. At a second signal
    /// the rest is dropped; the caller then ends the process without waiting for anything.
    pub async fn run_until(mut self, mut signals: Signals, exit: Exit) -> Result<(), Failure> {
        tokio::select! {
            biased;
            signal = signals.next() => info!(signal, grace = ?exit.grace, "ending: unready from now on"),
            failure = self.failure() => return Err(failure),
        }
        exit.health.drain();
        exit.shutdown.leave();
        tokio::select! {
            biased;
            _ = signals.next() => return Err(Failure::SecondSignal),
            failure = self.failure() => return Err(failure),
            () = sleep(exit.grace) => {}
        }
        info!("draining");
        exit.shutdown.drain();
        tokio::select! {
            biased;
            _ = signals.next() => Err(Failure::SecondSignal),
            () = drained(&mut self.listeners) => Ok(()),
        }
    }

    /// The first failure that nothing cures; never when there are no tasks.
    async fn failure(&mut self) -> Failure {
        tokio::select! {
            biased;
            Some(Ok(name)) = self.listeners.join_next() => Failure::Ended(name),
            Some(Ok(failure)) = self.background.join_next() => failure,
            else => std::future::pending().await,
        }
    }
}

async fn drained(listeners: &mut JoinSet<&'static str>) {
    while listeners.join_next().await.is_some() {}
}

/// How the process ends.
#[derive(Debug)]
pub struct Exit {
    /// Made unready at the signal.
    pub health: Health,
    /// What the listeners follow.
    pub shutdown: Shutdown,
    /// How long to serve on between the signal and draining.
    pub grace: Duration,
}

/// Requests to end the process.
#[derive(Debug)]
pub struct Signals(mpsc::Receiver<&'static str>);

impl Signals {
    /// SIGTERM and SIGINT of this process.
    pub fn of_process() -> io::Result<Self> {
        let (sender, signals) = Self::channel();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    Some(()) = terminate.recv() => "SIGTERM",
                    Some(()) = interrupt.recv() => "SIGINT",
                    else => return,
                };
                if sender.send(name).await.is_err() {
                    return;
                }
            }
        });
        Ok(signals)
    }

    /// Signals that the caller sends, by a name for the log.
    pub fn channel() -> (mpsc::Sender<&'static str>, Self) {
        let (sender, signals) = mpsc::channel(2);
        (sender, Self(signals))
    }

    /// The next one; never when nobody is left to send any.
    async fn next(&mut self) -> &'static str {
        match self.0.recv().await {
            Some(name) => name,
            None => std::future::pending().await,
        }
    }
}

/// Runs `task` until it ends or panics; the panic itself has been reported by the panic hook.
async fn end_of(name: &'static str, task: impl Future<Output = ()>) {
    // What a panic leaves half done is the task's own state, and that is dropped.
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        error!(task = name, "task panicked");
    }
}

async fn restart_for_ever<F, T>(
    name: &'static str,
    task: F,
    clock: Clock,
    metrics: ServerMetrics,
) -> Failure
where
    F: Fn() -> T,
    T: Future<Output = ()>,
{
    let mut restarts = Restarts::default();
    loop {
        end_of(name, task()).await;
        let Some(pause) = restarts.another(clock.monotonic()) else {
            error!(task = name, "task keeps failing");
            return Failure::KeepsFailing(name);
        };
        metrics.restarted(name);
        let pause = pause + clock.jitter(pause / 2);
        warn!(task = name, ?pause, "task ended and is started again");
        sleep(pause).await;
    }
}

/// The recent restarts of one task.
#[derive(Debug, Default)]
struct Restarts(VecDeque<Instant>);

impl Restarts {
    /// The pause before a restart at `now`, without jitter; `None` when it would be one too many.
    fn another(&mut self, now: Instant) -> Option<Duration> {
        self.0.retain(|at| now - *at < RESTARTS_WITHIN);
        self.0.push_back(now);
        if self.0.len() >= RESTARTS_MAX {
            return None;
        }
        let doubled = PAUSE_FIRST * (1 << (self.0.len() - 1));
        Some(doubled.min(PAUSE_LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::server::shutdown::Stage;

    struct Bench {
        supervisor: Supervisor,
        signal: mpsc::Sender<&'static str>,
        signals: Signals,
        health: Health,
        exit: Exit,
    }

    impl Bench {
        fn new() -> Self {
            let clock = Clock::simulated(jiff::Timestamp::UNIX_EPOCH, 1);
            let (signal, signals) = Signals::channel();
            let health = Health::default();
            let exit = Exit {
                health: health.clone(),
                shutdown: Shutdown::new(),
                grace: GRACE_DEFAULT,
            };
            Self {
                supervisor: Supervisor::new(clock, ServerMetrics::default()),
                signal,
                signals,
                health,
                exit,
            }
        }

        /// A task that panics or ends at once, by turns, and counts its starts.
        fn failing(&mut self) -> Arc<AtomicUsize> {
            let starts = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&starts);
            self.supervisor
                .spawn("failing", counted, |counted| async move {
                    let start = counted.fetch_add(1, Ordering::Relaxed);
                    assert!(start % 2 == 1, "a panic on purpose");
                });
            starts
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_fails_is_restarted_later_each_time_and_the_fifth_failure_ends_the_process()
    {
        let mut bench = Bench::new();
        let starts = bench.failing();
        let begin = Instant::now();
        let ended = bench.supervisor.run_until(bench.signals, bench.exit).await;
        assert_eq!(ended, Err(Failure::KeepsFailing("failing")));
        assert_eq!(starts.load(Ordering::Relaxed), RESTARTS_MAX);
        // 1 + 2 + 4 + 8 seconds, and up to half as much again.
        let took = begin.elapsed();
        assert!(
            took >= Duration::from_secs(15) && took <= Duration::from_secs(23),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn rare_failures_never_end_the_process() {
        let mut bench = Bench::new();
        let starts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&starts);
        bench
            .supervisor
            .spawn("rare", counted, |counted| async move {
                counted.fetch_add(1, Ordering::Relaxed);
                sleep(RESTARTS_WITHIN / 4).await;
            });
        let running = bench.supervisor.run_until(bench.signals, bench.exit);
        let ended = tokio::time::timeout(Duration::from_hours(24), running).await;
        assert!(ended.is_err(), "still running");
        assert!(starts.load(Ordering::Relaxed) > 100);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_listener_ends_the_process_at_once() {
        let mut bench = Bench::new();
        bench.supervisor.spawn_listener("webhook", async {});
        let ended = bench.supervisor.run_until(bench.signals, bench.exit).await;
        assert_eq!(ended, Err(Failure::Ended("webhook")));

        let mut bench = Bench::new();
        bench
            .supervisor
            .spawn_companion("admin", async { panic!("on purpose") });
        let ended = bench.supervisor.run_until(bench.signals, bench.exit).await;
        assert_eq!(ended, Err(Failure::Ended("admin")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_makes_unready_at_once_serves_on_and_drains_before_the_end() {
        let mut bench = Bench::new();
        let mut stages = bench.exit.shutdown.stages();
        let seen = stages.clone();
        bench.supervisor.spawn_listener("webhook", async move {
            stages.draining().await;
            sleep(Duration::from_secs(2)).await;
        });
        bench
            .supervisor
            .spawn_companion("admin", std::future::pending());
        let begin = Instant::now();
        let running = tokio::spawn(bench.supervisor.run_until(bench.signals, bench.exit));
        bench.signal.send("SIGTERM").await.unwrap();
        sleep(Duration::from_millis(1)).await;
        assert!(!bench.health.report().ready);
        assert_eq!(seen.current(), Stage::Leaving);
        sleep(GRACE_DEFAULT).await;
        assert_eq!(seen.current(), Stage::Draining);
        assert_eq!(running.await.unwrap(), Ok(()));
        assert_eq!(begin.elapsed().as_secs(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_signal_ends_at_once() {
        for between in [
            Duration::from_secs(1),
            GRACE_DEFAULT + Duration::from_secs(1),
        ] {
            let mut bench = Bench::new();
            bench
                .supervisor
                .spawn_listener("webhook", std::future::pending());
            let running = tokio::spawn(bench.supervisor.run_until(bench.signals, bench.exit));
            bench.signal.send("SIGTERM").await.unwrap();
            sleep(between).await;
            let begin = Instant::now();
            bench.signal.send("SIGINT").await.unwrap();
            assert_eq!(running.await.unwrap(), Err(Failure::SecondSignal));
            assert_eq!(begin.elapsed(), Duration::ZERO);
        }
    }
}
