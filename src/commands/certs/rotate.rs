//! `ecr-admission certs rotate`: a new authority, in good order or at once.

use std::fmt::Write;

use anyhow::{Context, bail};
use clap::Args;

use super::{ConfigurationArgs, SecretName};
use crate::certificate::managed::rotation::{announce, give_up};
use crate::certificate::managed::{
    CertificateStore, Plan, State, StoredCertificate, WebhookConfigurations,
};
use crate::clock::Clock;
use crate::kubernetes::{self, KubeCertificateStore, KubeWebhookConfigurations};
use crate::secret::{StoreError, StoreErrorKind};

/// How often a write that somebody else was faster with is tried.
const TRIES: u32 = 10;

/// Replaces the authority of self-managed certificates.
///
/// Alone it announces a new authority, due or not: the replicas bring it into the caBundle, wait, let it sign the next
/// certificate, and keep the old one trusted until its last certificate has expired. Nothing fails meanwhile.
///
/// With --now, for a key that was compromised, the old authority is given up at once, and it says what fails meanwhile.
#[derive(Clone, Debug, Args)]
pub(super) struct RotateArgs {
    /// Trust the old authority no more from now on.
    #[arg(long)]
    now: bool,

    /// The Secret of the self-managed certificates.
    #[arg(
        long,
        value_name = "NAMESPACE/NAME",
        default_value = "ecr-admission/ecr-admission-tls"
    )]
    secret: SecretName,

    #[command(flatten)]
    configuration: ConfigurationArgs,
}

pub(super) async fn run(args: &RotateArgs, clock: &Clock) -> anyhow::Result<String> {
    let cluster = kubernetes::connect(None, None).await?;
    let SecretName { namespace, name } = &args.secret;
    let store = KubeCertificateStore::new(cluster.requests.clone(), namespace, name);
    let configuration = &args.configuration.webhook_configuration;
    let configurations = KubeWebhookConfigurations::new(cluster.requests, configuration);
    let new = change(&store, args, clock).await?;
    let Some(new) = new else {
        return Ok("A new authority has been announced before and is on its way.\n".to_owned());
    };
    let mut out = String::new();
    if !args.now {
        let next = new.next.as_ref().context("nothing was announced")?;
        let next = next.certificate.id;
        writeln!(
            out,
            "Announced authority {next:.16}…: the replicas go on from here, and nothing fails meanwhile.\n\
             Watch it with: ecr-admission certs show --secret {namespace}/{name}"
        )?;
        return Ok(out);
    }
    writeln!(
        out,
        "Secret {namespace}/{name}: a new authority and a new certificate; the old ones are given up for good."
    )?;
    let written = write_bundles(&configurations, &new).await;
    match written {
        Ok(titles) if titles.is_empty() => {
            writeln!(out, "There is no webhook configuration to write to.")?;
        }
        Ok(titles) => writeln!(out, "Trusts the new one alone: {}.", titles.join(", "))?,
        Err(error) => writeln!(
            out,
            "The webhook configurations could not be written ({error:#}): a running replica does it within seconds."
        )?,
    }
    out.push_str(
        "Until a replica has seen the new Secret, within seconds, the API server refuses its certificate: by the \
         failurePolicy of the webhooks, Pods that name ECR are admitted unchecked and without the pull Secret (Ignore) \
         or refused (Fail) meanwhile. A replica that cannot reach the API server is refused until it can.\n",
    );
    Ok(out)
}

/// Writes the changed state; `None` when there is nothing to change.
async fn change(
    store: &KubeCertificateStore,
    args: &RotateArgs,
    clock: &Clock,
) -> anyhow::Result<Option<State>> {
    let mut tries = 0;
    loop {
        let stored = store.read().await?;
        let (stored, state) = decode(stored, args)?;
        let (plan, now) = (Plan::like(&state), clock.now());
        let new = if args.now {
            Some(give_up(&state, &plan, now)?)
        } else {
            announce(&state, &plan, now)?
        };
        let Some(new) = new else { return Ok(None) };
        match store.update(&stored.version, &new.encode()).await {
            Ok(()) => return Ok(Some(new)),
            Err(error) => again(error, &mut tries)?,
        }
    }
}

fn decode(
    stored: Option<StoredCertificate>,
    args: &RotateArgs,
) -> anyhow::Result<(StoredCertificate, State)> {
    let SecretName { namespace, name } = &args.secret;
    let Some(stored) = stored else {
        bail!(
            "there is no Secret \"{name}\" in namespace \"{namespace}\": a running replica makes it, unless its \
             certificates come from files"
        );
    };
    if !stored.owned || !stored.writable {
        bail!("Secret {namespace}/{name} is not one of self-managed certificates");
    }
    match State::decode(&stored.data) {
        Ok(state) => Ok((stored, state)),
        Err(_) => bail!(
            "Secret {namespace}/{name} cannot be read as the state of self-managed certificates; a running replica of \
             the version that wrote it, or a newer one, makes it anew when it is garbage"
        ),
    }
}

async fn write_bundles(
    configurations: &KubeWebhookConfigurations,
    new: &State,
) -> Result<Vec<String>, StoreError> {
    let wanted = new.bundle();
    let pem = wanted.pem();
    let mut tries = 0;
    'again: loop {
        let live = configurations.read().await?;
        for configuration in &live {
            if let Err(error) = configurations.write(configuration, &pem).await {
                again(error, &mut tries)?;
                continue 'again;
            }
        }
        return Ok(live
            .into_iter()
            .map(|configuration| configuration.title)
            .collect());
    }
}

fn again(error: StoreError, tries: &mut u32) -> Result<(), StoreError> {
    *tries += 1;
    match error.kind {
        StoreErrorKind::Conflict | StoreErrorKind::NotFound if *tries < TRIES => Ok(()),
        _ => Err(error),
    }
}
