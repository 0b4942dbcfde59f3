//! Real files under the effects of the storage machines.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, ReadDir};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::disk::{DiskRead, Entry};
use storage::names::{FileName, LOG, zxid_of};
use storage::{Dir, Disk, Effect, FileRef};

use crate::denied::{explain, hint};
use crate::direct::{self, Direct};
use crate::sync_watch::SyncWatch;

/// The directories of a server, and the files that are open in them. Each thread that executes effects has its own.
#[derive(Debug)]
pub struct RealDisk {
    data: PathBuf,
    log: PathBuf,
    open: HashMap<FileRef, File>,
    dirs: HashMap<Dir, File>,
    direct: Direct,
    watch: Option<Arc<SyncWatch>>,
    /// Has a sync failed? The kernel may have dropped what it did not write.
    pub has_failed_sync: bool,
}

/// The directory inside `dataDir` and `dataLogDir`.
pub const VERSION_DIR: &str = "version-2";
pub use storage::last_stop::LOCK_FILE;
/// No more than so much of it is read.
const NOTE_BYTES_MAX: usize = 4096;

impl RealDisk {
    /// Over `dataDir` and `dataLogDir`.
    pub fn new(data_dir: &Path, log_dir: &Path) -> Self {
        Self {
            data: data_dir.to_owned(),
            log: log_dir.to_owned(),
            open: HashMap::new(),
            dirs: HashMap::new(),
            direct: Direct::default(),
            watch: None,
            has_failed_sync: false,
        }
    }

    /// The same, and whoever looks at `watch` sees its syncs.
    pub fn watched(self, watch: &Arc<SyncWatch>) -> Self {
        Self { watch: Some(watch.clone()), ..self }
    }

    /// The same directories, with nothing open.
    pub fn anew(&self) -> Self {
        Self { watch: self.watch.clone(), ..Self::new(&self.data, &self.log) }
    }

    fn dir(&self, dir: Dir) -> PathBuf {
        match dir {
            Dir::Data => self.data.join(VERSION_DIR),
            Dir::Log => self.log.join(VERSION_DIR),
            Dir::DataParent => self.data.clone(),
            Dir::LogParent => self.log.clone(),
        }
    }

    /// Where a file is.
    pub fn path(&self, file: &FileRef) -> PathBuf {
        self.dir(file.dir).join(file.name.to_string())
    }

    /// A file that is there, opened once and kept.
    fn file(&mut self, file: &FileRef) -> io::Result<&File> {
        if !self.open.contains_key(file) {
            let opened = OpenOptions::new().read(true).write(true).open(self.path(file))?;
            // A log file that was left is not written again.
            self.open.retain(|other, _| other.dir != file.dir);
            self.open.insert(file.clone(), opened);
        }
        self.open.get(file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    /// Writes zeros, past the page cache where the file system can.
    fn zero_fill(&mut self, file: &FileRef, from: u64, to: u64) -> io::Result<()> {
        let path = self.path(file);
        if self.direct.zero_fill(file, &path, from, to)? {
            return Ok(());
        }
        direct::write_zeros(self.file(file)?, from, to)
    }

    fn write_at(&mut self, file: &FileRef, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        // The log's batches are small and wait for their sync.
        if file.name == FileName::SnapshotTemp {
            let path = self.path(file);
            written = self.direct.write(file, &path, offset, bytes)?;
        }
        if written > 0 && written == bytes.len() {
            return Ok(());
        }
        self.file(file)?.write_all_at(&bytes[written..], offset + written as u64)
    }

    /// Has the file system set blocks aside that read as zeros. One that knows no such thing gets them written.
    fn allocate(&mut self, file: &FileRef, from: u64, to: u64) -> io::Result<()> {
        let opened = self.file(file)?;
        match rustix::fs::fallocate(opened, rustix::fs::FallocateFlags::empty(), from, to.saturating_sub(from)) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS | rustix::io::Errno::INVAL) => {
                self.zero_fill(file, from, to)
            }
            done => done.map_err(io::Error::from),
        }
    }

