//! Compressed snapshot files: gzip, and the stream format of snappy-java.
//!
//! Compression is around everything: the checksums of a snapshot are over its uncompressed bytes. Which one a file has is
//! told by the ending of its name. The formats are in `docs/formats/snapshot.md`; sources: Apache `SnapStream`, and
//! `SnappyInputStream` of snappy-java.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read, Write};
use std::rc::Rc;

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use wire::Zxid;

use crate::names::{FileName, SNAPSHOT};

/// How a snapshot file is compressed (`snapshot.compression.method`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// `.gz`
    Gzip,
    /// `.snappy`: blocks of raw snappy with a length before each.
    Snappy,
}

/// What a snappy file begins with.
const SNAPPY_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
/// The header: the magic, the version of the format, and the oldest version that can read it, both 1.
const SNAPPY_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// How many bytes go into one block of ours; snappy-java's default.
const SNAPPY_BLOCK: usize = 32 << 10;
/// The longest block, compressed or not, that is read. snappy-java allows 512 MiB, and Apache writes 32 KiB.
const SNAPPY_BLOCK_MAX: usize = 16 << 20;

impl Compression {
    /// That of a file with this name.
    pub fn of(name: &FileName) -> Self {
        let FileName::Other(name) = name else { return Self::None };
        match name.rsplit('.').next() {
            Some("gz") => Self::Gzip,
            Some("snappy") => Self::Snappy,
            _ => Self::None,
        }
    }

    /// The name of a snapshot of this zxid.
    pub fn name(self, zxid: Zxid) -> FileName {
        match self.ending() {
            None => FileName::Snapshot(zxid),
            Some(ending) => FileName::Other(format!("{SNAPSHOT}.{:x}.{ending}", zxid.0).into()),
        }
    }

    /// What such a file's name ends with.
    pub fn ending(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gz"),
            Self::Snappy => Some("snappy"),
        }
    }

    /// What such a file begins with, as far as a quick look goes.
    pub(crate) fn magic(self) -> &'static [u8] {
        match self {
            Self::None => b"ZKSN",
            Self::Gzip => &[0x1f, 0x8b],
            Self::Snappy => &SNAPPY_MAGIC,
        }
    }

    /// The uncompressed bytes of a file. Whatever the file promises, memory is bounded by 32 MiB.
    pub fn reader<'a, R: Read + 'a>(self, source: R) -> Box<dyn Read + 'a> {
        match self {
            Self::None => Box::new(source),
            Self::Gzip => Box::new(MultiGzDecoder::new(source)),
            Self::Snappy => Box::new(SnappyReader::new(source)),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
        })
    }
}

/// A reader that says how many bytes went through it.
#[derive(Debug)]
pub struct Counted<R> {
    source: R,
    count: Rc<Cell<u64>>,
}

