//! Decodes a snapshot as it streams by, in memory that is bounded by the longest znode.
//!
//! What the visitor has been shown counts only once [`decode`] has returned `Ok`: the seals stand at the end. Which
//! sections follow the first seal is told by how many bytes are left, not by any setting, so snapshots of every Apache
//! version from 3.4 on are read, whatever `digest.enabled` was.

use std::fmt;
use std::io::{self, Read};

use wire::jute::{Buffer, Field, Reader};
use wire::{AclVec, SessionId, StatPersisted, Zxid};

use super::encode::Checksum;
use super::raw::{HEADER_LENGTH, RawSplitter};
use super::stream::{Compression, Counted};
use super::{END, MAGIC, SEAL_LENGTH, SnapshotDigest};

/// How many bytes are asked for at first: most files of tests, and many of new servers, have no more.
const FIRST_CHUNK: usize = 8 << 10;
/// How many bytes are asked for at a time, in a file that is longer.
const CHUNK: usize = 1 << 20;
/// How many bytes are looked at at a time, where nothing is taken in.
const WHOLE_CHUNK: usize = 256 << 10;
/// The longest list of the ACL table, in lengths of the longest string, and in bytes where that is more. A request with one that
/// is longer than a string may be is refused, and the limit may have been higher once.
const ACL_LENGTHS: usize = 4;
const ACL_BYTES: usize = 64 << 20;
/// The bytes of a stored Stat.
const STAT_LENGTH: usize = 60;
/// The bytes of the section with the last zxid, its seal included.
const LAST_LENGTH: usize = 8 + SEAL_LENGTH;

/// Takes what a snapshot holds, in the order of the file.
pub trait SnapshotVisitor {
    /// A session and its timeout.
    fn session(&mut self, session: SessionId, timeout_ms: i32);
    /// An entry of the ACL table.
    fn acl(&mut self, id: i64, acl: AclVec<'_>);
    /// A znode; the root, which comes first, has the path `""`. An error ends the decoding: a parent that is missing,
    /// an ACL id that is not in the table.
    fn node(&mut self, path: &str, data: Buffer<'_>, acl_id: i64, stat: &StatPersisted) -> Result<(), String>;
}

/// A visitor for whom it is enough that the snapshot is whole.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ignore;

impl SnapshotVisitor for Ignore {
    fn session(&mut self, _: SessionId, _: i32) {}
    fn acl(&mut self, _: i64, _: AclVec<'_>) {}
    fn node(&mut self, _: &str, _: Buffer<'_>, _: i64, _: &StatPersisted) -> Result<(), String> {
        Ok(())
    }
}

/// What stands behind the znodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotEnd {
    /// The version of the format that the header names. It has always been 2, and nobody goes by it.
    pub version: i32,
    /// The database that the header names. It has always been -1, and nobody goes by it.
    pub dbid: i64,
    /// The digest section, if there is one.
    pub digest: Option<SnapshotDigest>,
    /// The last zxid the tree had when the section was written, if it is there (since 3.9). A load takes the zxid of
    /// the file's name instead, which is not later.
    pub last_processed: Option<Zxid>,
    /// How many znodes there were.
    pub nodes: u64,
    /// The file's length in bytes.
    pub bytes: u64,
}

/// Why a file is no snapshot that can be loaded.
#[derive(Debug)]
pub enum LoadSnapshotError {
    /// It can't be opened.
    Io(io::Error),
    /// A piece of it can't be read.
    Unreadable {
        /// From where on.
        offset: u64,
        /// Why.
        error: io::Error,
    },
    /// It begins with another magic number.
    Magic(i32),
    /// It ends early.
    CutOff {
        /// Where the missing piece begins.
        offset: u64,
    },
    /// A string or buffer is longer than the limit or has a negative length, or a count is negative.
    Length {
        /// Where the length stands.
        offset: u64,
        /// The length.
        length: i32,
    },
    /// A seal does not match what precedes it.
    Seal {
        /// Where it stands.
        offset: u64,
    },
    /// There are bytes behind the last seal.
    Trailing {
        /// Where they begin.
        offset: u64,
    },
    /// The tree can't take what it holds.
    Refused {
        /// The znode's path.
        path: String,
        /// Why.
        reason: String,
    },
    /// It says itself that it ends before the txn in its name.
    Renamed {
        /// The last txn that it has.
        last: Zxid,
        /// The one in its name.
        named: Zxid,
    },
    /// It names a digest of its own zxid, and that is not the digest of what it holds.
    Digest,
    /// It can't be decompressed.
    Compressed {
        /// How it is compressed.
        compression: Compression,
        /// How many bytes of the file were read until then.
        offset: u64,
        /// What is wrong with it.
        error: io::Error,
    },
}

impl fmt::Display for LoadSnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => write!(f, "reading failed: {e}"),
            Self::Unreadable { offset, error } => write!(f, "it can't be read from byte {offset} on: {error}"),
            Self::Magic(magic) => write!(f, "it begins with {magic:#010x} instead of 0x5a4b534e (\"ZKSN\")"),
            Self::CutOff { offset } => write!(f, "it ends early, at byte {offset}"),
            Self::Length { offset, length } if *length < 0 => write!(f, "negative length {length} at byte {offset}"),
            Self::Length { offset, length } => {
                write!(f, "unreasonable length {length} at byte {offset} (if that znode is real, raise jute.maxbuffer)")
            }
            Self::Seal { offset } => write!(f, "the checksum at byte {offset} does not match what precedes it"),
            Self::Trailing { offset } => write!(f, "there is something behind its end, at byte {offset}"),
            Self::Refused { path, reason } => write!(f, "znode {path:?}: {reason}"),
            Self::Renamed { last, named } => {
                write!(f, "it ends with txn {last}, and its name says {named}: was it renamed? Give it back its name")
            }
            Self::Digest => f.write_str("what it holds is not what its digest is of: a piece of it is damaged"),
            Self::Compressed { compression, offset, error } if error.kind() == io::ErrorKind::UnexpectedEof => {
                write!(f, "its {compression} stream ends early, at byte {offset}")
            }
            Self::Compressed { compression, offset, error } => {
                write!(f, "its {compression} stream is damaged, before byte {offset}: {error}")
            }
        }
    }
}

