//! Reads the records of one log file, in memory that is bounded by the longest record.
//!
//! It says exactly how the file ends: with zeros, at its last byte, or with something that is no record. Whether that
//! last thing is a torn tail or damage depends on what stands behind it and on which file it is: [`tail`](super::tail)
//! and [`dir`](super::dir) decide.

use std::fmt;
use std::io::{self, Read};

use wire::Zxid;

use super::record::{self, HEADER_LENGTH, PREFIX_LENGTH, TERMINATOR};

/// How many bytes are asked for at first: most files of tests, and many of new servers, have no more.
const FIRST_CHUNK: usize = 8 << 10;
/// How many bytes are asked for at a time, in a file that is longer.
const CHUNK: usize = 256 * 1024;

/// A record that is whole: its checksum and its end are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The txn's zxid.
    pub zxid: Zxid,
    /// Where the record begins in the file.
    pub offset: u64,
    /// The txn entry.
    pub blob: &'a [u8],
}

impl Record<'_> {
    /// Where the record ends in the file.
    pub fn end(&self) -> u64 {
        self.offset + (self.blob.len() + record::OVERHEAD) as u64
    }
}

/// What is wrong with the bytes where a record should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The file ends inside the record.
    CutOff,
    /// A length that is zero with a checksum, negative, shorter than a txn header, or above the limit.
    Length(i32),
    /// The checksum is not that of the bytes.
    Checksum,
    /// The byte behind the blob is not `'B'`.
    Terminator(u8),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutOff => f.write_str("the file ends inside it"),
            Self::Length(length) => write!(f, "its length is {length}"),
            Self::Checksum => f.write_str("its checksum does not match"),
            Self::Terminator(byte) => write!(f, "it ends with {byte:#04x} instead of 0x42"),
        }
    }
}

/// What comes next in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// A record.
    Record(Record<'a>),
    /// No record, and the reader stays there.
    End(End),
}

/// How the records of a file end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With the file.
    Eof {
        /// The file's length.
        offset: u64,
    },
    /// With zeros where a record would begin. What follows them was not looked at.
    Padding {
        /// The first of them.
        offset: u64,
    },
    /// With something that is no record.
    Broken {
        /// Where it begins.
        offset: u64,
        /// What is wrong with it.
        flaw: Flaw,
    },
}

impl End {
    /// Where the last record ends.
    pub fn offset(self) -> u64 {
        match self {
            Self::Eof { offset } | Self::Padding { offset } | Self::Broken { offset, .. } => offset,
        }
    }
}

/// What a log's header says. Nobody goes by it: the version has always been 2, the database always 0, and Apache's reader
/// looks at neither (`FileTxnLog.FileTxnIterator.inStreamCreated`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The version of the format.
    pub version: i32,
    /// Which database the file belongs to.
    pub dbid: i64,
}

/// Why a file is no log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderFlaw {
    /// The beginning of a header, or nothing but zeros, and shorter than a header.
    CutOff {
        /// The file's length.
        length: u64,
    },
    /// Shorter than a header, and not the beginning of one.
    Foreign {
        /// The file's length.
        length: u64,
    },
    /// Another magic number.
    Magic(i32),
}

impl fmt::Display for HeaderFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutOff { length } => write!(f, "the file has {length} bytes, less than its header"),
            Self::Foreign { length } => write!(f, "the file has {length} bytes, and they do not begin a header"),
            Self::Magic(magic) => write!(f, "the file begins with {magic:#010x} instead of 0x5a4b4c47 (\"ZKLG\")"),
        }
    }
}

/// Bytes of a file, from some offset on, of which as many as asked for stand in one slice.
#[derive(Debug, Clone)]
pub(crate) struct Window<R> {
    source: R,
    buffer: Vec<u8>,
    /// The first byte in `buffer` that was not consumed.
    start: usize,
    /// Behind the last byte in `buffer` that was read.
    end: usize,
    /// Where `start` is in the file.
    pub(crate) offset: u64,
    eof: bool,
}

impl<R: Read> Window<R> {
    pub(crate) fn new(source: R, offset: u64) -> Self {
        Self { source, buffer: Vec::new(), start: 0, end: 0, offset, eof: false }
    }

