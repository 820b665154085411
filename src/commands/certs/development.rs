//! `ecr-admission certs`, alone: a certificate for development, from an authority of its own.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use secrecy::ExposeSecret;

use crate::certificate::development::{DevelopmentCa, LEAF_LIFE_DEFAULT};
use crate::clock::Clock;
use crate::files::write_atomically;

const DAY_SECONDS: u64 = 24 * 60 * 60;
const CA_FILE: &str = "ca.crt";
const CERT_FILE: &str = "tls.crt";
const KEY_FILE: &str = "tls.key";

/// What is to be made.
#[derive(Clone, Debug, Args)]
pub struct DevelopmentArgs {
    /// The folder to write to; made when missing.
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub dir: PathBuf,

    /// A DNS name or IP address of the server, such as ecr-admission.ecr-admission.svc; may be repeated.
    #[arg(
        long = "name",
        value_name = "DNS|IP",
        default_values_t = ["localhost", "127.0.0.1", "::1"].map(str::to_owned)
    )]
    pub names: Vec<String>,

    /// For how many days the server's certificate is valid, up to 365.
    #[arg(long, value_name = "N", default_value_t = LEAF_LIFE_DEFAULT.as_secs() / DAY_SECONDS)]
    pub days: u64,

    /// Replace files that are already there.
    #[arg(long)]
    pub force: bool,
}

/// Makes the files and tells on `out` what they are for.
pub fn run(args: &DevelopmentArgs, clock: &Clock, out: &mut impl Write) -> anyhow::Result<()> {
    let files = [CA_FILE, CERT_FILE, KEY_FILE].map(|file| args.dir.join(file));
    if !args.force
        && let Some(there) = files.iter().find(|file| file.exists())
    {
        bail!(
            "{} already exists: give another --dir, or --force to replace it",
            there.display()
        );
    }
    let life = Duration::from_secs(args.days.saturating_mul(DAY_SECONDS));
    let made = DevelopmentCa::new(clock.now(), &args.names, life)?;

    fs::create_dir_all(&args.dir)
        .with_context(|| format!("the folder {} cannot be made", args.dir.display()))?;
    let [ca, cert, key] = &files;
    for (file, contents, mode) in [
        (key, made.key_pem.expose_secret(), 0o600),
        (cert, made.cert_pem.as_str(), 0o644),
        (ca, made.ca_pem.as_str(), 0o644),
    ] {
        write_atomically(file, contents.as_bytes(), mode)
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    tell(out, &files, &args.names, &made).context("cannot write to standard output")
}

fn tell(
    out: &mut impl Write,
    files: &[PathBuf; 3],
    names: &[String],
    made: &DevelopmentCa,
) -> io::Result<()> {
    let [ca, cert, key] = files.each_ref().map(|file| file.display());
    let host = match names.first() {
        Some(name) if name.contains(':') => format!("[{name}]"),
        Some(name) => name.clone(),
        None => "localhost".to_owned(),
    };
    writeln!(out, "{ca}   the authority that clients trust")?;
    writeln!(
        out,
        "{cert}  the server's certificate for {}, until {}",
        names.join(", "),
        made.not_after
    )?;
    writeln!(out, "{key}  its private key; keep it to yourself")?;
    writeln!(out)?;
    writeln!(
        out,
        "Serve with it:  ecr-admission serve --tls-cert {cert} --tls-key {key}"
    )?;
    writeln!(
        out,
        "Ask it:         curl --cacert {ca} https://{host}:8443/mutate"
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use clap::Parser;

    use std::path::Path;

    use super::*;
    use crate::certificate::{CertificatePair, PemPair};

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        certs: DevelopmentArgs,
    }

    fn certs(dir: &Path, more: &[&str]) -> anyhow::Result<String> {
        let dir = dir.to_str().unwrap();
        let line = ["certs", "--dir", dir]
            .into_iter()
            .chain(more.iter().copied());
        let args = Program::try_parse_from(line)?.certs;
        let mut out = Vec::new();
        run(&args, &Clock::system(), &mut out)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn makes_a_pair_that_may_be_served_and_a_key_that_only_its_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("certs");
        let told = certs(&dir, &[]).unwrap();
        assert!(told.contains("--tls-cert") && told.contains("--cacert"));

        let read = |file: &str| fs::read(dir.join(file)).unwrap();
        let pem = PemPair {
            chain: read(CERT_FILE),
            key: read(KEY_FILE).into(),
            chain_name: CERT_FILE.to_owned(),
            key_name: KEY_FILE.to_owned(),
        };
        let pair = CertificatePair::check(&pem, &["localhost".to_owned()], Clock::system().now());
        assert_eq!(pair.unwrap().names, ["localhost", "127.0.0.1", "::1"]);
        let mode = fs::metadata(dir.join(KEY_FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            fs::read_dir(&dir).unwrap().count(),
            3,
            "nothing temporary is left"
        );
    }

    #[test]
    fn replaces_nothing_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        certs(dir.path(), &[]).unwrap();
        let before = fs::read(dir.path().join(CA_FILE)).unwrap();
        let refused = certs(dir.path(), &["--name", "example.test"]).unwrap_err();
        assert!(refused.to_string().contains("--force"), "{refused}");
        assert_eq!(fs::read(dir.path().join(CA_FILE)).unwrap(), before);
        certs(dir.path(), &["--name", "example.test", "--force"]).unwrap();
        assert_ne!(fs::read(dir.path().join(CA_FILE)).unwrap(), before);
    }

    #[test]
    fn refuses_names_and_lives_that_no_certificate_can_have() {
        let dir = tempfile::tempdir().unwrap();
        for bad in [
            ["--name", "a b"],
            ["--name", ""],
            ["--days", "0"],
            ["--days", "9999999999999999999"],
        ] {
            assert!(certs(dir.path(), &bad).is_err(), "{bad:?}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
