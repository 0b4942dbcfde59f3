//! A disk that keeps everything. What crashes do to disks is proven elsewhere.

use std::collections::BTreeMap;
use std::io::{self, Cursor, ErrorKind};

use storage::disk::{DiskRead, Entry};
use storage::names::FileName;
use storage::{Dir, Disk, Effect, FileRef};

#[derive(Debug, Default)]
pub struct MapDisk(BTreeMap<FileRef, Vec<u8>>);

impl MapDisk {
    /// Does all of it.
    pub fn run(&mut self, effects: &[Effect]) {
        effects.iter().try_for_each(|effect| self.execute(effect)).unwrap();
    }

    /// All logs and snapshots.
    pub fn history(&self) -> BTreeMap<FileRef, Vec<u8>> {
        let is_history = |file: &FileRef| matches!(file.name, FileName::Log(_) | FileName::Snapshot(_));
        self.0.iter().filter(|(file, _)| is_history(file)).map(|(file, bytes)| (file.clone(), bytes.clone())).collect()
    }

    pub fn bytes(&self, file: &FileRef) -> Option<&[u8]> {
        self.0.get(&at(file)).map(Vec::as_slice)
    }
}

/// Both directories are one.
fn at(file: &FileRef) -> FileRef {
    let dir = if file.dir == Dir::Log { Dir::Data } else { file.dir };
    FileRef::new(dir, file.name.clone())
}

impl Disk for MapDisk {
    fn is_separate(&self) -> bool {
        false
    }

    fn list(&self, dir: Dir) -> io::Result<Vec<Entry>> {
        let dir = if dir == Dir::Log { Dir::Data } else { dir };
        let entry =
            |(file, bytes): (&FileRef, &Vec<u8>)| Entry { name: file.name.to_string(), length: bytes.len() as u64 };
        Ok(self.0.iter().filter(|(file, _)| file.dir == dir).map(entry).collect())
    }

    fn open(&self, file: &FileRef) -> io::Result<Box<dyn DiskRead + '_>> {
        let bytes = self.bytes(file).ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn execute(&mut self, effect: &Effect) -> io::Result<()> {
        match effect {
            Effect::Create(file) => {
                self.0.insert(at(file), Vec::new());
            }
            Effect::WriteAt { file, offset, bytes } => {
                let found = self.0.get_mut(&at(file)).ok_or(ErrorKind::NotFound)?;
                let end = *offset as usize + bytes.len();
                found.resize(found.len().max(end), 0);
                found[*offset as usize..end].copy_from_slice(bytes);
            }
            Effect::ZeroFill { file, from, to } | Effect::Allocate { file, from, to } => {
                let found = self.0.get_mut(&at(file)).ok_or(ErrorKind::NotFound)?;
                found.resize(found.len().max(*to as usize), 0);
                found[*from as usize..*to as usize].fill(0);
            }
            Effect::Truncate { file, length } => {
                self.0.get_mut(&at(file)).ok_or(ErrorKind::NotFound)?.resize(*length as usize, 0);
            }
            Effect::Rename { file, to } => {
                let bytes = self.0.remove(&at(file)).ok_or(ErrorKind::NotFound)?;
                self.0.insert(at(&FileRef::new(file.dir, to.clone())), bytes);
            }
            Effect::Remove(file) => {
                self.0.remove(&at(file));
            }
            Effect::Fdatasync(_) | Effect::Fsync(_) | Effect::FsyncDir(_) => {}
        }
        Ok(())
    }
}
