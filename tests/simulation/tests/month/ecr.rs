//! ECR, with regions that fail. A password says when it stops working, so that nobody has to be believed about that.

use std::time::Duration;

use ecr_admission::clock::{Clock, add};
use ecr_admission::token::{MintError, MintErrorKind, Token};
use jiff::Timestamp;

use super::tenancy::Tenant;

/// How long a token works.
pub(crate) const LIFE: Duration = Duration::from_hours(12);
/// What every password starts with.
const PASSWORD: &str = "simulated";

pub(crate) const REGIONS: [&str; 3] = ["eu-west-1", "us-east-1", "ap-southeast-2"];

/// What a process lived through of one region's outages.
#[derive(Default)]
pub(crate) struct Outages {
    count: u32,
    minutes: u32,
    lasts: bool,
}

impl Outages {
    /// Notes how it is in this minute.
    pub(crate) fn note(&mut self, fails: bool) {
        self.count += u32::from(fails && !self.lasts);
        self.minutes += u32::from(fails);
        self.lasts = fails;
    }

    /// How often a token may have been asked for in vain: a failure is remembered for a minute, and at the beginning the
    /// background tries again sooner.
    pub(crate) fn excuse(&self) -> u32 {
        self.minutes + 10 * self.count
    }
}

/// A token of a region for somebody's namespaces, made now.
pub(crate) fn token(region: &str, holder: Tenant, clock: &Clock) -> Token {
    let now = clock.now();
    let expires_at = add(now, LIFE);
    let holder = holder.number();
    let password = format!("{PASSWORD}/{holder}/{region}/{}", expires_at.as_second());
    Token::new(password.into(), now, expires_at)
}

/// Whose a password is, which region it works in, and until when.
pub(crate) fn read(password: &str) -> Option<(Tenant, &str, Timestamp)> {
    let said = password.strip_prefix(PASSWORD)?.strip_prefix('/')?;
    let (holder, said) = said.split_once('/')?;
    let (region, expires_at) = said.split_once('/')?;
    let expires_at = Timestamp::from_second(expires_at.parse().ok()?).ok()?;
    Some((Tenant::numbered(holder.parse().ok()?)?, region, expires_at))
}

/// How ECR fails, and how long it takes for that.
pub(crate) fn failure(kind: MintErrorKind) -> (Duration, MintError) {
    let takes = match kind {
        MintErrorKind::Unreachable => Duration::from_secs(3),
        MintErrorKind::TimedOut => Duration::from_secs(10),
        _ => Duration::from_millis(50),
    };
    let message = format!("ECR is down ({})", kind.label());
    (takes, MintError { kind, message })
}
