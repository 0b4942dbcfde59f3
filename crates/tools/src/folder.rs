//! A data directory as the storage machines see it, read only.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use server::disk::files_of;
use storage::disk::{Disk, DiskRead, Entry};
use storage::{Dir, Effect, FileRef};

/// The folder that holds the files, below `dataDir` and `dataLogDir` (`FileTxnSnapLog.version`).
const VERSION_DIR: &str = "version-2";

/// One folder with logs, snapshots or both.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// `path` is a `version-2`, or what holds one, or any folder with such files.
    pub fn new(path: &Path) -> Self {
        let inner = path.join(VERSION_DIR);
        Self { path: if inner.is_dir() { inner } else { path.to_owned() } }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Does a server run on it? One of ours: Apache's takes no lock.
    pub fn is_in_use(&self) -> bool {
        File::open(&self.path).is_ok_and(|folder| {
            let taken = rustix::fs::flock(folder, rustix::fs::FlockOperation::NonBlockingLockShared);
            taken.is_err_and(|e| e == rustix::io::Errno::WOULDBLOCK)
        })
    }
}

impl Disk for Folder {
    fn is_separate(&self) -> bool {
        false
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<Entry>> {
        if !matches!(dir, Dir::Data | Dir::Log) {
            return Ok(Vec::new());
        }
        files_of(std::fs::read_dir(&self.path)?)
    }

    fn open(&self, file: &FileRef) -> io::Result<Box<dyn DiskRead + '_>> {
        Ok(Box::new(File::open(self.path.join(file.name.to_string()))?))
    }

    fn execute(&mut self, effect: &Effect) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, format!("not done: {}", effect.describe())))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_a_start_reads_is_what_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let (version, elsewhere) = (dir.path().join(VERSION_DIR), dir.path().join("elsewhere"));
        std::fs::create_dir(&version).unwrap();
        std::fs::write(&elsewhere, b"12345").unwrap();
        symlink(&elsewhere, version.join("log.1")).unwrap();
        let folder = Folder::new(dir.path());
        assert_eq!(folder.list(Dir::Log).unwrap(), [Entry { name: "log.1".to_owned(), length: 5 }]);
        std::fs::remove_file(elsewhere).unwrap();
        let why = folder.list(Dir::Log).unwrap_err().to_string();
        assert!(why.starts_with("following the link ") && why.contains("log.1"), "{why}");
    }
}