    /// The directory of what it touches, and that itself.
    fn places(&self, effect: &Effect) -> (PathBuf, PathBuf) {
        match effect {
            Effect::FsyncDir(dir) => (self.dir(*dir), self.dir(*dir)),
            Effect::Create(file)
            | Effect::WriteAt { file, .. }
            | Effect::ZeroFill { file, .. }
            | Effect::Allocate { file, .. }
            | Effect::Truncate { file, .. }
            | Effect::Fdatasync(file)
            | Effect::Fsync(file)
            | Effect::Rename { file, .. }
            | Effect::Remove(file) => (self.dir(file.dir), self.path(file)),
        }
    }

    fn do_it(&mut self, effect: &Effect) -> io::Result<()> {
        match effect {
            Effect::Create(file) => {
                self.direct.forget(file);
                let path = self.path(file);
                let created = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
                self.open.insert(file.clone(), created);
                Ok(())
            }
            Effect::WriteAt { file, offset, bytes } => self.write_at(file, *offset, bytes),
            Effect::ZeroFill { file, from, to } => self.zero_fill(file, *from, *to),
            Effect::Allocate { file, from, to } => self.allocate(file, *from, *to),
            Effect::Truncate { file, length } => self.file(file)?.set_len(*length),
            // One that is not written to need not be writable, nor stay open.
            Effect::Fdatasync(file) => match self.open.get(file) {
                Some(opened) => opened.sync_data(),
                None => File::open(self.path(file))?.sync_data(),
            },
            Effect::Fsync(file) => self.file(file)?.sync_all(),
            Effect::Rename { file, to } => {
                let renamed = FileRef::new(file.dir, to.clone());
                if *file == renamed {
                    return std::fs::rename(self.path(file), self.path(&renamed));
                }
                match to {
                    FileName::Log(_) => rename_new(&self.path(file), &self.path(&renamed))?,
                    _ => std::fs::rename(self.path(file), self.path(&renamed))?,
                }
                self.direct.forget(file);
                self.direct.forget(&renamed);
                // What is open under the new name is a file that has none any more.
                self.open.remove(&renamed);
                // A log is written on under its name. Everything else gets its name when it is finished, and an open file
                // would keep its blocks after a purge.
                if let (Some(opened), FileName::Log(_)) = (self.open.remove(file), to) {
                    self.open.insert(renamed, opened);
                }
                Ok(())
            }
            Effect::Remove(file) => {
                self.open.remove(file);
                self.direct.forget(file);
                match std::fs::remove_file(self.path(file)) {
                    Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
                    done => done,
                }
            }
            Effect::FsyncDir(dir) => {
                // Kept open: a server that is out of descriptors must still be able to end a log file.
                if !self.dirs.contains_key(dir) {
                    self.dirs.insert(*dir, File::open(self.dir(*dir))?);
                }
                self.dirs.get(dir).map_or(Ok(()), File::sync_all)
            }
        }
    }
}

impl Disk for RealDisk {
    fn is_separate(&self) -> bool {
        self.data != self.log
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<Entry>> {
        let path = self.dir(dir);
        match std::fs::read_dir(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(explain("listing", &path, &e)),
            Ok(listing) => files_of(listing),
        }
    }

    fn open(&self, file: &FileRef) -> io::Result<Box<dyn DiskRead + '_>> {
        let path = self.path(file);
        Ok(Box::new(File::open(&path).map_err(|e| explain("opening", &path, &e))?))
    }

    fn execute(&mut self, effect: &Effect) -> io::Result<()> {
        let is_sync = matches!(effect, Effect::Fdatasync(_) | Effect::Fsync(_) | Effect::FsyncDir(_));
        let done = match self.watch.clone().filter(|_| is_sync) {
            Some(watch) => {
                let what = format!("{} in {}", effect.describe(), self.places(effect).0.display());
                watch.run(what, || self.do_it(effect))
            }
            None => self.do_it(effect),
        };
        done.map_err(|e| {
            self.has_failed_sync |= is_sync;
            let (dir, path) = self.places(effect);
            // To rename or remove a file is a matter of its directory.
            let is_of_dir = matches!(effect, Effect::Rename { .. } | Effect::Remove(_));
            let hint = hint(if is_of_dir { &dir } else { &path }, e.kind());
            io::Error::new(e.kind(), format!("{} in {}: {e}{hint}", effect.describe(), dir.display()))
        })
    }
}

