//! A disk that promises what POSIX does and nothing more, and that can be crashed, filled up, broken and told to lie.
//!
//! * A file's bytes and its length survive a crash only if the file was synced, each sector on its own (`inode`).
//! * A name survives only if its directory was synced, each operation on its own (`names`).
//! * [`VirtualDisk::for_each_crash`] gives every state that a crash may leave, or, where they are too many, says that it
//!   has drawn some of them; [`VirtualDisk::crash`] draws one.
//! * [`Fault`]s come at the effect whose number they are filed under, so a history is repeated by its seed.
//!
//! A process that is killed loses nothing here: the next one sees the same files, synced or not.

mod crash;
mod faults;
mod inode;
mod names;
mod read;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use storage::disk::{Dir, Disk, DiskRead, Effect, Entry, FileRef};
use storage::names::FileName;

pub use crash::{Coverage, SAMPLES, WAYS_MAX};
pub use faults::{BadRead, Fault, Faults};
use inode::Inode;
use names::{Directory, InodeId, NameOp, Names};
use read::Reading;

/// What a device writes as a whole, in bytes.
pub const SECTOR: usize = 512;

/// The directories, as there are: with one for everything, a log is in that of the data.
const DIRS: [Dir; 4] = [Dir::Data, Dir::Log, Dir::DataParent, Dir::LogParent];

/// A disk in memory.
#[derive(Clone)]
pub struct VirtualDisk {
    separate: bool,
    next_inode: InodeId,
    inodes: BTreeMap<InodeId, Inode>,
    dirs: [Directory; 4],
    /// What goes wrong, and when.
    pub faults: Faults,
    effects: u64,
    elapsed_ms: u64,
}

impl Default for VirtualDisk {
    fn default() -> Self {
        Self::new(false)
    }
}

impl VirtualDisk {
    /// An empty disk, whose logs have a directory of their own if `separate`.
    pub fn new(separate: bool) -> Self {
        Self {
            separate,
            next_inode: 0,
            inodes: BTreeMap::new(),
            dirs: Default::default(),
            faults: Faults::default(),
            effects: 0,
            elapsed_ms: 0,
        }
    }

    fn dir_number(&self, dir: Dir) -> usize {
        match dir {
            Dir::Data => 0,
            Dir::Log => usize::from(self.separate),
            Dir::DataParent => 2,
            Dir::LogParent => 2 + usize::from(self.separate),
        }
    }

    fn dir(&mut self, dir: Dir) -> &mut Directory {
        &mut self.dirs[self.dir_number(dir)]
    }

    fn names_of(&self, dir: Dir) -> &Names {
        &self.dirs[self.dir_number(dir)].now
    }

