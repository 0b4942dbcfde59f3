//! A member whose files are damaged: they are set aside, and it comes back without a vote, by a copy of the leader's data.
//!
//! What was in `version-2` goes into `version-2/damaged-N`, by renames, so that nothing is lost and no room is needed; the
//! lock stays. A member with an empty directory has lost its state: it presents no history, acknowledges no epoch, and
//! votes again once it has synced with a leader. So nothing that was acknowledged can be lost by this, as long as the others
//! have a quorum; without one it waits, and the files can be moved back. While there is a `damaged-N`, an empty directory
//! is not taken for a new database, whatever `zookeeper.db.autocreate` says: the next start knows no more than this one.
//!
//! A crash in between must not leave a part of the files to be taken for the whole: a mark, `damaged-N/moving`, is there
//! from before the first move until behind the last one, and a start that finds it goes on with the moves.
//!
//! It happens at most [`TIMES_MAX`] times. A directory that is damaged again and again is a matter for somebody who looks
//! at the disk; who has done so removes `damaged-N`. A standalone server has nobody to copy from, and never does this.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::config::StorageConfig;
use crate::directories::folders;
use crate::disk::LOCK_FILE;
use crate::start::StartError;

/// So often files are set aside, before somebody has to look.
pub const TIMES_MAX: u32 = 3;
/// There while files are being moved.
const MARK: &str = "moving";

/// Were files set aside, and has nobody removed them since?
pub fn was_done(storage: &StorageConfig) -> bool {
    (1..=TIMES_MAX).any(|n| folders(storage)[0].join(format!("damaged-{n}")).is_dir())
}

/// Moves everything aside; the name of the folders that it is in.
///
/// # Errors
/// It was done [`TIMES_MAX`] times already, or a file can't be moved.
pub fn set_aside(storage: &StorageConfig) -> Result<String, StartError> {
    let folders = folders(storage);
    let names = (1..=TIMES_MAX).map(|n| format!("damaged-{n}"));
    let free = names.into_iter().find(|name| folders.iter().all(|folder| !folder.join(name).exists()));
    let Some(name) = free else {
        let reason = format!(
            "files were set aside {TIMES_MAX} times already, in damaged-1 to damaged-{TIMES_MAX}: look at the disk and the \
             memory of this machine, and remove those folders when that is done"
        );
        return Err(StartError::Directory { path: storage.data_dir.clone(), reason });
    };
    let mark = folders[0].join(&name).join(MARK);
    let marked = fs::create_dir(folders[0].join(&name)).and_then(|()| File::create(&mark)?.sync_all());
    let marked = marked.and_then(|()| sync(&folders[0].join(&name))).and_then(|()| sync(&folders[0]));
    marked.map_err(|e| failed(&mark, &e))?;
    move_all(&folders, &name)?;
    Ok(name)
}

/// Goes on with moves that were interrupted; the name of the folders, if there were any.
///
/// # Errors
/// A file can't be moved, or this is no member any more.
pub fn resume(storage: &StorageConfig, is_member: bool) -> Result<Option<String>, StartError> {
    let folders = folders(storage);
    let mut names = (1..=TIMES_MAX).map(|n| format!("damaged-{n}"));
    let Some(name) = names.find(|name| folders[0].join(name).join(MARK).exists()) else { return Ok(None) };
    if !is_member {
        let reason = format!(
            "a member's damaged files were being moved into {name} when it stopped, and without the others there is nobody to \
             copy from: move all of them back to where they were, and remove {name}/{MARK}"
        );
        return Err(StartError::Directory { path: folders[0].clone(), reason });
    }
    move_all(&folders, &name)?;
    Ok(Some(name))
}

fn move_all(folders: &[PathBuf], name: &str) -> Result<(), StartError> {
    for folder in folders {
        move_files(folder, &folder.join(name)).map_err(|e| failed(folder, &e))?;
    }
    let mark = folders[0].join(name).join(MARK);
    fs::remove_file(&mark).and_then(|()| sync(&folders[0].join(name))).map_err(|e| failed(&mark, &e))
}

/// All files of one folder but for the lock; folders in it stay.
fn move_files(from: &Path, to: &Path) -> io::Result<()> {
    match fs::create_dir(to) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() && entry.file_name() != LOCK_FILE {
            fs::rename(entry.path(), to.join(entry.file_name()))?;
        }
    }
    sync(to)?;
    sync(from)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn failed(path: &Path, error: &io::Error) -> StartError {
    StartError::Directory { path: path.to_owned(), reason: format!("damaged files can't be set aside: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    fn storage(dir: &Path) -> StorageConfig {
        let cfg = dir.join("zoo.cfg");
        let text = format!("dataDir={0}/data\ndataLogDir={0}/log\nclientPort=1\n", dir.display());
        fs::write(&cfg, text).unwrap();
        let storage = Config::load(&cfg, &Environment::default()).unwrap().storage;
        for folder in folders(&storage) {
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(LOCK_FILE), "").unwrap();
        }
        storage
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn all_but_the_lock_goes_and_three_times_at_most() {
        let dir = tempfile::tempdir().unwrap();
        let storage = storage(dir.path());
        let both = folders(&storage);
        for n in 1..=TIMES_MAX {
            fs::write(both[0].join("snapshot.0"), "s").unwrap();
            fs::write(both[0].join("currentEpoch"), "7").unwrap();
            fs::write(both[1].join("log.1"), "l").unwrap();
            let name = set_aside(&storage).unwrap();
            assert_eq!(name, format!("damaged-{n}"));
            assert_eq!(names(&both[0].join(&name)), ["currentEpoch", "snapshot.0"]);
            assert_eq!(names(&both[1].join(&name)), ["log.1"]);
            assert_eq!(names(&both[1]).len(), n as usize + 1, "the lock, and what was set aside");
        }
        let error = set_aside(&storage).unwrap_err().to_string();
        assert!(error.contains("3 times already"), "{error}");
    }

    #[test]
    fn moves_that_were_interrupted_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let storage = storage(dir.path());
        let both = folders(&storage);
        assert_eq!(resume(&storage, true).unwrap(), None);
        assert!(!was_done(&storage));
        // As it is when the process ends behind the first move.
        fs::create_dir(both[0].join("damaged-1")).unwrap();
        fs::write(both[0].join("damaged-1").join(MARK), "").unwrap();
        fs::write(both[0].join("damaged-1/snapshot.5"), "s").unwrap();
        fs::write(both[0].join("snapshot.0"), "s").unwrap();
        fs::write(both[1].join("log.1"), "l").unwrap();
        let error = resume(&storage, false).unwrap_err().to_string();
        assert!(error.contains("move all of them back"), "{error}");
        assert_eq!(resume(&storage, true).unwrap().as_deref(), Some("damaged-1"));
        assert_eq!(names(&both[0].join("damaged-1")), ["snapshot.0", "snapshot.5"]);
        assert_eq!(names(&both[1].join("damaged-1")), ["log.1"]);
        assert_eq!(resume(&storage, true).unwrap(), None);
        assert!(was_done(&storage));
    }
}
