//! Does a token outlive the session that made it?

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use jiff::SignedDuration;

use super::RoleArgs;
use super::trial::{Found, Image, Inconclusive, Step, Trial, identity, tell};
use crate::aws::Reading;
use crate::clock::{self, Clock};
use crate::policy::RoleIdentity;
use crate::policy::spec::Scope;

/// What AWS takes.
const SHORTEST_SESSION: Duration = Duration::from_mins(15);
const LONGEST_SESSION: Duration = Duration::from_hours(12);

/// Finds out whether a token works after the role session that made it has ended: `tokenLife: Full` or `Session`.
///
/// Makes a token in a session of the role that is as short as AWS allows, waits until the session is over, and asks the
/// registry for the image with that token. If it is refused, a new token is tried, to be sure that the old one's age is
/// the reason. Takes as long as the session and the margin: 20 minutes.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct TokenLifeArgs {
    #[command(flatten)]
    role: RoleArgs,

    /// How long the session lasts, 15m to 12h.
    #[arg(long, value_name = "TIME", default_value = "15m")]
    session_length: SignedDuration,

    /// How long after its end the token is tried.
    #[arg(long, value_name = "TIME", default_value = "5m")]
    margin: SignedDuration,

    /// An image that exists and that the role may pull, with a tag or a digest.
    #[arg(value_name = "IMAGE")]
    image: Image,
}

const EXAMPLES: &str = "\
Example:
  ecr-admission verify token-life --role arn:aws:iam::123456789012:role/ecr-team-a \\
    123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a/app:v1

Exit codes: 0 it was measured (the last line says which setting is right), 1 nothing could be told, 2 what was asked for
makes no sense.";

/// Measures.
///
/// # Errors
/// What was asked for makes no sense, or AWS cannot be used as the environment says.
pub(super) async fn run(args: &TokenLifeArgs, clock: &Clock) -> anyhow::Result<Step<Found>> {
    let session = Duration::try_from(args.session_length).unwrap_or_default();
    if !(SHORTEST_SESSION..=LONGEST_SESSION).contains(&session) {
        bail!("--session-length must lie between 15m and 12h, which is what AWS takes");
    }
    let margin = Duration::try_from(args.margin).context("--margin must not be negative")?;
    let role = identity(&args.role, Scope::Role, &args.image)?;
    let trial = Trial::new(clock, Some(session)).await?;
    measure(&trial, &role, &args.image, margin).await
}

async fn measure(
    trial: &Trial,
    role: &RoleIdentity,
    image: &Image,
    margin: Duration,
) -> anyhow::Result<Step<Found>> {
    let key = image.key(role)?;
    let (token, ends_at) = match trial.mint(&key, role).await {
        Ok(minted) => minted,
        Err(why) => return Ok(Err(why)),
    };
    let Some(ends_at) = ends_at else {
        let why = "STS does not say when the session ends".to_owned();
        return Ok(Err(Inconclusive(why)));
    };
    tell(&format!(
        "The session {} ends at {ends_at}; ECR says of its token that it lives until {}.",
        role.session_name(),
        token.expires_at
    ))?;
    if token.expires_at <= ends_at {
        return Ok(Ok(Found {
            sentence: "ECR itself ends the token with the session: tokenLife: Full is right."
                .to_owned(),
            good: true,
        }));
    }
    let needed = "the role must be allowed ecr:BatchGetImage on it, by its own policies and by the repository's";
    if let Err(why) = trial.must_open(image, &token, needed).await {
        return Ok(Err(why));
    }
    let past = clock::add(ends_at, margin);
    tell(&format!(
        "The token opens {}. It is tried again at {past}; Ctrl-C gives up.",
        image.text
    ))?;
    // By AWS's clock, from the moment at which it made the token.
    let wait = past.duration_since(token.issued_at);
    tokio::time::sleep(Duration::try_from(wait).unwrap_or_default()).await;
    let again = async || {
        let read = trial.read(image, &token).await?;
        let Reading::Refused(status) = read else {
            return Ok(Found {
                sentence: format!(
                    "The token still opens {} {margin:?} after the end of its session: tokenLife: Full is right.",
                    image.text
                ),
                good: true,
            });
        };
        let (fresh, _) = trial.mint(&key, role).await?;
        let changed =
            "so is a new token, so it is not the old one's age; has something else changed?";
        trial.must_open(image, &fresh, changed).await?;
        Ok(Found {
            sentence: format!(
                "The token of the ended session is refused (HTTP {status}) and a new one is not: tokenLife: Session is \
                 right."
            ),
            good: true,
        })
    };
    Ok(again().await)
}
