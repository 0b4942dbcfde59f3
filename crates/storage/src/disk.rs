//! What a disk must offer: a few effects, a listing, and reading.
//!
//! Two directories (often one): [`Dir::Data`] holds the snapshots, [`Dir::Log`] the txn logs. The machines of this crate
//! never touch a file; they give [`Effect`]s, and whoever owns the files executes them, in the order given, and stops at
//! the first that fails.

use std::fmt;
use std::io::{self, Read, Seek};

use crate::names::FileName;

/// A directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dir {
    /// `<dataDir>/version-2`: snapshots and epoch files.
    Data,
    /// `<dataLogDir>/version-2`: txn logs. The same directory as [`Data`](Self::Data) unless `dataLogDir` is set.
    Log,
    /// `<dataDir>`: where `zkServer-initialize.sh` puts `initialize`.
    DataParent,
    /// `<dataLogDir>`: where Apache looks for `initialize`.
    LogParent,
}

/// A file: its directory and its name. An executor may keep a handle open for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileRef {
    /// Where.
    pub dir: Dir,
    /// What.
    pub name: FileName,
}

impl FileRef {
    /// A file.
    pub fn new(dir: Dir, name: FileName) -> Self {
        Self { dir, name }
    }

    /// A txn log.
    pub fn log(zxid: wire::Zxid) -> Self {
        Self::new(Dir::Log, FileName::Log(zxid))
    }

    /// A snapshot.
    pub fn snapshot(zxid: wire::Zxid) -> Self {
        Self::new(Dir::Data, FileName::Snapshot(zxid))
    }
}

impl fmt::Display for FileRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// Something to do to the disk. Each is complete (or has failed) before the next one begins.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Create the file, or empty it if it is there.
    Create(FileRef),
    /// Write all of `bytes` at `offset`, growing the file if it ends before.
    WriteAt {
        /// The file; it exists.
        file: FileRef,
        /// From the file's start.
        offset: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Write real zeros over `from..to` (no hole, no unwritten extents: later syncs must find blocks that are written).
    ZeroFill {
        /// The file; it exists.
        file: FileRef,
        /// First byte.
        from: u64,
        /// Behind the last byte.
        to: u64,
    },
    /// Have room for `from..to`, behind the file's end, without writing anything: it reads as zeros, and the file is that long.
    /// Where a file system can't, zeros are written.
    Allocate {
        /// The file; it exists.
        file: FileRef,
        /// First byte: the file's end.
        from: u64,
        /// Behind the last byte.
        to: u64,
    },
    /// Set the file's length.
    Truncate {
        /// The file; it exists.
        file: FileRef,
        /// The new length in bytes.
        length: u64,
    },
    /// Make the file's bytes and length durable.
    Fdatasync(FileRef),
    /// Make the file durable with all that is known about it.
    Fsync(FileRef),
    /// Give the file another name in the same directory, replacing a file that has it. A handle that is open stays
    /// good, under the new name.
    Rename {
        /// The file as it is called now.
        file: FileRef,
        /// Its new name.
        to: FileName,
    },
    /// Remove the file; none there is no error.
    Remove(FileRef),
    /// Make the names in the directory durable.
    FsyncDir(Dir),
}

impl Effect {
    /// If there is no room for it ([`is_no_room`]), may it be done again when there is some? Not a sync: after one that failed the
    /// kernel may have dropped what was to be written, and a second one would lie.
    pub fn may_wait_for_room(&self) -> bool {
        matches!(
            self,
            Self::Create(_)
                | Self::WriteAt { .. }
                | Self::Rename { .. }
                | Self::ZeroFill { .. }
                | Self::Allocate { .. }
        )
    }

    /// A few words for a log line; not the bytes.
    pub fn describe(&self) -> String {
        match self {
            Self::Create(file) => format!("create {file}"),
            Self::WriteAt { file, offset, bytes } => format!("write {} bytes at {offset} of {file}", bytes.len()),
            Self::ZeroFill { file, from, to } => format!("zero-fill bytes {from} to {to} of {file}"),
            Self::Allocate { file, from, to } => format!("allocate bytes {from} to {to} of {file}"),
            Self::Truncate { file, length } => format!("truncate {file} to {length} bytes"),
            Self::Fdatasync(file) => format!("fdatasync {file}"),
            Self::Fsync(file) => format!("fsync {file}"),
            Self::Rename { file, to } => format!("rename {file} to {to}"),
            Self::Remove(file) => format!("remove {file}"),
            Self::FsyncDir(dir) => format!("fsync the {dir} directory"),
        }
    }
}

impl fmt::Display for Dir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Data => "snapshot",
            Self::Log => "log",
            Self::DataParent => "data",
            Self::LogParent => "log's parent",
        })
    }
}

/// Does a failure of this kind say that there is no room on the disk, or none that we may have?
pub fn is_no_room(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Does a failure to read say that what stood there is lost, as EIO does: a sector that can't be read, or one whose checksum is
/// wrong? Not permissions, too many open files or too little memory.
pub fn is_lost(error: &io::Error) -> bool {
    error.raw_os_error() == Some(EIO)
}

/// The same number on all systems.
pub const EIO: i32 = 5;

/// One file of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
}

/// A file open for reading. Reads may be of any size; no buffer is needed below, all readers here bring their own.
pub trait DiskRead: Read + Seek {}

impl<T: Read + Seek> DiskRead for T {}

/// A disk with the two directories. The calls block.
pub trait Disk {
    /// Are [`Dir::Data`] and [`Dir::Log`] two directories?
    fn is_separate(&self) -> bool;

    /// The regular files in `dir`, in any order. A directory that does not exist is empty.
    fn list(&self, dir: Dir) -> io::Result<Vec<Entry>>;

    /// Opens a file at its start; `NotFound` if there is none.
    fn open(&self, file: &FileRef) -> io::Result<Box<dyn DiskRead + '_>>;

    /// Does it.
    fn execute(&mut self, effect: &Effect) -> io::Result<()>;
}
