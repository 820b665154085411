//! A file that others read at any moment: they see the old contents or the new, never half of one.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

/// Replaces `path` by a file with these contents and this mode, which is made beside it first: a rename works within one
/// file system only. The owner stays, where we may keep it: root writes the files of others under sudo.
///
/// # Errors
/// The first that came up; `path` is as it was then.
pub fn write_atomically(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".ecr-admission.")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)?;
    file.write_all(contents)?;
    if let Ok(old) = std::fs::metadata(path) {
        // Only root may give a file away; for everybody else it is his own already.
        let _kept = fchown(file.as_file(), Some(old.uid()), Some(old.gid()));
    }
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
