//! A certificate in a volume, as the kubelet brings a Secret into a Pod.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A volume as the kubelet lays it out: `tls.crt` → `..data/tls.crt`, `..data` → a folder named by time. An update
/// writes a new folder, renames a new `..data` over the old one, and removes the old folder.
pub(crate) struct Volume {
    root: TempDir,
    generation: usize,
}

impl Volume {
    pub(crate) fn new(chain: &str, key: &str) -> Self {
        let mut volume = Self {
            root: tempfile::tempdir().unwrap(),
            generation: 0,
        };
        volume.update(chain, key);
        for file in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(file), volume.path(file)).unwrap();
        }
        volume
    }

    pub(crate) fn update(&mut self, chain: &str, key: &str) {
        let folder = |generation| format!("..2026_11_21_00_00_00.{generation}");
        self.generation += 1;
        let new = folder(self.generation);
        fs::create_dir(self.path(&new)).unwrap();
        fs::write(self.path(&new).join("tls.crt"), chain).unwrap();
        fs::write(self.path(&new).join("tls.key"), key).unwrap();
        symlink(&new, self.path("..data_tmp")).unwrap();
        fs::rename(self.path("..data_tmp"), self.path("..data")).unwrap();
        if self.generation > 1 {
            fs::remove_dir_all(self.path(&folder(self.generation - 1))).unwrap();
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }
}