/// The files of a folder, as a start sees them.
pub fn files_of(listing: ReadDir) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in listing {
        let entry = entry?;
        // A name that is no text is none of ours.
        let Ok(name) = entry.file_name().into_string() else { continue };
        // A link is as good as the file, so one that leads nowhere is a file that is missing.
        let meta = match std::fs::metadata(entry.path()) {
            Ok(meta) => meta,
            Err(e) if is_history(&name) && entry.file_type().is_ok_and(|kind| kind.is_symlink()) => {
                return Err(explain("following the link", &entry.path(), &e));
            }
            // It has gone meanwhile.
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            // What can't be looked at is there: to go on without it would be to lose it.
            Err(e) if is_history(&name) => return Err(explain("looking at", &entry.path(), &e)),
            Err(_) => continue,
        };
        if meta.is_file() {
            entries.push(Entry { name, length: meta.len() });
        }
    }
    Ok(entries)
}

/// Renames a file to a name that nobody has: a log that is there is never replaced, whoever wrote it. The lock on the directory
/// keeps other servers of ours from making one in between.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    if from.symlink_metadata().is_ok() && to.symlink_metadata().is_ok() {
        return Err(io::Error::new(
            ErrorKind::AlreadyExists,
            format!(
                "{} is there already, and was not when this server started: does another server write here? Nothing of it \
                 was replaced",
                to.display()
            ),
        ));
    }
    std::fs::rename(from, to)
}

/// Is that the name of a log or a snapshot, as a start takes it? Other links are an operator's own matter.
fn is_history(name: &str) -> bool {
    zxid_of(name, LOG).is_some() || name.starts_with("snapshot.")
}

/// The sum of the lengths of the files in a directory, for `dirs` and `conf`.
pub fn directory_bytes(dir: &Path) -> u64 {
    let Ok(listing) = std::fs::read_dir(dir) else { return 0 };
    listing
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|m| m.len())
        .sum()
}

/// A lock on a data directory, held until it is dropped: on the directory itself, and on a file in it.
///
/// The file holds what the next start should know of this server: see `last_stop`. Whoever removes it while a server runs
/// lets no second one in.
#[derive(Debug)]
pub struct DirLock {
    file: File,
    _dir: File,
    /// The file was there before.
    pub was_there: bool,
}

impl DirLock {
    /// Takes the file away again: a start that ends here was not there.
    pub fn forget(&self, dir: &Path) {
        if !self.was_there {
            // If it stays, the next start only knows less.
            let _ = std::fs::remove_file(dir.join(VERSION_DIR).join(LOCK_FILE));
        }
    }

    /// What the last server has written.
    pub fn read(&self) -> io::Result<String> {
        let mut bytes = vec![0; NOTE_BYTES_MAX];
        let mut length = 0;
        while let read @ 1.. = self.file.read_at(&mut bytes[length..], length as u64)? {
            length += read;
        }
        bytes.truncate(length);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes what the next one should know, durably. A crash on the way leaves a part of it.
    pub fn write(&self, text: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_all_at(text.as_bytes(), 0)?;
        self.file.sync_all()
    }

    /// Takes it, or says that another server has it.
    pub fn take(dir: &Path) -> io::Result<Self> {
        let folder = dir.join(VERSION_DIR);
        let path = folder.join(LOCK_FILE);
        let opened = File::open(&folder).map_err(|e| explain("opening", &folder, &e))?;
        Self::lock(&opened, &path)?;
        let was_there = path.exists();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| explain("opening the lock", &path, &e))?;
        Self::lock(&file, &path)?;
        Ok(Self { file, _dir: opened, was_there })
    }