impl std::error::Error for LoadSnapshotError {}

impl From<io::Error> for LoadSnapshotError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// Decodes a whole snapshot. `length_max` is the longest string or buffer to accept, in bytes (`jute.maxbuffer` plus
/// `jute.maxbuffer.extrasize`).
pub fn decode<V: SnapshotVisitor + ?Sized>(
    source: impl Read,
    length_max: usize,
    visitor: &mut V,
) -> Result<SnapshotEnd, LoadSnapshotError> {
    decode_with(source, length_max, visitor, &mut |_| ())
}

/// [`decode_with`] for a file that may be compressed. `progress` is told how many bytes of the file were read;
/// [`SnapshotEnd::bytes`] are those of the snapshot, uncompressed.
pub fn decode_file<V: SnapshotVisitor + ?Sized>(
    source: impl Read,
    compression: Compression,
    length_max: usize,
    visitor: &mut V,
    progress: &mut dyn FnMut(u64),
) -> Result<SnapshotEnd, LoadSnapshotError> {
    if compression == Compression::None {
        return decode_with(source, length_max, visitor, progress);
    }
    let (counted, count) = Counted::new(source);
    let decoded = decode_with(compression.reader(counted), length_max, visitor, &mut |_| progress(count.get()));
    decoded.map_err(|error| match error {
        LoadSnapshotError::Unreadable { error, .. }
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
            ) =>
        {
            LoadSnapshotError::Compressed { compression, offset: count.get(), error }
        }
        LoadSnapshotError::Unreadable { error, .. } => LoadSnapshotError::Unreadable { offset: count.get(), error },
        error => error,
    })
}

/// [`decode`] that also tells now and then how many bytes it has read.
pub fn decode_with<V: SnapshotVisitor + ?Sized>(
    source: impl Read,
    length_max: usize,
    visitor: &mut V,
    progress: &mut dyn FnMut(u64),
) -> Result<SnapshotEnd, LoadSnapshotError> {
    let mut from = Source::new(source, length_max, progress);
    let magic = from.fixed::<i32>(4)?;
    if magic != MAGIC {
        return Err(LoadSnapshotError::Magic(magic));
    }
    // Apache's reader does not look at these.
    let version = from.fixed(4)?;
    let dbid = from.fixed(8)?;
    for _ in 0..from.count()? {
        let session = from.fixed::<SessionId>(8)?;
        visitor.session(session, from.fixed(4)?);
    }
    for _ in 0..from.count()? {
        from.acl(visitor)?;
    }
    let mut nodes = 0;
    while from.node(visitor)? {
        nodes += 1;
    }
    from.seal()?;
    let (digest, last_processed) = from.sections()?;
    Ok(SnapshotEnd { version, dbid, digest, last_processed, nodes, bytes: from.offset() })
}

