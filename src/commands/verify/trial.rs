//! What the experiments share: an image, a role's identity, tokens, and the registry that is asked.

use std::io::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;

use super::RoleArgs;
use crate::aws::{AwsSettings, EcrTokenSource, Reading, Registry};
use crate::clock::Clock;
use crate::commands::mint::aws_settings;
use crate::image::ecr::EcrHost;
use crate::image::reference::Reference;
use crate::policy::spec::{
    Credentials, EcrPolicySpec, Grant, NamespaceSelector, Role, Scope, TokenLife,
};
use crate::policy::{
    Credential, Identity, Labels, Policy, PolicySet, RoleIdentity, compile, decide,
};
use crate::token::{Token, TokenKey};

/// The name of the policy and of the namespace that the experiments make up; sessions bear it.
const NAME: &str = "verify";

/// A tagged or pinned image of a private registry.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) text: String,
    pub(super) host: String,
    pub(super) repository: String,
    /// A digest, or else a tag.
    version: String,
}

impl FromStr for Image {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let reference =
            Reference::parse(text).map_err(|error| anyhow!("it is no image: {error}"))?;
        if EcrHost::parse(reference.domain()).is_none() {
            bail!("it is not on a private ECR registry");
        }
        let version = reference.digest().or(reference.tag());
        Ok(Self {
            text: text.to_owned(),
            host: reference.domain().to_owned(),
            repository: reference.path().into_owned(),
            version: version
                .context("it has neither a tag nor a digest")?
                .to_owned(),
        })
    }
}

impl Image {
    /// What a token for this image's registry is made for.
    pub(super) fn key(&self, role: &RoleIdentity) -> anyhow::Result<TokenKey> {
        let host = EcrHost::parse(&self.host).context("it is not on a private ECR registry")?;
        Ok(TokenKey {
            identity: Identity::Role(role.clone()),
            partition: host.partition,
            region: host.region.into(),
        })
    }
}

/// What an experiment has shown.
pub(super) struct Found {
    /// For people.
    pub(super) sentence: String,
    /// Whether what was tried works.
    pub(super) good: bool,
}

/// Why it has shown nothing.
pub(super) struct Inconclusive(pub(super) String);

/// What a step of an experiment gives.
pub(super) type Step<T> = Result<T, Inconclusive>;

/// AWS, as the experiments use it.
pub(super) struct Trial {
    source: EcrTokenSource,
    registry: Registry,
}

impl Trial {
    /// With sessions of this length; AWS's default without one.
    ///
    /// # Errors
    /// When AWS cannot be used as the environment says.
    pub(super) async fn new(clock: &Clock, session: Option<Duration>) -> anyhow::Result<Self> {
        let settings = AwsSettings {
            session_length: session,
            ..aws_settings()
        };
        Ok(Self {
            source: EcrTokenSource::load(&settings, clock).await?,
            registry: Registry::new(&settings).await?,
        })
    }

    /// A token, and when the session that made it ends.
    pub(super) async fn mint(
        &self,
        key: &TokenKey,
        role: &RoleIdentity,
    ) -> Step<(Token, Option<Timestamp>)> {
        let minted = self.source.mint_in_session(key, role).await;
        minted.map_err(|error| Inconclusive(error.to_string()))
    }

    /// Whether a token opens an image.
    pub(super) async fn read(&self, image: &Image, token: &Token) -> Step<Reading> {
        let Image {
            host,
            repository,
            version,
            ..
        } = image;
        let read = self.registry.read(host, repository, version, token).await;
        read.map_err(Inconclusive)
    }

    /// Makes sure that a token opens an image, without which nothing could be shown; `or` says what is wrong otherwise.
    pub(super) async fn must_open(&self, image: &Image, token: &Token, or: &str) -> Step<()> {
        match self.read(image, token).await? {
            Reading::Allowed => Ok(()),
            Reading::Refused(status) => Err(Inconclusive(format!(
                "the registry refuses {} (HTTP {status}): {or}",
                image.text
            ))),
        }
    }
}

/// The identity of a policy that grants this image by this role, exactly as `serve` would have it.
///
/// # Errors
/// All that such a policy would be refused for.
pub(super) fn identity(
    role: &RoleArgs,
    scope: Scope,
    image: &Image,
) -> anyhow::Result<RoleIdentity> {
    let grant = Grant {
        registries: vec![image.host.clone()],
        regions: None,
        repositories: vec![image.repository.clone()],
        credentials: Credentials::Provide,
        role: Some(Role {
            arn: role.role.clone(),
            external_id: role.external_id.clone(),
            // What ECR says is what is compared with what it does.
            token_life: TokenLife::Full,
            session_tags: false,
            scope,
        }),
    };
    let spec = EcrPolicySpec {
        namespaces: Some(NamespaceSelector {
            names: Some(vec![NAME.to_owned()]),
            ..NamespaceSelector::default()
        }),
        grants: vec![grant],
        ..EcrPolicySpec::default()
    };
    let compiled = compile(NAME, &spec).map_err(|faults| {
        let faults: Vec<String> = faults.into_iter().map(|fault| fault.message).collect();
        anyhow!("no policy could say so: {}", faults.join("; "))
    })?;
    let set = PolicySet::new(Policy::default(), vec![compiled], Vec::new());
    let policy = set.in_namespace(NAME, &Labels::new());
    match decide(&policy, &image.text).credential {
        Credential::Secret {
            identity: Identity::Role(role),
            ..
        } => Ok(role.clone()),
        _ => bail!("no policy could grant {} by a role", image.text),
    }
}

/// Says how far it is.
///
/// # Errors
/// When nobody reads.
pub(super) fn tell(sentence: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{sentence}")
        .and_then(|()| stdout.flush())
        .context("cannot write to standard output")
}
