//! Real files under the effects of the storage machines.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use storage::disk::{DiskRead, Entry};
use storage::{Dir, Disk, Effect, FileRef};

use crate::denied::{explain, hint};

/// The directories of a server, and the files that are open in them. Each thread that executes effects has its own.
#[derive(Debug)]
pub struct RealDisk {
    data: PathBuf,
    log: PathBuf,
    open: HashMap<FileRef, File>,
    dirs: HashMap<Dir, File>,
    direct: Direct,
}

/// A file open past the page cache, for filling.
#[derive(Debug)]
enum Direct {
    Closed,
    Refused,
    Open(FileRef, File),
}

/// The directory inside `dataDir` and `dataLogDir`.
pub const VERSION_DIR: &str = "version-2";

/// What is written over a file that is being filled. Aligned, so that it can go past the page cache.
#[repr(align(4096))]
struct Zeros([u8; 256 * 1024]);

static ZEROS: Zeros = Zeros([0; 256 * 1024]);

/// What O_DIRECT asks of offsets and lengths.
const DIRECT_ALIGN: u64 = 4096;

impl RealDisk {
    /// Over `dataDir` and `dataLogDir`.
    pub fn new(data_dir: &Path, log_dir: &Path) -> Self {
        Self {
            data: data_dir.to_owned(),
            log: log_dir.to_owned(),
            open: HashMap::new(),
            dirs: HashMap::new(),
            direct: Direct::Closed,
        }
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

    /// Writes zeros, past the page cache where the file system can: they will not be read, and copying them costs more
    /// than anything else about them.
    fn zero_fill(&mut self, file: &FileRef, from: u64, to: u64) -> io::Result<()> {
        let write = |to_file: &File| -> io::Result<()> {
            let mut at = from;
            while at < to {
                let n = (to - at).min(ZEROS.0.len() as u64);
                to_file.write_all_at(&ZEROS.0[..n as usize], at)?;
                at += n;
            }
            Ok(())
        };
        if from.is_multiple_of(DIRECT_ALIGN)
            && to.is_multiple_of(DIRECT_ALIGN)
            && !matches!(self.direct, Direct::Refused)
        {
            if !matches!(&self.direct, Direct::Open(open, _) if open == file) {
                let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or(0);
                self.direct = match OpenOptions::new().write(true).custom_flags(flags).open(self.path(file)) {
                    Ok(opened) => Direct::Open(file.clone(), opened),
                    Err(_) => Direct::Refused,
                };
            }
            if let Direct::Open(_, opened) = &self.direct {
                match write(opened) {
                    // Some file systems accept the flag and refuse the write.
                    Err(e) if e.kind() == ErrorKind::InvalidInput => self.direct = Direct::Refused,
                    done => return done,
                }
            }
        }
        write(self.file(file)?)
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

    fn do_it(&mut self, effect: &Effect) -> io::Result<()> {
        match effect {
            Effect::Create(file) => {
                if matches!(&self.direct, Direct::Open(open, _) if open == file) {
                    self.direct = Direct::Closed;
                }
                let path = self.path(file);
                let created = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
                self.open.insert(file.clone(), created);
                Ok(())
            }
            Effect::WriteAt { file, offset, bytes } => self.file(file)?.write_all_at(bytes, *offset),
            Effect::ZeroFill { file, from, to } => self.zero_fill(file, *from, *to),
            Effect::Allocate { file, from, to } => self.allocate(file, *from, *to),
            Effect::Truncate { file, length } => self.file(file)?.set_len(*length),
            Effect::Fdatasync(file) => self.file(file)?.sync_data(),
            Effect::Fsync(file) => self.file(file)?.sync_all(),
            Effect::Rename { file, to } => {
                let renamed = FileRef::new(file.dir, to.clone());
                std::fs::rename(self.path(file), self.path(&renamed))?;
                if let Some(opened) = self.open.remove(file) {
                    self.open.insert(renamed, opened);
                }
                Ok(())
            }
            Effect::Remove(file) => {
                self.open.remove(file);
                if matches!(&self.direct, Direct::Open(open, _) if open == file) {
                    self.direct = Direct::Closed;
                }
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
        let listing = match std::fs::read_dir(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(explain("listing", &path, &e)),
            Ok(listing) => listing,
        };
        let mut entries = Vec::new();
        for entry in listing {
            let entry = entry?;
            // A name that is no text is none of ours.
            let (Ok(meta), Ok(name)) = (entry.metadata(), entry.file_name().into_string()) else { continue };
            if meta.is_file() {
                entries.push(Entry { name, length: meta.len() });
            }
        }
        Ok(entries)
    }

    fn open(&self, file: &FileRef) -> io::Result<Box<dyn DiskRead + '_>> {
        let path = self.path(file);
        Ok(Box::new(File::open(&path).map_err(|e| explain("opening", &path, &e))?))
    }

    fn execute(&mut self, effect: &Effect) -> io::Result<()> {
        self.do_it(effect).map_err(|e| {
            let (dir, path) = match effect {
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
            };
            // To rename or remove a file is a matter of its directory.
            let is_of_dir = matches!(effect, Effect::Rename { .. } | Effect::Remove(_));
            let hint = hint(if is_of_dir { &dir } else { &path }, e.kind());
            io::Error::new(e.kind(), format!("{} in {}: {e}{hint}", effect.describe(), dir.display()))
        })
    }
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

/// A lock on a data directory, held until it is dropped.
#[derive(Debug)]
pub struct DirLock(#[allow(dead_code, reason = "holding it open is holding the lock")] File);

impl DirLock {
    /// Takes it, or says that another server has it.
    pub fn take(dir: &Path) -> io::Result<Self> {
        let path = dir.join(VERSION_DIR).join("ostler.lock");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| explain("opening the lock", &path, &e))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
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