/// Is all of a snapshot as it was written, whatever the lengths in it? In little memory, however long they are: one of them may
/// be what is damaged.
pub fn is_whole(source: impl Read, compression: Compression) -> io::Result<bool> {
    let mut source = compression.reader(source);
    let (mut sum, mut splitter) = (Checksum::new(), RawSplitter::new(i32::MAX as usize));
    let mut header = [0; HEADER_LENGTH];
    source.read_exact(&mut header)?;
    if !header.starts_with(&MAGIC.to_be_bytes()) {
        return Ok(false);
    }
    sum.add(&header);
    let mut chunk = vec![0; WHOLE_CHUNK];
    let mut rest = loop {
        let n = match source.read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        let Ok(taken) = splitter.feed(&chunk[..n]) else { return Ok(false) };
        sum.add(&chunk[..taken]);
        if splitter.is_end() {
            break chunk[taken..n].to_vec();
        }
    };
    // No sections have more.
    source.take(WHOLE_CHUNK as u64).read_to_end(&mut rest)?;
    let mut progress = |_| ();
    let mut from = Source { sum, ..Source::new(&rest[..], WHOLE_CHUNK, &mut progress) };
    Ok(from.seal().is_ok() && from.sections().is_ok())
}

/// The bytes of the file, of which as many as needed stand in one slice; checksummed in long runs.
struct Source<'p, R> {
    source: R,
    buffer: Vec<u8>,
    /// Up to here the bytes are in the checksum.
    summed: usize,
    /// Up to here they are consumed.
    start: usize,
    /// Up to here they are read.
    end: usize,
    /// Where the buffer begins in the file.
    base: u64,
    eof: bool,
    sum: Checksum,
    length_max: usize,
    progress: &'p mut dyn FnMut(u64),
}

impl<'p, R: Read> Source<'p, R> {
    fn new(source: R, length_max: usize, progress: &'p mut dyn FnMut(u64)) -> Self {
        let sum = Checksum::new();
        Self { source, buffer: Vec::new(), summed: 0, start: 0, end: 0, base: 0, eof: false, sum, length_max, progress }
    }

    fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    fn sum_up(&mut self) {
        self.sum.add(&self.buffer[self.summed..self.start]);
        self.summed = self.start;
    }

