//! Tokens for registries that a person named: what `token` and `login` share.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;

use crate::aws::{AwsSettings, EcrTokenSource};
use crate::clock::Clock;
use crate::image::ecr::EcrHost;
use crate::policy::{Identity, NotARegistry, private_registry};
use crate::token::{MintError, Token, TokenKey, TokenSource};

/// A person waits longer than an admission: for a profile's login or a slow link.
const MINT_TIMEOUT: Duration = Duration::from_secs(20);

/// A registry's host on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registry(String);

impl std::str::FromStr for Registry {
    type Err = NotARegistry;

    fn from_str(text: &str) -> Result<Self, NotARegistry> {
        private_registry(text).map(|host| Self(host.host.to_owned()))
    }
}

impl Registry {
    /// The host, exactly as credentials name it.
    pub(super) fn host(&self) -> &str {
        &self.0
    }

    fn key(&self) -> Option<TokenKey> {
        let host = EcrHost::parse(&self.0)?;
        Some(TokenKey {
            identity: Identity::Controller,
            partition: host.partition,
            region: host.region.into(),
        })
    }
}

/// What the environment says about AWS, with a person's patience.
pub(super) fn aws_settings() -> AwsSettings {
    AwsSettings {
        mint_timeout: MINT_TIMEOUT,
        ..AwsSettings::from_environment(|name| std::env::var(name).ok())
    }
}

/// A token for each registry, in order; registries of one region share one mint.
///
/// # Errors
/// When AWS cannot be used as the environment says; what one region refuses is in its own place.
pub(super) async fn mint(registries: &[Registry]) -> anyhow::Result<Vec<Result<Token, MintError>>> {
    let source = EcrTokenSource::load(&aws_settings(), &Clock::system()).await?;
    let keys: Vec<Option<TokenKey>> = registries.iter().map(Registry::key).collect();
    let mut distinct: Vec<&TokenKey> = keys.iter().flatten().collect();
    distinct.sort();
    distinct.dedup();
    let minted = join_all(distinct.iter().map(|key| source.mint(key))).await;
    let minted: HashMap<&TokenKey, Result<Token, MintError>> =
        distinct.into_iter().zip(minted).collect();
    // Every registry was read as one before.
    Ok(keys
        .iter()
        .flatten()
        .filter_map(|key| minted.get(key).cloned())
        .collect())
}
