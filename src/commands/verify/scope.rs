//! Does a token keep to the session policy of the session that made it?

use anyhow::bail;
use clap::Args;

use super::RoleArgs;
use super::trial::{Found, Image, Step, Trial, identity, tell};
use crate::aws::Reading;
use crate::clock::Clock;
use crate::policy::RoleIdentity;
use crate::policy::spec::Scope;

/// Finds out whether `scope: Repositories` holds: whether a token keeps to the session policy of its session.
///
/// Makes sure that the role may pull both images, then makes a token in a session that is limited to the repository of
/// the first, and asks the registry for both. Takes seconds.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct ScopeArgs {
    #[command(flatten)]
    role: RoleArgs,

    /// An image that exists and that the role may pull, with a tag or a digest: it must stay open.
    #[arg(long, value_name = "IMAGE")]
    granted: Image,

    /// Another of the same region, in another repository, that exists and that the role may pull: it must be closed.
    #[arg(long, value_name = "IMAGE")]
    denied: Image,
}

const EXAMPLES: &str = "\
Example:
  ecr-admission verify scope --role arn:aws:iam::123456789012:role/ecr-team-a \\
    --granted 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-a/app:v1 \\
    --denied 123456789012.dkr.ecr.eu-west-1.amazonaws.com/team-b/app:v1

Exit codes: 0 the scope holds, 1 it does not or nothing could be told, 2 what was asked for makes no sense.";

/// Tries.
///
/// # Errors
/// What was asked for makes no sense, or AWS cannot be used as the environment says.
pub(super) async fn run(args: &ScopeArgs, clock: &Clock) -> anyhow::Result<Step<Found>> {
    let (granted, denied) = (&args.granted, &args.denied);
    if granted.host == denied.host && granted.repository == denied.repository {
        bail!("--granted and --denied are of one repository, so both would be open");
    }
    let whole = identity(&args.role, Scope::Role, granted)?;
    let limited = identity(&args.role, Scope::Repositories, granted)?;
    if granted.key(&whole)? != denied.key(&whole)? {
        bail!("--granted and --denied must lie in one region, because a token is of no other");
    }
    let trial = Trial::new(clock, None).await?;
    let opened = with_the_whole_role(&trial, &whole, granted, denied).await;
    if let Err(why) = opened {
        return Ok(Err(why));
    }
    tell(&format!(
        "A token of the role opens {} and {}. Now one that is limited to {}.",
        granted.text, denied.text, granted.repository
    ))?;
    let key = granted.key(&limited)?;
    let limited_token = trial.mint(&key, &limited).await;
    let tried = async || {
        let (token, _) = limited_token?;
        Ok(conclude(
            (granted, trial.read(granted, &token).await?),
            (denied, trial.read(denied, &token).await?),
        ))
    };
    Ok(tried().await)
}

/// Without scope both must be open, or a refusal would prove nothing.
async fn with_the_whole_role(
    trial: &Trial,
    role: &RoleIdentity,
    granted: &Image,
    denied: &Image,
) -> Step<()> {
    let key = granted.key(role);
    let key = key.map_err(|error| super::trial::Inconclusive(error.to_string()))?;
    let (token, _) = trial.mint(&key, role).await?;
    let needed = "the role must be allowed to pull both images, or a refusal would prove nothing";
    trial.must_open(granted, &token, needed).await?;
    trial.must_open(denied, &token, needed).await
}

fn conclude(granted: (&Image, Reading), denied: (&Image, Reading)) -> Found {
    let (good, sentence) = match (granted.1, denied.1) {
        (Reading::Refused(status), _) => (
            false,
            format!(
                "The limited token does not open {} either (HTTP {status}): do not use scope: Repositories, pulls would \
                 fail.",
                granted.0.text
            ),
        ),
        (Reading::Allowed, Reading::Allowed) => (
            false,
            format!(
                "The limited token opens {} all the same: scope: Repositories does not hold; give each tenant a role of \
                 its own.",
                denied.0.text
            ),
        ),
        (Reading::Allowed, Reading::Refused(status)) => (
            true,
            format!(
                "The limited token opens {} and not {} (HTTP {status}): scope: Repositories holds.",
                granted.0.text, denied.0.text
            ),
        ),
    };
    Found { sentence, good }
}
