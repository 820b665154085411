//! A certificate pair in two files, as cert-manager, the kubelet or a person put it there.

use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::certificate::{AuthoritySource, CertificateSource, PairError, PemPair};

/// The largest file that is read. A chain of ten certificates and its key need some 20 KiB; a Secret holds 1 MiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The two files of a pair.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    chain: PathBuf,
    key: PathBuf,
}

impl CertificateFiles {
    /// The chain (leaf first) and its private key, both PEM. Neither is opened yet.
    pub fn new(chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            chain: chain.into(),
            key: key.into(),
        }
    }
}

impl CertificateSource for CertificateFiles {
    fn read(&self) -> BoxFuture<'_, Result<PemPair, PairError>> {
        Box::pin(async {
            let chain = read(&self.chain, "certificate").await?;
            let key = read(&self.key, "private key").await?;
            Ok(PemPair {
                chain,
                key: key.into(),
                chain_name: self.chain.display().to_string(),
                key_name: self.key.display().to_string(),
            })
        })
    }
}

/// The file that holds the authorities of clients.
#[derive(Clone, Debug)]
pub struct AuthorityFile(PathBuf);

impl AuthorityFile {
    /// A bundle in PEM. It is not opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl AuthoritySource for AuthorityFile {
    fn read(&self) -> BoxFuture<'_, Result<Vec<u8>, PairError>> {
        Box::pin(read(&self.0, "client CA"))
    }
}

async fn read(path: &Path, what: &str) -> Result<Vec<u8>, PairError> {
    let unreadable = |reason: &dyn std::fmt::Display| {
        PairError::new(format!(
            "the {what} file {} cannot be read: {reason}",
            path.display()
        ))
    };
    let file = File::open(path).await.map_err(|error| unreadable(&error))?;
    // Room at once: a growing vector would leave copies of a key behind.
    let length = file
        .metadata()
        .await
        .map_err(|error| unreadable(&error))?
        .len();
    let room = usize::try_from(length.min(FILE_BYTES_MAX) + 1).unwrap_or_default();
    let mut contents = Vec::with_capacity(room);
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut contents)
        .await
        .map_err(|error| unreadable(&error))?;
    if contents.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(&"it is larger than 1 MiB"));
    }
    Ok(contents)
}
