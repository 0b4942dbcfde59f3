//! What goes wrong with a disk, beside crashes.

use std::collections::BTreeMap;
use std::io;

use storage::disk::{Effect, FileRef};

use super::{SECTOR, VirtualDisk};

/// What happens to one effect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Fault {
    /// EIO, and nothing was done.
    Error,
    /// EIO, and of the bytes to write so many were written; of another effect nothing.
    ErrorPartly(u64),
    /// ENOSPC, with nothing done, whatever room there is.
    NoSpace,
    /// A sync reports EIO once. The pages count as clean from then on, and each may be on the medium or not: the next
    /// sync reports success and does nothing about them. Another effect fails.
    SyncLost,
    /// The effect takes so many ms.
    Stall(u64),
    /// The write is reported as done, and stands elsewhere on the medium: in this file, at this sector. What it should
    /// have written, the cache shows until the next crash. Another effect is done.
    Misdirected {
        /// The file that gets it.
        file: FileRef,
        /// The first sector that does.
        sector: u64,
    },
}

/// What is wrong with reading a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BadRead {
    /// EIO for whoever reads this sector.
    Error {
        /// Its number.
        sector: u64,
    },
    /// These bits of a byte come out wrong.
    Flip {
        /// The byte's place in the file.
        offset: u64,
        /// The bits.
        mask: u8,
    },
}

/// All that goes wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// How many bytes the disk has; `None`: enough. See [`VirtualDisk::used`].
    pub capacity: Option<u64>,
    /// From the effect with this number on, everything fails with EROFS.
    pub read_only_from: Option<u64>,
    /// When that may be mended, in µs of the world that the disk is in.
    pub(crate) read_only_until_us: u64,
    /// What happens to single effects, by number.
    pub at: BTreeMap<u64, Fault>,
    reads: BTreeMap<FileRef, Vec<BadRead>>,
}

impl Faults {
    /// Makes reading a file go wrong, until [`heal_reads`](Self::heal_reads).
    pub fn bad_read(&mut self, file: FileRef, bad: BadRead) {
        self.reads.entry(file).or_default().push(bad);
    }

    /// Is there anything that can't be read as it is?
    pub fn has_bad_reads(&self) -> bool {
        !self.reads.is_empty()
    }

    /// Reading works again.
    pub fn heal_reads(&mut self) {
        self.reads.clear();
    }

    pub(super) fn of_reading(&self, file: &FileRef) -> Vec<BadRead> {
        self.reads.get(file).cloned().unwrap_or_default()
    }
}

impl VirtualDisk {
    pub(super) fn do_wrongly(&mut self, effect: &Effect, fault: Fault) -> io::Result<()> {
        let eio = || io::Error::other("EIO");
        match fault {
            Fault::Error => Err(eio()),
            Fault::NoSpace => Err(io::ErrorKind::StorageFull.into()),
            Fault::Stall(ms) => {
                self.elapsed_ms += ms;
                self.do_it(effect)
            }
            Fault::ErrorPartly(length) => {
                if let Effect::WriteAt { file, offset, bytes } = effect {
                    let n = bytes.len().min(length as usize);
                    self.write(file, *offset, &bytes[..n])?;
                }
                Err(eio())
            }
            Fault::SyncLost => {
                if let Effect::Fdatasync(file) | Effect::Fsync(file) = effect {
                    self.inode(file)?.sync_failed();
                }
                Err(eio())
            }
            Fault::Misdirected { file: to, sector } => {
                let Effect::WriteAt { file, offset, bytes } = effect else { return self.do_it(effect) };
                // The medium keeps what it had, for good: no sync will write this again.
                self.do_it(effect)?;
                if let Ok(inode) = self.inode(file) {
                    inode.sync_failed();
                }
                let shift = (offset % SECTOR as u64) as usize;
                let mut written = vec![0; shift];
                written.extend_from_slice(bytes);
                for (i, piece) in written.chunks(SECTOR).enumerate() {
                    let number = sector + i as u64;
                    if self.length(&to).is_some_and(|length| number * (SECTOR as u64) < length) {
                        let from = if i == 0 { shift } else { 0 };
                        self.damage_sector(&to, number, &mut |block| {
                            block[from..piece.len()].copy_from_slice(&piece[from..]);
                        });
                    }
                }
                Ok(())
            }
        }
    }
}
