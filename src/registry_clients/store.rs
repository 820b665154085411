//! Puts a credential where a client's file says that it belongs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::document::{Document, Malformed};
use super::helper::{self, HelperError};
use super::location::Client;
use crate::files::write_atomically;
use crate::pull_secret::docker_config::USERNAME;

/// The file holds passwords.
const MODE: u32 = 0o600;
/// Links to links that are followed, as the kernel does.
const LINKS_MAX: usize = 40;

/// Where a password went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Into the file.
    File,
    /// To the credential helper of this name, which the file names.
    Helper(String),
}

/// Why a password could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The file cannot be read or written, and was not changed.
    #[error("{} cannot be {action} ({cause})", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why not.
        cause: io::Error,
    },
    /// It is not what such a file must be, and was not changed.
    #[error("{} {}: correct or remove it", path.display(), what.0)]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: Malformed,
    },
    /// A helper that it names failed.
    #[error("{} says that a credential helper keeps the password, but {cause}", path.display())]
    Helper {
        /// The file.
        path: PathBuf,
        /// How it failed.
        cause: HelperError,
    },
}

/// Puts the password of the user `AWS` for `host` where `file` says, which is made when it is missing. Everything else
/// in it stays. The file is read just before it is written, so that little of what others write meanwhile is lost.
///
/// # Errors
/// [`ClientError`]; the file is as it was then.
pub fn put(
    client: Client,
    file: &Path,
    host: &str,
    password: &str,
) -> Result<Destination, ClientError> {
    let path = followed(file).map_err(|cause| failed(file, "found", cause))?;
    let mut document = read(&path)?;
    let helper = document.helper(host, client.knows_creds_store());
    let Some(helper) = helper else {
        document.set(host, Some(password));
        write(&path, &document)?;
        return Ok(Destination::File);
    };
    helper::store(&helper, host, USERNAME, password).map_err(|cause| ClientError::Helper {
        path: path.clone(),
        cause,
    })?;
    document.set(host, None);
    write(&path, &document)?;
    Ok(Destination::Helper(helper))
}

/// Whether a client's file has an answer of its own for `host`, which goes before what other files say. A file that is
/// missing or cannot be read has none.
pub fn answers_for(file: &Path, host: &str) -> bool {
    read(file).is_ok_and(|document| document.answers_for(host))
}

fn read(path: &Path) -> Result<Document, ClientError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Document::default()),
        Err(cause) => return Err(failed(path, "read", cause)),
    };
    Document::parse(&text).map_err(|what| ClientError::Malformed {
        path: path.to_owned(),
        what,
    })
}

fn write(path: &Path, document: &Document) -> Result<(), ClientError> {
    let written =
        make_folder(path).and_then(|()| write_atomically(path, document.render().as_bytes(), MODE));
    written.map_err(|cause| failed(path, "written", cause))
}

/// Makes the folder, for its owner alone, as docker does.
fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.exists() => fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder),
        _ => Ok(()),
    }
}

/// The file behind a symbolic link, existing or not: people keep their configuration in a repository and link to it.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(link) = fs::read_link(&path) else {
            return Ok(path);
        };
        path = path.parent().unwrap_or(Path::new("")).join(link);
    }
    Err(io::Error::other("its symbolic links go in a circle"))
}

fn failed(path: &Path, action: &'static str, cause: io::Error) -> ClientError {
    ClientError::File {
        path: path.to_owned(),
        action,
        cause,
    }
}