    fn id(&self, file: &FileRef) -> io::Result<InodeId> {
        let id = self.names_of(file.dir).get(&file.name.to_string()).copied();
        id.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, file.to_string()))
    }

    fn inode(&mut self, file: &FileRef) -> io::Result<&mut Inode> {
        let id = self.id(file)?;
        self.inodes.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn seen(&self, file: &FileRef) -> Option<&Inode> {
        self.inodes.get(&self.id(file).ok()?)
    }

    fn add(&mut self, inode: Inode) -> InodeId {
        let id = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(id, inode);
        id
    }

    /// Puts a file there, durably.
    pub fn put(&mut self, file: &FileRef, bytes: &[u8]) {
        let mut inode = Inode::new();
        inode.write(0, bytes);
        inode.sync();
        let inode = self.add(inode);
        let (name, dir) = (file.name.to_string(), self.dir(file.dir));
        dir.act(NameOp::Link { name, inode });
        dir.sync();
    }

    /// A file's bytes as a reader sees them now, whatever goes wrong with reading.
    pub fn bytes(&self, file: &FileRef) -> Option<Vec<u8>> {
        let inode = self.seen(file)?;
        let mut bytes = vec![0; inode.length() as usize];
        inode.read(0, &mut bytes);
        Some(bytes)
    }

    /// A file's length in bytes.
    pub fn length(&self, file: &FileRef) -> Option<u64> {
        self.seen(file).map(Inode::length)
    }

    /// The names in a directory, sorted.
    pub fn names(&self, dir: Dir) -> Vec<String> {
        self.names_of(dir).keys().cloned().collect()
    }

    /// The files in a directory, sorted by name.
    pub fn files(&self, dir: Dir) -> Vec<FileRef> {
        self.names_of(dir).keys().map(|name| FileRef::new(dir, FileName::parse(name))).collect()
    }

    /// Bytes of all files, in whole sectors, one more for each: what a full disk counts.
    pub fn used(&self) -> u64 {
        let files = self.dirs.iter().flat_map(|dir| dir.now.values()).filter_map(|id| self.inodes.get(id));
        files.map(|inode| (inode.length().div_ceil(SECTOR as u64) + 1) * SECTOR as u64).sum()
    }

    /// How many effects were asked for; the number of the next one.
    pub fn effects(&self) -> u64 {
        self.effects
    }

    /// Nothing can be written any more.
    pub(crate) fn make_read_only(&mut self, until_us: u64) {
        self.faults.read_only_from = Some(self.effects());
        self.faults.read_only_until_us = until_us;
    }

    /// A server is about to start: its file system may have been mended.
    pub(crate) fn mend_file_system(&mut self, now_us: u64) {
        if now_us >= self.faults.read_only_until_us {
            self.faults.read_only_from = None;
        }
    }

    /// How long the effects took, stalls and nothing else.
    pub fn elapsed_ms(&self) -> u64 {
        self.elapsed_ms
    }

    /// The same for two disks whose files, and what is not certain of them, are the same, whatever way led there.
    pub fn state_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    /// Changes bytes of a file on the medium: bit rot, or what else should never happen. Not a write.
    pub fn damage_sector(&mut self, file: &FileRef, number: u64, change: &mut dyn FnMut(&mut [u8; SECTOR])) {
        if let Ok(inode) = self.inode(file) {
            inode.damage(number, change);
        }
    }

    /// What a reader sees of a sector.
    pub fn sector(&self, file: &FileRef, number: u64) -> Option<[u8; SECTOR]> {
        self.seen(file).map(|inode| inode.sector(number))
    }

    /// The room there is for a file to grow.
    fn room(&self) -> u64 {
        self.faults.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    /// Does as much of it as there is room for.
    fn grow(&mut self, file: &FileRef, offset: u64, length: u64) -> io::Result<u64> {
        let room = self.room();
        let old = self.inode(file)?.length().next_multiple_of(SECTOR as u64);
        let fits = old.saturating_add(room).saturating_sub(offset);
        Ok(fits.min(length))
    }

    fn write(&mut self, file: &FileRef, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let fits = self.grow(file, offset, bytes.len() as u64)? as usize;
        self.inode(file)?.write(offset, &bytes[..fits]);
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn do_it(&mut self, effect: &Effect) -> io::Result<()> {
        match effect {
            Effect::Create(file) => {
                if let Ok(inode) = self.inode(file) {
                    inode.truncate(0);
                    return Ok(());
                }
                if self.room() < SECTOR as u64 {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let inode = self.add(Inode::new());
                let name = file.name.to_string();
                self.dir(file.dir).act(NameOp::Link { name, inode });
            }
            Effect::WriteAt { file, offset, bytes } => self.write(file, *offset, bytes)?,
            // What is allocated reads as zeros, before a crash and after it: nothing that zeros on their way to the disk may
            // not be as well.
            Effect::ZeroFill { file, from, to } | Effect::Allocate { file, from, to } => {
                let fits = self.grow(file, *from, to - from)?;
                self.inode(file)?.zero(*from, from + fits);
                if fits < to - from {
                    return Err(io::ErrorKind::StorageFull.into());
                }
            }
            Effect::Truncate { file, length } => self.inode(file)?.truncate(*length),
            Effect::Fdatasync(file) | Effect::Fsync(file) => self.inode(file)?.sync(),
            Effect::Rename { file, to } => {
                let inode = self.id(file)?;
                // A log that is there is never replaced.
                let renamed = FileRef::new(file.dir, to.clone());
                if matches!(to, FileName::Log(_)) && *file != renamed && self.id(&renamed).is_ok() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                let (from, to) = (file.name.to_string(), to.to_string());
                self.dir(file.dir).act(NameOp::Rename { from, to, inode });
                self.collect();
            }
            Effect::Remove(file) => {
                if self.id(file).is_ok() {
                    let name = file.name.to_string();
                    self.dir(file.dir).act(NameOp::Unlink { name });
                    self.collect();
                }
            }
            Effect::FsyncDir(dir) => {
                self.dir(*dir).sync();
                self.collect();
            }
        }
        Ok(())
    }

    /// Drops files that have no name, nor may have one.
    fn collect(&mut self) {
        let mut used: Vec<InodeId> = Vec::new();
        for dir in &self.dirs {
            used.extend(dir.now.values().chain(dir.kept.values()));
            used.extend(dir.pending.iter().filter_map(|op| match op {
                NameOp::Link { inode, .. } | NameOp::Rename { inode, .. } => Some(inode),
                NameOp::Unlink { .. } => None,
            }));
        }
        self.inodes.retain(|id, _| used.contains(id));
    }
}

impl Hash for VirtualDisk {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.separate.hash(state);
        // Numbers in the order in which files are met, so that those of their creation don't matter.
        let mut met: Vec<InodeId> = Vec::new();
        let mut file = |id: &InodeId, state: &mut H| {
            let number = met.iter().position(|it| it == id).unwrap_or(met.len());
            number.hash(state);
            if number == met.len() {
                met.push(*id);
                self.inodes.get(id).hash(state);
            }
        };
        for dir in &self.dirs {
            for names in [&dir.now, &dir.kept] {
                names.len().hash(state);
                for (name, id) in names {
                    name.hash(state);
                    file(id, state);
                }
            }
            dir.pending.len().hash(state);
            for op in &dir.pending {
                match op {
                    NameOp::Link { name, inode } => {
                        (0u8, name).hash(state);
                        file(inode, state);
                    }
                    NameOp::Unlink { name } => (1u8, name).hash(state),
                    NameOp::Rename { from, to, inode } => {
                        (2u8, from, to).hash(state);
                        file(inode, state);
                    }
                }
            }
        }
    }
}

impl fmt::Debug for VirtualDisk {
    /// The files and their lengths: the bytes are too many to be of use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        for (number, dir) in self.dirs.iter().enumerate() {
            for (name, id) in &dir.now {
                let length = self.inodes.get(id).map_or(0, Inode::length);
                list.entry(&format_args!("{number}/{name}: {length}"));
            }
        }
        list.finish()
    }
}

impl PartialEq for VirtualDisk {
    /// Do both hold the same, as far as anybody can see now?
    fn eq(&self, other: &Self) -> bool {
        DIRS.iter().all(|dir| {
            self.names(*dir) == other.names(*dir)
                && self.files(*dir).iter().all(|file| self.bytes(file) == other.bytes(file))
        })
    }
}

impl Disk for VirtualDisk {
    fn is_separate(&self) -> bool {
        self.separate
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<Entry>> {
        let files = self.names_of(dir).iter();
        Ok(files
            .map(|(name, id)| Entry { name: name.clone(), length: self.inodes.get(id).map_or(0, Inode::length) })
            .collect())
    }

    fn open(&self, file: &FileRef) -> io::Result<Box<dyn DiskRead + '_>> {
        let inode = self.inodes.get(&self.id(file)?).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Reading::new(inode, self.faults.of_reading(file))))
    }

    fn execute(&mut self, effect: &Effect) -> io::Result<()> {
        let number = self.effects;
        self.effects += 1;
        if self.faults.read_only_from.is_some_and(|from| number >= from) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        match self.faults.at.get(&number) {
            None => self.do_it(effect),
            Some(fault) => self.do_wrongly(effect, fault.clone()),
        }
    }
}