impl<R> Counted<R> {
    /// Around `source`, and where to look for the number of bytes.
    pub fn new(source: R) -> (Self, Rc<Cell<u64>>) {
        let count = Rc::new(Cell::new(0));
        (Self { source, count: Rc::clone(&count) }, count)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(out)?;
        self.count.set(self.count.get() + n as u64);
        Ok(n)
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Reads snappy-java's stream: a header, then blocks; a header may stand between blocks, where streams were joined.
#[derive(Debug)]
struct SnappyReader<R> {
    source: R,
    begun: bool,
    /// Where the next block is, in the file.
    offset: u64,
    packed: Vec<u8>,
    block: Vec<u8>,
    taken: usize,
}

impl<R: Read> SnappyReader<R> {
    fn new(source: R) -> Self {
        Self { source, begun: false, offset: 0, packed: Vec::new(), block: Vec::new(), taken: 0 }
    }

    fn header(&mut self, from: usize) -> io::Result<()> {
        let mut header = SNAPPY_HEADER;
        self.source.read_exact(&mut header[from..])?;
        if header[..8] != SNAPPY_MAGIC {
            return Err(invalid(format!("no snappy header at byte {}", self.offset)));
        }
        let oldest = i32::from_be_bytes([header[12], header[13], header[14], header[15]]);
        if oldest > 1 {
            return Err(invalid(format!("the snappy stream wants a reader of version {oldest}")));
        }
        self.offset += header.len() as u64;
        Ok(())
    }

    /// The next block; false at the end.
    fn next_block(&mut self) -> io::Result<bool> {
        if !self.begun {
            self.header(0)?;
            self.begun = true;
        }
        let mut length = [0; 4];
        let got = read_up_to(&mut self.source, &mut length)?;
        if got == 0 {
            return Ok(false);
        }
        if got < length.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if length == SNAPPY_HEADER[..4] {
            self.header(4)?;
            self.block.clear();
            self.taken = 0;
            return Ok(true);
        }
        let length = i32::from_be_bytes(length);
        let n = usize::try_from(length).ok().filter(|n| *n <= SNAPPY_BLOCK_MAX);
        let n = n.ok_or_else(|| invalid(format!("a snappy block of {length} bytes at byte {}", self.offset)))?;
        self.packed.clear();
        // Grows as the bytes come, whatever the length says.
        let read = (&mut self.source).take(n as u64).read_to_end(&mut self.packed)?;
        if read < n {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let bad = |e: snap::Error| invalid(format!("the snappy block at byte {}: {e}", self.offset));
        let unpacked = snap::raw::decompress_len(&self.packed).map_err(bad)?;
        if unpacked > SNAPPY_BLOCK_MAX {
            return Err(invalid(format!("a snappy block of {unpacked} bytes at byte {}", self.offset)));
        }
        self.block.resize(unpacked, 0);
        snap::raw::Decoder::new().decompress(&self.packed, &mut self.block).map_err(bad)?;
        self.taken = 0;
        self.offset += 4 + n as u64;
        Ok(true)
    }
}

/// As much of `out` as there is.
fn read_up_to(source: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < out.len() {
        match source.read(&mut out[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.taken == self.block.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let n = out.len().min(self.block.len() - self.taken);
        out[..n].copy_from_slice(&self.block[self.taken..self.taken + n]);
        self.taken += n;
        Ok(n)
    }
}

/// Compresses the bytes of a snapshot, piece by piece.
pub struct Compressor(Way);

enum Way {
    None,
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Snappy { begun: bool, pending: Vec<u8> },
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Way::None => "Compressor(none)",
            Way::Gzip(_) => "Compressor(gzip)",
            Way::Snappy { .. } => "Compressor(snappy)",
        })
    }
}

impl Compressor {
    /// One that has seen nothing.
    pub fn new(compression: Compression) -> Self {
        Self(match compression {
            Compression::None => Way::None,
            Compression::Gzip => Way::Gzip(Box::new(GzEncoder::new(Vec::new(), flate2::Compression::default()))),
            Compression::Snappy => Way::Snappy { begun: false, pending: Vec::new() },
        })
    }

    /// Takes bytes, and gives what can go to the file now; perhaps nothing.
    pub fn add(&mut self, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
        match &mut self.0 {
            Way::None => Ok(bytes),
            Way::Gzip(encoder) => {
                encoder.write_all(&bytes)?;
                Ok(std::mem::take(encoder.get_mut()))
            }
            Way::Snappy { begun, pending } => {
                pending.extend_from_slice(&bytes);
                let whole = pending.len() / SNAPPY_BLOCK * SNAPPY_BLOCK;
                let mut out = Vec::new();
                snappy_blocks(begun, &pending[..whole], &mut out)?;
                pending.drain(..whole);
                Ok(out)
            }
        }
    }

    /// What is left at the end.
    pub fn finish(self) -> io::Result<Vec<u8>> {
        match self.0 {
            Way::None => Ok(Vec::new()),
            Way::Gzip(encoder) => encoder.finish(),
            Way::Snappy { mut begun, pending } => {
                let mut out = Vec::new();
                snappy_blocks(&mut begun, &pending, &mut out)?;
                Ok(out)
            }
        }
    }
}

fn snappy_blocks(begun: &mut bool, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    if !*begun {
        out.extend_from_slice(&SNAPPY_HEADER);
        *begun = true;
    }
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(SNAPPY_BLOCK) {
        let from = out.len();
        out.resize(from + 4 + snap::raw::max_compress_len(block.len()), 0);
        let packed = encoder.compress(block, &mut out[from + 4..]).map_err(|e| invalid(e.to_string()))?;
        out.truncate(from + 4 + packed);
        out[from..from + 4].copy_from_slice(&(packed as u32).to_be_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(compression: Compression, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut compressor = Compressor::new(compression);
        let mut out = Vec::new();
        for piece in bytes.chunks(piece) {
            out.extend(compressor.add(piece.to_vec()).unwrap());
        }
        out.extend(compressor.finish().unwrap());
        out
    }

    fn unpacked(compression: Compression, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        compression.reader(bytes).read_to_end(&mut out).map(|_| out)
    }

    fn sample() -> Vec<u8> {
        (0..200_000u32).flat_map(|i| if i % 7 == 0 { i.to_be_bytes() } else { [0; 4] }).collect()
    }

    #[test]
    fn there_and_back() {
        for compression in [Compression::None, Compression::Gzip, Compression::Snappy] {
            for bytes in [sample(), Vec::new(), b"x".to_vec(), vec![7; SNAPPY_BLOCK], vec![7; SNAPPY_BLOCK + 1]] {
                for piece in [1 << 20, 10_007] {
                    let file = packed(compression, &bytes, piece);
                    assert_eq!(unpacked(compression, &file).unwrap(), bytes, "{compression}");
                }
            }
        }
    }

    #[test]
    fn a_cut_or_a_changed_byte_is_seen_or_harmless() {
        let bytes = sample()[..5000].to_vec();
        for compression in [Compression::Gzip, Compression::Snappy] {
            let file = packed(compression, &bytes, 1000);
            for cut in 0..file.len() {
                // A snappy stream may end after any block; the snapshot's own seals see that.
                if let Ok(found) = unpacked(compression, &file[..cut]) {
                    assert!(found.len() < bytes.len() && compression == Compression::Snappy || found.is_empty());
                }
            }
        }
    }

    #[test]
    fn joined_snappy_streams() {
        let mut file = packed(Compression::Snappy, b"abc", 10);
        file.extend(packed(Compression::Snappy, b"def", 10));
        assert_eq!(unpacked(Compression::Snappy, &file).unwrap(), b"abcdef");
    }

    #[test]
    fn lengths_that_lie_cost_nothing() {
        for length in [-1, i32::MAX, (SNAPPY_BLOCK_MAX + 1) as i32] {
            let mut file = SNAPPY_HEADER.to_vec();
            file.extend_from_slice(&length.to_be_bytes());
            assert!(unpacked(Compression::Snappy, &file).is_err());
        }
        // A block that claims to be 4 GiB long when unpacked.
        let mut file = SNAPPY_HEADER.to_vec();
        file.extend_from_slice(&[0, 0, 0, 6, 0xff, 0xff, 0xff, 0xff, 0x0f, 0]);
        assert!(unpacked(Compression::Snappy, &file).is_err());
    }

    #[test]
    fn names() {
        for (compression, name) in [
            (Compression::None, "snapshot.1f"),
            (Compression::Gzip, "snapshot.1f.gz"),
            (Compression::Snappy, "snapshot.1f.snappy"),
        ] {
            let made = compression.name(Zxid(0x1f));
            assert_eq!(made.to_string(), name);
            assert_eq!(FileName::parse(name), made);
            assert_eq!(Compression::of(&made), compression);
        }
    }
}
