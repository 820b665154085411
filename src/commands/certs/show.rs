//! `ecr-admission certs show`: names, issuers, dates, and whether the API server would accept it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use secrecy::ExposeSecret;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{ConfigurationArgs, SecretName, look};
use crate::certificate::managed::authority::{AuthorityCertificate, Bundle};
use crate::certificate::managed::{CertificateStore, State, WebhookConfigurations, verify};
use crate::certificate::subject_names;
use crate::clock::Clock;
use crate::kubernetes::{self, KubeCertificateStore, KubeWebhookConfigurations};

/// Shows certificates: names, issuers, dates, and whether the webhook configurations trust them.
///
/// Looks at files, a Secret of the cluster, or what a live endpoint serves. Keys are never shown. The cluster is found as
/// kubectl finds it; without one, only the last part is missing.
#[derive(Clone, Debug, Args)]
#[group(id = "what", required = true, multiple = false, args = ["files", "secret", "connect"])]
pub(super) struct ShowArgs {
    /// Files in PEM: a chain, its leaf first, or authorities.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,

    /// A Secret of the cluster, such as ecr-admission/ecr-admission-tls.
    #[arg(long, value_name = "NAMESPACE/NAME")]
    secret: Option<SecretName>,

    /// A live endpoint.
    #[arg(long, value_name = "HOST:PORT")]
    connect: Option<String>,

    /// The name to ask the endpoint for [default: its HOST].
    #[arg(long, value_name = "DNS|IP", requires = "connect")]
    server_name: Option<String>,

    #[command(flatten)]
    configuration: ConfigurationArgs,
}

/// Certificates from one place.
struct Shown {
    title: String,
    chain: Vec<CertificateDer<'static>>,
}

pub(super) async fn run(args: &ShowArgs, clock: &Clock) -> anyhow::Result<String> {
    let mut shown: Vec<Shown> = args
        .files
        .iter()
        .map(|file| from_file(file))
        .collect::<Result<_, _>>()?;
    let mut parts = String::new();
    if let Some(secret) = &args.secret {
        (shown, parts) = from_secret(secret).await?;
    }
    if let Some(address) = &args.connect {
        let host = address
            .rsplit_once(':')
            .map_or(address.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = args.server_name.as_deref().unwrap_or(host);
        shown.push(Shown {
            title: format!("{address} serves"),
            chain: look::chain(address, name).await?,
        });
    }
    let now = clock.now();
    let mut out = String::new();
    for shown in &shown {
        writeln!(out, "{}", shown.title)?;
        for certificate in &shown.chain {
            describe(&mut out, certificate, now)?;
        }
    }
    out.push_str(&parts);
    trust(
        &mut out,
        &shown,
        &args.configuration.webhook_configuration,
        now,
    )
    .await?;
    Ok(out)
}

fn from_file(file: &Path) -> anyhow::Result<Shown> {
    let title = file.display().to_string();
    let pem = std::fs::read(file).with_context(|| format!("{title} cannot be read"))?;
    let chain = certificates(&pem).with_context(|| format!("{title} is not well-formed PEM"))?;
    if chain.is_empty() {
        bail!("{title} holds no certificate in PEM");
    }
    Ok(Shown { title, chain })
}

async fn from_secret(secret: &SecretName) -> anyhow::Result<(Vec<Shown>, String)> {
    let SecretName { namespace, name } = secret;
    let cluster = kubernetes::connect(None, None).await?;
    let store = KubeCertificateStore::new(cluster.requests, namespace, name);
    let Some(stored) = store.read().await? else {
        bail!("there is no Secret \"{name}\" in namespace \"{namespace}\"");
    };
    let mut shown = Vec::new();
    for key in ["tls.crt", "ca.crt"] {
        let Some(pem) = stored.data.get(key) else {
            continue;
        };
        let title = format!("{key} of Secret {namespace}/{name}");
        let chain = certificates(pem.expose_secret());
        let chain = chain.with_context(|| format!("{title} is not well-formed PEM"))?;
        shown.push(Shown { title, chain });
    }
    if shown.is_empty() {
        bail!("Secret {namespace}/{name} holds neither tls.crt nor ca.crt");
    }
    Ok((shown, parts(&stored.data)?))
}

/// Which authority plays which part, where the Secret is one of ours.
fn parts(data: &crate::certificate::managed::SecretData) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    let Ok(state) = State::decode(data) else {
        return Ok(out);
    };
    writeln!(out, "self-managed")?;
    writeln!(out, "  signs      {:.16}…", state.signer.certificate.id)?;
    if let Some(next) = &state.next {
        writeln!(out, "  next       {:.16}…", next.certificate.id)?;
    }
    for retiring in &state.retiring {
        let until = retiring.until;
        writeln!(
            out,
            "  retiring   {:.16}… until {until}",
            retiring.certificate.id
        )?;
    }
    Ok(out)
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    Ok(all?)
}

