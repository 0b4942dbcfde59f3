//! A file open for reading.

use std::io::{self, Read, Seek, SeekFrom};

use storage::disk::EIO;

use super::SECTOR;
use super::faults::BadRead;
use super::inode::Inode;

/// Reads what a reader sees, and what is wrong with reading it.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    inode: &'a Inode,
    bad: Vec<BadRead>,
    at: u64,
}

impl<'a> Reading<'a> {
    pub(super) fn new(inode: &'a Inode, bad: Vec<BadRead>) -> Self {
        Self { inode, bad, at: 0 }
    }
}

impl Read for Reading<'_> {
    /// As a kernel does it: up to a sector that can't be read all is given, and the error is for whoever reads on.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut n = self.inode.read(self.at, out);
        for bad in &self.bad {
            if let BadRead::Error { sector } = bad {
                let (start, to) = (sector * SECTOR as u64, self.at + n as u64);
                if start < to && start + SECTOR as u64 > self.at {
                    n = start.saturating_sub(self.at) as usize;
                    if n == 0 {
                        return Err(io::Error::from_raw_os_error(EIO));
                    }
                }
            }
        }
        let (from, to) = (self.at, self.at + n as u64);
        for bad in &self.bad {
            match bad {
                BadRead::Flip { offset, mask } if (from..to).contains(offset) => out[(offset - from) as usize] ^= mask,
                BadRead::Flip { .. } | BadRead::Error { .. } => {}
            }
        }
        self.at = to;
        Ok(n)
    }
}

impl Seek for Reading<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.inode.length().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