    #[cold]
    fn fill(&mut self) -> Result<(), LoadSnapshotError> {
        self.sum_up();
        let was_full = self.end == self.buffer.len();
        self.buffer.copy_within(self.start..self.end, 0);
        self.base += self.start as u64;
        self.end -= self.start;
        self.start = 0;
        self.summed = 0;
        if self.end == self.buffer.len() {
            // Doubles only when the bytes have really come, whatever a length promises.
            self.buffer.resize((2 * self.end).max(FIRST_CHUNK), 0);
        } else if was_full && self.buffer.len() < CHUNK {
            self.buffer.resize((4 * self.buffer.len()).min(CHUNK), 0);
        }
        match self.source.read(&mut self.buffer[self.end..]) {
            Ok(0) => self.eof = true,
            Ok(n) => self.end += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LoadSnapshotError::Unreadable { offset: self.base + self.end as u64, error }),
        }
        (self.progress)(self.base + self.end as u64);
        Ok(())
    }

    /// Makes sure that `n` bytes are there.
    #[inline]
    fn need(&mut self, n: usize) -> Result<(), LoadSnapshotError> {
        while self.end - self.start < n {
            if self.eof {
                return Err(LoadSnapshotError::CutOff { offset: self.base + self.end as u64 });
            }
            self.fill()?;
        }
        Ok(())
    }

    /// Reads a field that has `n` bytes.
    fn fixed<T: for<'a> Field<'a>>(&mut self, n: usize) -> Result<T, LoadSnapshotError> {
        self.need(n)?;
        let offset = self.offset();
        let value = T::from_slice(&self.buffer[self.start..self.start + n]);
        self.start += n;
        value.map_err(|_| LoadSnapshotError::CutOff { offset })
    }

    fn count(&mut self) -> Result<i32, LoadSnapshotError> {
        let offset = self.offset();
        let count: i32 = self.fixed(4)?;
        if count < 0 { Err(LoadSnapshotError::Length { offset, length: count }) } else { Ok(count) }
    }

    /// The length that stands `ahead` bytes from here; -1, null, where `null` allows it.
    #[inline]
    fn length(&mut self, ahead: usize, null: bool) -> Result<Option<usize>, LoadSnapshotError> {
        self.need(ahead + 4)?;
        let at = self.start + ahead;
        let length = self.buffer[at..].first_chunk().map_or(-2, |bytes| i32::from_be_bytes(*bytes));
        match usize::try_from(length) {
            Ok(n) if n <= self.length_max => Ok(Some(n)),
            _ if length == -1 && null => Ok(None),
            _ => Err(LoadSnapshotError::Length { offset: self.base + at as u64, length }),
        }
    }

    /// One entry of the ACL table.
    fn acl<V: SnapshotVisitor + ?Sized>(&mut self, visitor: &mut V) -> Result<(), LoadSnapshotError> {
        self.need(12)?;
        // Find out how long it is: id, count, entries of perms and two strings.
        let count = self.buffer[self.start + 8..].first_chunk().map_or(0, |bytes| i32::from_be_bytes(*bytes));
        let mut length = 12;
        for _ in 0..count.max(0) {
            length += 4;
            for _ in 0..2 {
                length += 4 + self.length(length, true)?.unwrap_or(0);
            }
            if length > self.length_max.saturating_mul(ACL_LENGTHS).max(ACL_BYTES) {
                let length = i32::try_from(length).unwrap_or(i32::MAX);
                return Err(LoadSnapshotError::Length { offset: self.offset() + 8, length });
            }
            self.need(length)?;
        }
        let bytes = &self.buffer[self.start..self.start + length];
        let mut reader = Reader::with_limit(bytes, self.length_max);
        let offset = self.base + self.start as u64;
        let id = reader.read().map_err(|_| LoadSnapshotError::CutOff { offset })?;
        let acl = reader.read().map_err(|_| LoadSnapshotError::CutOff { offset })?;
        visitor.acl(id, acl);
        self.start += length;
        Ok(())
    }

    /// One znode, or the end of them.
    fn node<V: SnapshotVisitor + ?Sized>(&mut self, visitor: &mut V) -> Result<bool, LoadSnapshotError> {
        let path_length = self.length(0, false)?.unwrap_or(0);
        let data_at = 4 + path_length;
        self.need(data_at)?;
        if path_length == 1 && self.buffer[self.start + 4] == END.as_bytes()[0] {
            self.start += data_at;
            return Ok(false);
        }
        let data_length = self.length(data_at, true)?;
        let acl_at = data_at + 4 + data_length.unwrap_or(0);
        let end = acl_at + 8 + STAT_LENGTH;
        self.need(end)?;
        let offset = self.offset();
        let bytes = &self.buffer[self.start..self.start + end];
        // As Apache reads it: broken UTF-8 is replaced.
        let path = &*String::from_utf8_lossy(&bytes[4..data_at]);
        let data = data_length.map(|n| &bytes[data_at + 4..data_at + 4 + n]);
        let mut reader = Reader::new(&bytes[acl_at..]);
        let cut_off = |_| LoadSnapshotError::CutOff { offset };
        let acl_id = reader.read().map_err(cut_off)?;
        let stat: StatPersisted = reader.read().map_err(cut_off)?;
        let taken = visitor.node(path, data, acl_id, &stat);
        taken.map_err(|reason| LoadSnapshotError::Refused { path: path.to_owned(), reason })?;
        self.start += end;
        Ok(true)
    }

    fn seal(&mut self) -> Result<(), LoadSnapshotError> {
        self.sum_up();
        let expected = self.sum.value();
        let offset = self.offset();
        let found: i64 = self.fixed(8)?;
        self.need(5)?;
        let end = &self.buffer[self.start..self.start + 5];
        if found != expected || end != b"\0\0\0\x01/" {
            return Err(LoadSnapshotError::Seal { offset });
        }
        self.start += 5;
        Ok(())
    }

    /// How many bytes are left, as far as `max` tells.
    fn left(&mut self, max: usize) -> Result<usize, LoadSnapshotError> {
        while self.end - self.start < max && !self.eof {
            self.fill()?;
        }
        Ok(self.end - self.start)
    }

    /// The sections behind the first seal.
    fn sections(&mut self) -> Result<(Option<SnapshotDigest>, Option<Zxid>), LoadSnapshotError> {
        // The longest layout is one with an old digest (a string of up to 16 hex digits) and the last zxid.
        let most = 8 + 4 + 4 + 16 + SEAL_LENGTH + LAST_LENGTH + 1;
        let mut digest = None;
        let mut last_processed = None;
        if self.left(most)? > LAST_LENGTH {
            digest = Some(self.digest()?);
            self.seal()?;
        }
        if self.left(most)? > 0 {
            last_processed = Some(self.fixed(8)?);
            self.seal()?;
        }
        if self.left(1)? > 0 {
            return Err(LoadSnapshotError::Trailing { offset: self.offset() });
        }
        Ok((digest, last_processed))
    }

    fn digest(&mut self) -> Result<SnapshotDigest, LoadSnapshotError> {
        let zxid = self.fixed(8)?;
        let version = self.fixed(4)?;
        if version >= 2 {
            return Ok(SnapshotDigest { zxid, version, digest: self.fixed(8)? });
        }
        // Before version 2 it was a string in hexadecimal (`ZxidDigest.deserialize`).
        let offset = self.offset();
        let n = self.length(0, false)?.unwrap_or(0);
        self.need(4 + n)?;
        let hex = str::from_utf8(&self.buffer[self.start + 4..self.start + 4 + n]).unwrap_or_default();
        let digest =
            u64::from_str_radix(hex, 16).map_err(|_| LoadSnapshotError::Length { offset, length: n as i32 })?;
        self.start += 4 + n;
        Ok(SnapshotDigest { zxid, version, digest: digest as i64 })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::super::encode::SnapshotEncoder;
    use super::*;

    /// Remembers how many bytes it was asked for at once.
    struct Asked<R>(R, usize);

    impl<R: Read> Read for Asked<R> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            self.1 = self.1.max(out.len());
            self.0.read(out)
        }
    }

    fn file(data: usize) -> Vec<u8> {
        let (mut encoder, mut out) = (SnapshotEncoder::new(), Vec::new());
        encoder.begin(std::iter::empty(), std::iter::empty(), &mut out);
        for (path, data) in [("", 0), ("/a", data), ("/b", 5)] {
            encoder.node(path, Some(&vec![7; data]), -1, &StatPersisted::default(), &mut out);
        }
        encoder.finish(Some(SnapshotDigest { zxid: Zxid(9), version: 2, digest: -5 }), Some(Zxid(9)), &mut out);
        out
    }

    #[test]
    fn whether_a_snapshot_is_whole_is_found_in_little_memory() {
        let bytes = file(16 << 20);
        let at = bytes.windows(2).position(|pair| pair == b"/a").unwrap() + 2;
        assert_eq!(bytes[at..at + 4], (16_i32 << 20).to_be_bytes());
        for changed in [None, Some(at), Some(at + 3), Some(at + 100)] {
            let mut bytes = bytes.clone();
            if let Some(at) = changed {
                bytes[at] ^= 0x40;
            }
            let mut source = Asked(&bytes[..], 0);
            assert_eq!(is_whole(&mut source, Compression::None).unwrap(), changed.is_none(), "{changed:?}");
            assert!(source.1 <= WHOLE_CHUNK, "asked for {} bytes", source.1);
        }
    }

    #[test]
    fn whole_is_what_is_decoded() {
        let bytes = file(40);
        for length in 16..bytes.len() {
            assert!(
                !is_whole(&bytes[..length], Compression::None).unwrap_or(false)
                    || decode(&bytes[..length], 100, &mut Ignore).is_ok()
            );
        }
        assert!(is_whole(&bytes[..], Compression::None).unwrap());
        assert!(!is_whole(&[&bytes[..], b"x"].concat()[..], Compression::None).unwrap());
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            let decoded = decode(&bytes[..], 1 << 20, &mut Ignore).is_ok();
            assert_eq!(is_whole(&bytes[..], Compression::None).unwrap_or(false), decoded, "{at}");
        }
    }

    #[test]
    fn a_list_of_acls_without_an_end_is_not_taken_in() {
        // One list with more entries than fit: of perms, a null scheme and a null id each.
        let mut head = MAGIC.to_be_bytes().to_vec();
        head.extend_from_slice(&[0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        head.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff]);
        let mut source = Asked(head.chain(io::repeat(0xff).take(1 << 30)), 0);
        let error = decode(&mut source, 1 << 20, &mut Ignore).unwrap_err();
        assert!(matches!(error, LoadSnapshotError::Length { offset: 32, .. }), "{error}");
        assert!(source.1 <= 2 * ACL_BYTES, "asked for {} bytes", source.1);
    }
}