fn describe(
    out: &mut String,
    certificate: &CertificateDer<'static>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let (_, parsed) =
        X509Certificate::from_der(certificate).context("a certificate is not X.509 in DER")?;
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp());
    let from = at(parsed.validity().not_before)?;
    let until = at(parsed.validity().not_after)?;
    if let Some(authority) = AuthorityCertificate::read(certificate.clone()) {
        writeln!(out, "  authority  {}", parsed.subject())?;
        writeln!(out, "  sha256     {}", authority.id)?;
    } else {
        writeln!(out, "  subject    {}", parsed.subject())?;
        let names = subject_names(certificate).join(", ");
        writeln!(out, "  names      {names}")?;
    }
    writeln!(out, "  issuer     {}", parsed.issuer())?;
    writeln!(
        out,
        "  valid      {from} to {until}, {}",
        left(from, until, now)
    )?;
    writeln!(out)?;
    Ok(())
}

fn left(from: Timestamp, until: Timestamp, now: Timestamp) -> String {
    let days = |time: SignedDuration| match time.as_hours() {
        hours if hours >= 48 => format!("{} days", hours / 24),
        hours if hours >= 2 => format!("{hours} hours"),
        _ => format!("{} minutes", time.as_mins()),
    };
    if now < from {
        format!("NOT VALID for another {}", days(from.duration_since(now)))
    } else if now > until {
        format!("EXPIRED {} ago", days(now.duration_since(until)))
    } else {
        format!("{} left", days(until.duration_since(now)))
    }
}

/// Whether each webhook of our configurations trusts the first leaf, or carries the authorities where there is no leaf.
async fn trust(
    out: &mut String,
    shown: &[Shown],
    configuration: &str,
    now: Timestamp,
) -> anyhow::Result<()> {
    writeln!(out, "configurations")?;
    let live = async {
        let cluster = kubernetes::connect(None, None).await?;
        let configurations = KubeWebhookConfigurations::new(cluster.requests, configuration);
        anyhow::Ok(configurations.read().await?)
    };
    let live = match live.await {
        Ok(live) => live,
        Err(error) => {
            writeln!(out, "  not asked: {error:#}")?;
            return Ok(());
        }
    };
    if live.is_empty() {
        writeln!(out, "  there is none called {configuration:?}")?;
    }
    for configuration in &live {
        let verdicts = configuration
            .bundles
            .iter()
            .map(|pem| verdict(shown, &Bundle::read(pem), now));
        let wrong: Vec<_> = verdicts
            .enumerate()
            .filter_map(|(index, verdict)| {
                Some(format!("webhook {}: {}", index + 1, verdict.err()?))
            })
            .collect();
        let told = if wrong.is_empty() {
            "trusts it".to_owned()
        } else {
            format!("does NOT trust it ({})", wrong.join("; "))
        };
        writeln!(out, "  {} {told}", configuration.title)?;
    }
    Ok(())
}

fn verdict(shown: &[Shown], bundle: &Bundle, now: Timestamp) -> Result<(), String> {
    let authority = |der: &CertificateDer<'static>| AuthorityCertificate::read(der.clone());
    let chains = shown.iter().filter(|shown| !shown.chain.is_empty());
    let mut leaves = chains
        .clone()
        .filter(|shown| authority(&shown.chain[0]).is_none());
    if let Some(leaf) = leaves.next() {
        let names = subject_names(&leaf.chain[0]);
        // What the API server asks for, when it is among them.
        let is_service = |name: &&String| name.rsplit('.').next() == Some("svc");
        let asked = names.iter().find(is_service);
        let asked = asked.or(names.first()).ok_or("it has no name")?;
        return verify::accept(&leaf.chain, &bundle.authorities, asked, now);
    }
    let mut missing = chains
        .flat_map(|shown| &shown.chain)
        .filter_map(authority)
        .filter(|authority| !bundle.carries(authority.id));
    match missing.next() {
        None => Ok(()),
        Some(missing) => Err(format!("it does not carry {:.16}…", missing.id)),
    }
}
