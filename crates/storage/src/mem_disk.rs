//! A disk in memory that forgets what was not synced: for tests, here and elsewhere.
//!
//! It is as unkind as POSIX allows: a file's bytes survive a crash only if the file was synced, a name only if its
//! directory was, each on its own. [`MemDisk::crash_torn`] also lets sectors through that nobody synced, in any choice.

use std::collections::BTreeMap;
use std::io::{self, Cursor};

use crate::disk::{Dir, Disk, DiskRead, Effect, Entry, FileRef};
use crate::names::FileName;

/// What a device writes as a whole.
pub const SECTOR: usize = 512;

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
}

type Names = BTreeMap<(Dir, String), u64>;

/// A disk in memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MemDisk {
    separate: bool,
    next_inode: u64,
    inodes: BTreeMap<u64, Inode>,
    names: Names,
    durable_names: Names,
}

impl Default for MemDisk {
    fn default() -> Self {
        Self::new(false)
    }
}

impl MemDisk {
    /// An empty disk, whose logs have a directory of their own if `separate`.
    pub fn new(separate: bool) -> Self {
        Self {
            separate,
            next_inode: 0,
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
        }
    }

    fn dir(&self, dir: Dir) -> Dir {
        match dir {
            Dir::Log if !self.separate => Dir::Data,
            Dir::LogParent if !self.separate => Dir::DataParent,
            dir => dir,
        }
    }

    fn key(&self, dir: Dir, name: &FileName) -> (Dir, String) {
        (self.dir(dir), name.to_string())
    }

    fn inode(&mut self, file: &FileRef) -> io::Result<&mut Inode> {
        let key = self.key(file.dir, &file.name);
        let inode = self.names.get(&key).and_then(|id| self.inodes.get_mut(id));
        inode.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, file.to_string()))
    }

    /// Puts a file there, durably.
    pub fn put(&mut self, file: &FileRef, bytes: &[u8]) {
        let key = self.key(file.dir, &file.name);
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, Inode { now: bytes.to_vec(), durable: bytes.to_vec() });
        self.names.insert(key.clone(), id);
        self.durable_names.insert(key, id);
    }

    /// A file's bytes as a reader sees them now.
    pub fn bytes(&self, file: &FileRef) -> Option<&[u8]> {
        let id = self.names.get(&self.key(file.dir, &file.name))?;
        self.inodes.get(id).map(|inode| inode.now.as_slice())
    }

    /// The names in a directory, sorted.
    pub fn names(&self, dir: Dir) -> Vec<String> {
        let dir = self.dir(dir);
        self.names.keys().filter(|(d, _)| *d == dir).map(|(_, name)| name.clone()).collect()
    }

    /// The power fails: everything that was not synced is gone.
    pub fn crash(&mut self) {
        self.crash_torn(&mut || false);
    }

    /// The power fails, and of what was not synced each sector, each change of length and each directory's names
    /// survive where `survives` says so. A file that grew has zeros where a sector did not make it.
    pub fn crash_torn(&mut self, survives: &mut dyn FnMut() -> bool) {
        let dirs = [Dir::Data, Dir::Log, Dir::DataParent, Dir::LogParent];
        for dir in dirs {
            let (from, to) = if survives() {
                (&self.names, &mut self.durable_names)
            } else {
                (&self.durable_names, &mut self.names)
            };
            to.retain(|key, _| key.0 != dir);
            to.extend(from.iter().filter(|(key, _)| key.0 == dir).map(|(key, id)| (key.clone(), *id)));
        }
        let names = &self.names;
        self.inodes.retain(|id, _| names.values().any(|named| named == id));
        for inode in self.inodes.values_mut() {
            if inode.now == inode.durable {
                continue;
            }
            if inode.now.len() != inode.durable.len() && survives() {
                inode.durable.resize(inode.now.len(), 0);
            }
            for (kept, written) in inode.durable.chunks_mut(SECTOR).zip(inode.now.chunks(SECTOR)) {
                let n = kept.len().min(written.len());
                if kept[..n] != written[..n] && survives() {
                    kept[..n].copy_from_slice(&written[..n]);
                }
            }
            inode.now.clone_from(&inode.durable);
        }
    }
}

impl Disk for MemDisk {
    fn is_separate(&self) -> bool {
        self.separate
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<Entry>> {
        let dir = self.dir(dir);
        let files = self.names.iter().filter(|((d, _), _)| *d == dir);
        Ok(files
            .map(|((_, name), id)| Entry {
                name: name.clone(),
                length: self.inodes.get(id).map_or(0, |inode| inode.now.len() as u64),
            })
            .collect())
    }

    fn open(&self, file: &FileRef) -> io::Result<Box<dyn DiskRead + '_>> {
        match self.bytes(file) {
            Some(bytes) => Ok(Box::new(Cursor::new(bytes))),
            None => Err(io::Error::new(io::ErrorKind::NotFound, file.to_string())),
        }
    }

    fn execute(&mut self, effect: &Effect) -> io::Result<()> {
        match effect {
            Effect::Create(file) => {
                if let Ok(inode) = self.inode(file) {
                    inode.now.clear();
                    return Ok(());
                }
                let key = self.key(file.dir, &file.name);
                self.inodes.insert(self.next_inode, Inode::default());
                self.names.insert(key, self.next_inode);
                self.next_inode += 1;
            }
            Effect::WriteAt { file, offset, bytes } => {
                let now = &mut self.inode(file)?.now;
                let from = *offset as usize;
                if now.len() < from + bytes.len() {
                    now.resize(from + bytes.len(), 0);
                }
                now[from..from + bytes.len()].copy_from_slice(bytes);
            }
            Effect::ZeroFill { file, from, to } => {
                let now = &mut self.inode(file)?.now;
                if now.len() < *to as usize {
                    now.resize(*to as usize, 0);
                }
                now[*from as usize..*to as usize].fill(0);
            }
            Effect::Truncate { file, length } => self.inode(file)?.now.resize(*length as usize, 0),
            Effect::Fdatasync(file) | Effect::Fsync(file) => {
                let inode = self.inode(file)?;
                inode.durable.clone_from(&inode.now);
            }
            Effect::Rename { file, to } => {
                let from = self.key(file.dir, &file.name);
                let to = self.key(file.dir, to);
                let id = self.names.remove(&from);
                let id = id.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, file.to_string()))?;
                self.names.insert(to, id);
            }
            Effect::Remove(file) => {
                let key = self.key(file.dir, &file.name);
                self.names.remove(&key);
            }
            Effect::FsyncDir(dir) => {
                let dir = self.dir(*dir);
                self.durable_names.retain(|key, _| key.0 != dir);
                let names = self.names.iter().filter(|(key, _)| key.0 == dir);
                self.durable_names.extend(names.map(|(key, id)| (key.clone(), *id)));
            }
        }
        Ok(())
    }
}