    /// At least `n` bytes, or all that are left if they are fewer.
    pub(crate) fn peek(&mut self, n: usize) -> io::Result<&[u8]> {
        while self.end - self.start < n && !self.eof {
            self.fill()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn fill(&mut self) -> io::Result<()> {
        let was_full = self.end == self.buffer.len();
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        // All that is kept is moved each time, so there has to be room for as much again.
        let is_tight = self.buffer.len() >= CHUNK && self.end > self.buffer.len() / 2;
        // Doubles only when the bytes have really come, whatever a length field promises.
        if self.end == self.buffer.len() || is_tight {
            self.buffer.resize((2 * self.buffer.len()).max(FIRST_CHUNK), 0);
        } else if was_full && self.buffer.len() < CHUNK {
            self.buffer.resize((4 * self.buffer.len()).min(CHUNK), 0);
        }
        // Not more at a time than stays in the cache until it is looked at, nor much less than is moved for it.
        let to = self.buffer.len().min(self.end + CHUNK.max(self.end / 4));
        match self.source.read(&mut self.buffer[self.end..to]) {
            Ok(0) => self.eof = true,
            Ok(n) => self.end += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    /// Up to where the file was read.
    pub(crate) fn read_to(&self) -> u64 {
        self.offset + (self.end - self.start) as u64
    }

    /// The `n` bytes that a `peek` has just shown.
    pub(crate) fn shown(&self, from: usize, to: usize) -> &[u8] {
        &self.buffer[self.start + from..self.start + to]
    }

    pub(crate) fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.end - self.start);
        self.start += n;
        self.offset += n as u64;
    }
}

/// Reads the records of one file.
#[derive(Debug, Clone)]
pub struct LogReader<R> {
    pub(crate) window: Window<R>,
    header: Header,
    blob_max: usize,
    /// Of the record that was given last; it is consumed when the next one is asked for.
    pending: usize,
}

/// The outcome of opening a log file.
pub type Opened<T> = io::Result<Result<T, HeaderFlaw>>;

impl<R: Read> LogReader<R> {
    /// Reads the header. `blob_max` is the longest blob to accept, in bytes: `jute.maxbuffer` plus
    /// `jute.maxbuffer.extrasize`, as Apache has it.
    pub fn open(source: R, blob_max: usize) -> Opened<Self> {
        let mut window = Window::new(source, 0);
        let header = window.peek(HEADER_LENGTH as usize)?;
        let Some(bytes) = header.first_chunk::<{ HEADER_LENGTH as usize }>() else {
            let length = header.len() as u64;
            let is_begun = record::HEADER.starts_with(header) || header.iter().all(|b| *b == 0);
            return Ok(Err(if is_begun { HeaderFlaw::CutOff { length } } else { HeaderFlaw::Foreign { length } }));
        };
        let (magic, version) = (&bytes[..4], &bytes[4..8]);
        let int = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| i32::from_be_bytes(*bytes));
        if int(magic) != record::MAGIC {
            return Ok(Err(HeaderFlaw::Magic(int(magic))));
        }
        let dbid = bytes.last_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
        let header = Header { version: int(version), dbid };
        window.consume(HEADER_LENGTH as usize);
        Ok(Ok(Self { window, header, blob_max, pending: 0 }))
    }

    /// What the header says.
    pub fn header(&self) -> Header {
        self.header
    }

    /// Up to where the file was read: after an error, the place that can't be.
    pub fn read_to(&self) -> u64 {
        self.window.read_to()
    }

    pub(crate) fn blob_max(&self) -> usize {
        self.blob_max
    }

    /// The next record, or how the records end. After an end it gives that end again.
    pub fn step(&mut self) -> io::Result<Step<'_>> {
        self.window.consume(std::mem::take(&mut self.pending));
        let offset = self.window.offset;
        match examine(&mut self.window, self.blob_max)? {
            Seen::Record { zxid, length } => {
                self.pending = length + record::OVERHEAD;
                let blob = self.window.shown(PREFIX_LENGTH, PREFIX_LENGTH + length);
                Ok(Step::Record(Record { zxid, offset, blob }))
            }
            Seen::Nothing => Ok(Step::End(End::Eof { offset })),
            Seen::Zeros => Ok(Step::End(End::Padding { offset })),
            Seen::Flaw(flaw) => Ok(Step::End(End::Broken { offset, flaw })),
        }
    }
}

enum Seen {
    Record { zxid: Zxid, length: usize },
    Nothing,
    Zeros,
    Flaw(Flaw),
}

/// Looks at the record that begins where the window does.
fn examine<R: Read>(window: &mut Window<R>, blob_max: usize) -> io::Result<Seen> {
    let head = window.peek(PREFIX_LENGTH)?;
    if head.is_empty() {
        return Ok(Seen::Nothing);
    }
    if head.iter().take(PREFIX_LENGTH).all(|b| *b == 0) {
        return Ok(Seen::Zeros);
    }
    let Some(prefix) = head.first_chunk::<PREFIX_LENGTH>() else {
        return Ok(Seen::Flaw(Flaw::CutOff));
    };
    let (sum, length) = split_prefix(prefix);
    let Some(blob_length) = usize::try_from(length).ok().filter(|n| (record::BLOB_MIN..=blob_max).contains(n)) else {
        return Ok(Seen::Flaw(Flaw::Length(length)));
    };
    let bytes = window.peek(blob_length + record::OVERHEAD)?;
    let Some(terminator) = bytes.get(PREFIX_LENGTH + blob_length) else {
        return Ok(Seen::Flaw(Flaw::CutOff));
    };
    if *terminator != TERMINATOR {
        return Ok(Seen::Flaw(Flaw::Terminator(*terminator)));
    }
    let blob = &bytes[PREFIX_LENGTH..PREFIX_LENGTH + blob_length];
    match record::zxid_of(blob) {
        Some(zxid) if i64::from(record::checksum(blob)) == sum => Ok(Seen::Record { zxid, length: blob_length }),
        _ => Ok(Seen::Flaw(Flaw::Checksum)),
    }
}

/// The checksum and the length.
pub(crate) fn split_prefix(prefix: &[u8; PREFIX_LENGTH]) -> (i64, i32) {
    let (sum, length) = prefix.split_at(8);
    let sum = sum.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
    (sum, length.first_chunk().map_or(0, |bytes| i32::from_be_bytes(*bytes)))
}
