//! Which files are read, and reading them within bounds.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The largest file that is read. `kubectl get pods -A -o yaml` of a thousand Pods has about 15 MiB.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A file to read, or what could not be looked at.
pub(super) type Found = Result<PathBuf, (PathBuf, io::Error)>;

/// The file itself, whatever its name; or the manifests in a directory and below it, in the order of their names,
/// without hidden files, hidden directories and links.
pub(super) fn manifests(path: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => walk(path, &mut found),
        Ok(_) => found.push(Ok(path.to_owned())),
        Err(error) => found.push(Err((path.to_owned(), error))),
    }
    found
}

/// Depth first, on a list rather than the stack: a directory tree may be deep.
fn walk(root: &Path, found: &mut Vec<Found>) {
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let is_directory = path == root
            || path
                .symlink_metadata()
                .is_ok_and(|metadata| metadata.is_dir());
        if !is_directory {
            found.push(Ok(path));
            continue;
        }
        match entries(&path) {
            Ok(entries) => pending.extend(entries),
            Err(error) => found.push(Err((path, error))),
        }
    }
}

/// The directories and manifests in a directory, last name first.
fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if !is_hidden && (kind.is_dir() || (kind.is_file() && is_manifest(&path))) {
            entries.push(path);
        }
    }
    entries.sort_by(|a, b| b.cmp(a));
    Ok(entries)
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// A file's bytes.
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    read_bounded(&mut fs::File::open(path)?)
}

/// All bytes, as far as they are not too many.
pub(super) fn read_bounded(reader: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let limit = format!("it is larger than {} MiB: split it", FILE_BYTES_MAX >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, limit));
    }
    Ok(bytes)
}