    fn lock(file: &File, path: &Path) -> io::Result<()> {
        match rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::new(
                ErrorKind::AddrInUse,
                format!(
                    "another server uses it (it holds the lock {}); stop that one, or give this one a dataDir and a dataLogDir \
                     of its own",
                    path.display()
                ),
            )),
            Err(e) => Err(io::Error::new(io::Error::from(e).kind(), format!("can't lock {}: {e}", path.display()))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn one_server_even_without_the_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(VERSION_DIR)).unwrap();
        let lock = DirLock::take(dir.path()).unwrap();
        std::fs::remove_file(dir.path().join(VERSION_DIR).join(LOCK_FILE)).unwrap();
        let why = DirLock::take(dir.path()).unwrap_err();
        assert!(why.to_string().contains("another server uses it"), "{why}");
        drop(lock);
        DirLock::take(dir.path()).unwrap();
    }

    #[test]
    fn a_log_that_is_there_is_not_replaced_and_what_is_finished_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(VERSION_DIR)).unwrap();
        let mut disk = RealDisk::new(dir.path(), dir.path());
        let rename = |name: FileName, to: FileName, disk: &mut RealDisk| {
            let file = FileRef::new(Dir::Log, name);
            disk.execute(&Effect::Create(file.clone())).unwrap();
            disk.execute(&Effect::WriteAt { file: file.clone(), offset: 0, bytes: b"new".to_vec() }).unwrap();
            disk.execute(&Effect::Rename { file, to })
        };
        let log = || FileName::parse("log.7");
        std::fs::write(dir.path().join(VERSION_DIR).join("log.7"), b"old").unwrap();
        let why = rename(FileName::NextLog, log(), &mut disk).unwrap_err();
        assert_eq!(why.kind(), ErrorKind::AlreadyExists);
        assert!(why.to_string().contains("log.7 is there already"), "{why}");
        assert_eq!(std::fs::read(disk.path(&FileRef::new(Dir::Log, log()))).unwrap(), b"old");
        rename(FileName::NextLog, FileName::parse("log.8"), &mut disk).unwrap();
        disk.execute(&Effect::WriteAt { file: FileRef::log(wire::Zxid(8)), offset: 3, bytes: b"er".to_vec() }).unwrap();
        assert_eq!(std::fs::read(disk.path(&FileRef::log(wire::Zxid(8)))).unwrap(), b"newer");
        let mut disk = RealDisk::new(dir.path(), dir.path());
        for zxid in 1..4 {
            rename(FileName::SnapshotTemp, FileName::Snapshot(wire::Zxid(zxid)), &mut disk).unwrap();
        }
        assert_eq!(disk.open.len(), 0, "files that are finished and still open");
    }

    #[test]
    fn what_is_only_synced_does_not_stay_open() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(VERSION_DIR)).unwrap();
        let mut disk = RealDisk::new(dir.path(), dir.path());
        for zxid in 1..4 {
            let file = FileRef::log(wire::Zxid(zxid));
            std::fs::write(disk.path(&file), b"read").unwrap();
            disk.execute(&Effect::Fdatasync(file)).unwrap();
        }
        assert_eq!(disk.open.len(), 0);
    }

    #[test]
    fn whoever_watches_sees_each_sync_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(VERSION_DIR)).unwrap();
        let watch = Arc::new(SyncWatch::default());
        let mut disk = RealDisk::new(dir.path(), dir.path()).watched(&watch).anew();
        let file = FileRef::log(wire::Zxid(1));
        let write = Effect::WriteAt { file: file.clone(), offset: 0, bytes: b"new".to_vec() };
        let syncs = [Effect::Fdatasync(file.clone()), Effect::Fsync(file.clone()), Effect::FsyncDir(Dir::Log)];
        for (seen, effect) in [Effect::Create(file), write].iter().map(|effect| (0, effect)).chain((1..).zip(&syncs)) {
            disk.execute(effect).unwrap();
            assert_eq!(watch.seen(), seen, "{}", effect.describe());
        }
    }

    #[test]
    fn a_link_is_as_good_as_its_file_and_a_log_that_leads_nowhere_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        let version = dir.path().join(VERSION_DIR);
        std::fs::create_dir(&version).unwrap();
        std::fs::write(dir.path().join("elsewhere"), b"12345").unwrap();
        symlink(dir.path().join("elsewhere"), version.join("log.1")).unwrap();
        symlink("nowhere", version.join("notes")).unwrap();
        let disk = RealDisk::new(dir.path(), dir.path());
        assert_eq!(disk.list(Dir::Log).unwrap(), [Entry { name: "log.1".to_owned(), length: 5 }]);
        for name in ["log.2", "log.2.copy", "snapshot.3.gz"] {
            symlink("nowhere", version.join(name)).unwrap();
            let why = disk.list(Dir::Log).unwrap_err().to_string();
            assert!(why.contains("following the link") && why.contains(name), "{why}");
            std::fs::remove_file(version.join(name)).unwrap();
        }
    }
}
