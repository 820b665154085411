//! A source of tokens that does what a test tells it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ecr_admission::clock::{Clock, add};
use ecr_admission::token::{MintError, MintErrorKind, Token, TokenKey, TokenSource};
use futures_util::future::BoxFuture;
use tokio::time::Instant;

/// What every password starts with: what must never be seen outside a Secret.
pub(crate) const PASSWORD: &str = "hunter2";
pub(crate) const LIFE: Duration = Duration::from_hours(12);

/// What a mint does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Behaviour {
    /// Gives a token of this life.
    Give(Duration),
    /// Fails.
    Fail(MintErrorKind),
    /// Takes its time, and then gives a token of twelve hours.
    Slow(Duration),
    /// Takes its time, and then fails.
    SlowFail(Duration),
    /// Panics.
    Panic,
}

type Behave = Box<dyn Fn(&TokenKey) -> Behaviour + Send>;

pub(crate) struct Mint {
    clock: Clock,
    behave: Mutex<Behave>,
    calls: Mutex<Vec<(TokenKey, Instant)>>,
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
}

impl Mint {
    /// AWS's clock agrees with `clock` now, and does not follow its jumps.
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            clock: Clock::simulated(clock.now(), 1),
            behave: Mutex::new(Box::new(|_| Behaviour::Give(LIFE))),
            calls: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
        }
    }

    /// The same for every key from now on.
    pub(crate) fn always(&self, behaviour: Behaviour) {
        self.by_key(move |_| behaviour);
    }

    pub(crate) fn by_key(&self, behave: impl Fn(&TokenKey) -> Behaviour + Send + 'static) {
        *self.behave.lock().unwrap() = Box::new(behave);
    }

    /// How often a token was asked for.
    pub(crate) fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// When tokens were asked for, and which.
    pub(crate) fn calls(&self) -> Vec<(TokenKey, Instant)> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn most_under_way(&self) -> usize {
        self.most_under_way.load(Ordering::SeqCst)
    }

    async fn make(&self, key: &TokenKey) -> Result<Token, MintError> {
        let number = {
            let mut calls = self.calls.lock().unwrap();
            calls.push((key.clone(), Instant::now()));
            calls.len()
        };
        let behaviour = (self.behave.lock().unwrap())(key);
        let life = match behaviour {
            Behaviour::Give(life) => life,
            Behaviour::Fail(kind) => return Err(error(key, kind)),
            Behaviour::Slow(time) => {
                tokio::time::sleep(time).await;
                LIFE
            }
            Behaviour::SlowFail(time) => {
                tokio::time::sleep(time).await;
                return Err(error(key, MintErrorKind::Unreachable));
            }
            Behaviour::Panic => panic!("the source of tokens broke"),
        };
        let now = self.clock.now();
        let password = format!("{PASSWORD}-{}-{number}", key.region);
        Ok(Token::new(password.into(), now, add(now, life)))
    }
}

fn error(key: &TokenKey, kind: MintErrorKind) -> MintError {
    MintError {
        kind,
        message: format!("ECR in {} is down ({})", key.region, kind.label()),
    }
}

impl TokenSource for Mint {
    fn mint<'a>(&'a self, key: &'a TokenKey) -> BoxFuture<'a, Result<Token, MintError>> {
        Box::pin(async move {
            let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_under_way.fetch_max(under_way, Ordering::SeqCst);
            let token = self.make(key).await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            token
        })
    }
}
