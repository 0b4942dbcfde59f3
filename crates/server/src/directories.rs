//! The directories of a server, before anything in them is looked at: made, found to be one or two, locked.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use storage::names;
use storage::{Dir, Disk};

use crate::config::{Config, StorageConfig};
use crate::denied;
use crate::disk::{DirLock, LOCK_FILE, VERSION_DIR};
use crate::start::StartError;

/// A `dataLogDir` that is the `dataDir` by another way, a symlink or a mount, is that by name, too: it has one lock, and
/// whoever looks for logs among the snapshots must know that both are there.
pub fn once(config: &Config) -> Result<Cow<'_, Config>, StartError> {
    let storage = &config.storage;
    if storage.data_dir == storage.data_log_dir || !is_one(&storage.data_dir, &storage.data_log_dir)? {
        return Ok(Cow::Borrowed(config));
    }
    tracing::info!(
        "dataLogDir {} is dataDir {} by another path",
        storage.data_log_dir.display(),
        storage.data_dir.display()
    );
    let mut config = config.clone();
    config.storage.data_log_dir.clone_from(&config.storage.data_dir);
    Ok(Cow::Owned(config))
}

/// Do both hold the same folder?
fn is_one(one: &Path, other: &Path) -> Result<bool, StartError> {
    let identity = |dir: &Path| {
        let path = dir.join(VERSION_DIR);
        match fs::metadata(&path) {
            Ok(meta) => Ok((meta.dev(), meta.ino())),
            Err(e) => {
                let reason = denied::explain("looking at", &path, &e).to_string();
                Err(StartError::Directory { path: dir.to_owned(), reason })
            }
        }
    };
    Ok(identity(one)? == identity(other)?)
}

/// The folders with logs and snapshots.
pub fn folders(storage: &StorageConfig) -> Vec<PathBuf> {
    let mut dirs = vec![storage.data_dir.join(VERSION_DIR)];
    if storage.data_dir != storage.data_log_dir {
        dirs.push(storage.data_log_dir.join(VERSION_DIR));
    }
    dirs
}

/// Makes those that are missing.
pub fn make(storage: &StorageConfig) -> Result<(), StartError> {
    for dir in [&storage.data_dir, &storage.data_log_dir] {
        let path = dir.join(VERSION_DIR);
        if path.is_dir() {
            continue;
        }
        if !storage.directories_autocreate {
            return Err(StartError::Directory {
                path,
                reason: "does not exist, and zookeeper.datadir.autocreate=false forbids to create it".to_owned(),
            });
        }
        create_durably(&path).map_err(|e| {
            let reason = format!("can't be created: {e}{}", denied::hint(&path, e.kind()));
            StartError::Directory { path, reason }
        })?;
    }
    Ok(())
}

/// Creates a directory and those above it that are missing. Each is there for good only when the one above it is synced:
/// without that, a crash could take the whole of a new database away.
fn create_durably(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.is_dir()).count();
    fs::create_dir_all(path)?;
    for dir in path.ancestors().skip(1).take(missing) {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Takes the lock of each.
pub fn lock(storage: &StorageConfig) -> Result<Vec<DirLock>, StartError> {
    let take = |dir: &Path| {
        DirLock::take(dir).map_err(|e| StartError::Directory { path: dir.to_owned(), reason: e.to_string() })
    };
    let mut locks = vec![take(&storage.data_dir)?];
    if storage.data_dir != storage.data_log_dir {
        locks.push(take(&storage.data_log_dir)?);
    }
    Ok(locks)
}

/// A `dataLogDir` in which this server has never been, beside a `dataDir` in which it has: a disk that is not mounted, or a path
/// that was changed. Without its logs, what was acknowledged would be missing and nobody would know.
pub fn look_for_lost(storage: &StorageConfig, locks: &[DirLock], disk: &dyn Disk) -> Result<(), StartError> {
    let [of_data, of_logs] = locks else { return Ok(()) };
    let lost = |e: io::Error| StartError::Directory { path: storage.data_log_dir.clone(), reason: e.to_string() };
    let is_empty = || disk.list(Dir::Log).map(|files| names::numbered(&files, names::LOG).is_empty()).map_err(lost);
    if !of_data.was_there || of_logs.was_there || !is_empty()? {
        return Ok(());
    }
    let (data, logs) = (storage.data_dir.join(VERSION_DIR), storage.data_log_dir.join(VERSION_DIR));
    of_logs.forget(&storage.data_log_dir);
    Err(StartError::Directory {
        path: storage.data_log_dir.clone(),
        reason: format!(
            "there is no log in {}, and this server has never been there, while it has been in {}: is the disk of dataLogDir not \
             mounted, or was dataLogDir changed? Bring the logs back: without them, whatever was acknowledged behind the newest \
             snapshot is missing. If there never were any, remove {}",
            logs.display(),
            data.display(),
            data.join(LOCK_FILE).display()
        ),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn one_directory_by_two_ways() {
        let dir = tempfile::tempdir().unwrap();
        let (data, other) = (dir.path().join("data"), dir.path().join("other"));
        for dir in [&data, &other] {
            fs::create_dir_all(dir.join(VERSION_DIR)).unwrap();
        }
        assert!(!is_one(&data, &other).unwrap());
        // The directory, or only the folder inside.
        let (outer, inner) = (dir.path().join("outer"), dir.path().join("inner"));
        symlink(&data, &outer).unwrap();
        fs::create_dir(&inner).unwrap();
        symlink(data.join(VERSION_DIR), inner.join(VERSION_DIR)).unwrap();
        for link in [outer, inner] {
            assert!(is_one(&data, &link).unwrap(), "{}", link.display());
            assert!(!is_one(&other, &link).unwrap(), "{}", link.display());
        }
        assert!(matches!(is_one(&data, &dir.path().join("gone")), Err(StartError::Directory { .. })));
    }
}
