//! From what was named on the command line to files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use storage::disk::Disk;
use storage::names::{LOG, SNAPSHOT, numbered};
use storage::{Dir, FileName};

use crate::folder::Folder;

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Where it is.
    pub path: PathBuf,
    /// Its name, without its folder.
    pub name: FileName,
    /// Its length in bytes.
    pub length: u64,
}

impl Input {
    fn file(path: &Path) -> Result<Self> {
        let meta = std::fs::metadata(path).with_context(|| path.display().to_string())?;
        let name = path.file_name().map(|name| FileName::parse(&name.to_string_lossy()));
        let name = name.unwrap_or_else(|| FileName::Other("".into()));
        Ok(Self { path: path.to_owned(), name, length: meta.len() })
    }

    /// As people are told of it.
    pub fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

/// All files of `folder` with the prefix, oldest first.
fn in_folder(path: &Path, prefix: &str) -> Result<Vec<Input>> {
    let folder = Folder::new(path);
    let listing = folder.list(Dir::Data).with_context(|| folder.path().display().to_string())?;
    let files = numbered(&listing, prefix).into_iter().map(|file| Input {
        path: folder.path().join(file.name.to_string()),
        name: file.name,
        length: file.length,
    });
    Ok(files.collect())
}

/// The logs that `paths` name: a folder stands for all of its logs, oldest first.
pub fn logs(paths: &[PathBuf]) -> Result<Vec<Input>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = in_folder(path, LOG)?;
            if found.is_empty() {
                bail!(
                    "{}: no txn logs there; logs are named log.<zxid>, in the version-2 of dataLogDir",
                    path.display()
                );
            }
            files.extend(found);
        } else {
            files.push(Input::file(path)?);
        }
    }
    Ok(files)
}

/// The snapshots that `paths` name: a folder stands for all of its snapshots, oldest first.
pub fn snapshots(paths: &[PathBuf]) -> Result<Vec<Input>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let found = in_folder(path, SNAPSHOT)?;
            if found.is_empty() {
                bail!(
                    "{}: no snapshots there; they are named snapshot.<zxid>, in the version-2 of dataDir",
                    path.display()
                );
            }
            files.extend(found);
        } else {
            files.push(Input::file(path)?);
        }
    }
    Ok(files)
}

/// The one snapshot that `path` names: of a folder, the newest.
pub fn snapshot(path: &Path) -> Result<Input> {
    snapshots(&[path.to_owned()])?.pop().with_context(|| format!("{}: no snapshot there", path.display()))
}
