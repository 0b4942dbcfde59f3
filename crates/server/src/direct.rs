//! Writing past the page cache.
//!
//! For bytes that nobody will read soon, in large pieces: the zeros of the next log file, and snapshots. To copy them into
//! the page cache costs more than everything else about them, and a sync that has much to write there at once makes the
//! log's syncs wait. Not every file system can; what it refuses is written as usual.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use storage::FileRef;

/// What O_DIRECT asks of offsets, lengths and addresses, on every disk there is.
pub const ALIGN: usize = 4096;

/// What is written over a file that is being filled.
#[repr(align(4096))]
struct Zeros([u8; PIECE]);

static ZEROS: Zeros = Zeros([0; PIECE]);

/// How many bytes are copied and written at once: a disk that has one of these to do lets the log's sync in soon.
const PIECE: usize = 256 * 1024;

/// The file that is written so; one at a time.
#[derive(Debug, Default)]
pub struct Direct {
    file: Handle,
    /// Where bytes are copied that don't lie as O_DIRECT wants them. Made when it is first used: most threads never do.
    piece: Vec<u8>,
}

#[derive(Debug, Default)]
enum Handle {
    #[default]
    Closed,
    /// The file system can't, or won't.
    Refused,
    Open(FileRef, File),
}

impl Direct {
    /// The name does not mean this file any more.
    pub fn forget(&mut self, file: &FileRef) {
        if matches!(&self.file, Handle::Open(open, _) if open == file) {
            self.file = Handle::Closed;
        }
    }

    /// Writes zeros from `from` to `to`. False: it can't be done so.
    pub fn zero_fill(&mut self, file: &FileRef, path: &Path, from: u64, to: u64) -> io::Result<bool> {
        if !from.is_multiple_of(ALIGN as u64) || !to.is_multiple_of(ALIGN as u64) {
            return Ok(false);
        }
        self.write_with(file, path, |opened, _| write_zeros(opened, from, to))
    }

    /// Writes as many whole blocks from the beginning of `bytes` as there are; returns how many bytes that is.
    pub fn write(&mut self, file: &FileRef, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        let whole = bytes.len() / ALIGN * ALIGN;
        if whole == 0 || !offset.is_multiple_of(ALIGN as u64) {
            return Ok(0);
        }
        let done = self.write_with(file, path, |opened, piece| {
            piece.resize(PIECE + ALIGN, 0);
            let begin = piece.as_ptr().align_offset(ALIGN).min(ALIGN);
            let mut at = offset;
            for part in bytes[..whole].chunks(PIECE) {
                let aligned = &mut piece[begin..begin + part.len()];
                aligned.copy_from_slice(part);
                opened.write_all_at(aligned, at)?;
                at += part.len() as u64;
            }
            Ok(())
        })?;
        Ok(if done { whole } else { 0 })
    }

    fn write_with(
        &mut self,
        file: &FileRef,
        path: &Path,
        write: impl FnOnce(&File, &mut Vec<u8>) -> io::Result<()>,
    ) -> io::Result<bool> {
        if matches!(self.file, Handle::Refused) {
            return Ok(false);
        }
        if !matches!(&self.file, Handle::Open(open, _) if open == file) {
            let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or(0);
            self.file = match OpenOptions::new().write(true).custom_flags(flags).open(path) {
                Ok(opened) => Handle::Open(file.clone(), opened),
                Err(e) if e.kind() == ErrorKind::InvalidInput => Handle::Refused,
                // What is wrong with the file is told by the usual way.
                Err(_) => Handle::Closed,
            };
        }
        let Handle::Open(_, opened) = &self.file else { return Ok(false) };
        match write(opened, &mut self.piece) {
            // Some file systems accept the flag and refuse the write.
            Err(e) if e.kind() == ErrorKind::InvalidInput => {
                self.file = Handle::Refused;
                Ok(false)
            }
            done => done.map(|()| true),
        }
    }
}

/// Writes zeros from `from` to `to`.
pub fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let n = (to - at).min(ZEROS.0.len() as u64);
        file.write_all_at(&ZEROS.0[..n as usize], at)?;
        at += n;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_blocks_go_where_they_belong_and_nothing_else() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let (file, path) = (FileRef::log(wire::Zxid(1)), dir.path().join("file"));
        std::fs::write(&path, [7; 3 * ALIGN]).unwrap();
        let bytes: Vec<u8> = (0..300 * 1024 + 5).map(|i| (i % 251) as u8).collect();
        let mut direct = Direct::default();
        assert_eq!(direct.write(&file, &path, 1, &bytes).unwrap(), 0, "between blocks");
        assert_eq!(direct.write(&file, &path, 0, &bytes[..ALIGN - 1]).unwrap(), 0, "no whole block");
        let written = direct.write(&file, &path, ALIGN as u64, &bytes).unwrap();
        let found = std::fs::read(&path).unwrap();
        if written == 0 {
            assert_eq!(found, [7; 3 * ALIGN], "a file system that can't");
            return;
        }
        assert_eq!(written, 300 * 1024);
        assert_eq!(found[..ALIGN], [7; ALIGN]);
        assert!(found[ALIGN..] == bytes[..written]);
        assert!(direct.zero_fill(&file, &path, ALIGN as u64, 2 * ALIGN as u64).unwrap());
        let found = std::fs::read(&path).unwrap();
        assert_eq!(found[ALIGN..2 * ALIGN], [0; ALIGN]);
        assert!(found[2 * ALIGN..] == bytes[ALIGN..written]);
    }

    #[test]
    fn a_name_that_means_another_file_now() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let (file, path) = (FileRef::log(wire::Zxid(1)), dir.path().join("file"));
        let mut direct = Direct::default();
        for content in [1, 2] {
            std::fs::write(&path, []).unwrap();
            if direct.write(&file, &path, 0, &[content; ALIGN]).unwrap() == 0 {
                return;
            }
            assert_eq!(std::fs::read(&path).unwrap(), [content; ALIGN]);
            std::fs::remove_file(&path).unwrap();
            direct.forget(&file);
        }
    }
}
