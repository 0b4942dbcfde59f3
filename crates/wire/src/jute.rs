//! Jute, ZooKeeper's serialization: big-endian fields one after another, no tags, no padding.
//!
//! Source: Apache `BinaryInputArchive` and `BinaryOutputArchive`. Lengths are 32-bit; -1 is null; a string is UTF-8 and
//! decoded with replacement of what is not; a vector's negative count other than -1 reads as an empty one.

use std::borrow::Cow;
use std::fmt;

/// A nullable string. Borrowed from the frame, unless broken UTF-8 had to be replaced.
pub type UStr<'a> = Option<Cow<'a, str>>;

/// A nullable run of bytes; null and empty are different, and both are kept as they are.
pub type Buffer<'a> = Option<&'a [u8]>;

/// The default of `jute.maxbuffer`: 0xfffff bytes.
pub const MAX_BUFFER_DEFAULT: usize = 0xf_ffff;

/// Why bytes are not the record that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes end before the record does.
    Truncated {
        /// Where the missing field begins.
        offset: usize,
    },
    /// A string or buffer whose length is negative (and not -1) or above the limit.
    Length {
        /// Where its length stands.
        offset: usize,
        /// The length it claims.
        length: i32,
    },
    /// A code that the field does not have.
    Value {
        /// Where the next field would begin.
        offset: usize,
        /// What is wrong.
        what: &'static str,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { offset } => write!(f, "the record ends early, at byte {offset}"),
            Self::Length { offset, length } => write!(f, "unreasonable length {length} at byte {offset}"),
            Self::Value { offset, what } => write!(f, "{what}, before byte {offset}"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// A position in the bytes of a record.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    length_max: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their start, with the default limit of a string or buffer: twice `jute.maxbuffer`, since
    /// `jute.maxbuffer.extrasize` has the same default.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::with_limit(bytes, 2 * MAX_BUFFER_DEFAULT)
    }

    /// Reads `bytes` and refuses a string or buffer longer than `length_max` bytes.
    pub fn with_limit(bytes: &'a [u8], length_max: usize) -> Self {
        Self { bytes, at: 0, length_max }
    }

    /// The bytes read so far.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// The bytes that are left.
    pub fn remaining(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// What stands between `from` (an earlier [`offset`](Self::offset)) and here.
    pub fn since(&self, from: usize) -> &'a [u8] {
        &self.bytes[from..self.at]
    }

    /// Takes `n` bytes as they are.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        match self.bytes[self.at..].get(..n) {
            Some(taken) => {
                self.at += n;
                Ok(taken)
            }
            None => Err(DecodeError::Truncated { offset: self.at }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(taken) => {
                self.at += N;
                Ok(*taken)
            }
            None => Err(DecodeError::Truncated { offset: self.at }),
        }
    }

    /// Reads any field.
    pub fn read<T: Field<'a>>(&mut self) -> Result<T, DecodeError> {
        T::read(self)
    }

    /// An error about a code just read.
    pub fn value_error(&self, what: &'static str) -> DecodeError {
        DecodeError::Value { offset: self.at, what }
    }
}

/// What can stand in a record.
pub trait Field<'a>: Sized {
    /// Reads it from where `r` stands.
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError>;
    /// Appends its wire form.
    fn write(&self, out: &mut Vec<u8>);

    /// Its wire form, alone.
    fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Reads it from the start of `bytes`; what follows it is ignored, as Apache does.
    fn from_slice(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(bytes))
    }
}

macro_rules! integer {
    ($($ty:ty),*) => {$(
        impl<'a> Field<'a> for $ty {
            fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> { Ok(Self::from_be_bytes(r.array()?)) }
            fn write(&self, out: &mut Vec<u8>) { out.extend_from_slice(&self.to_be_bytes()); }
        }
    )*};
}
integer!(u8, i32, i64);

impl<'a> Field<'a> for bool {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(u8::read(r)? != 0)
    }
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl<'a> Field<'a> for Buffer<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let offset = r.at;
        let length = i32::read(r)?;
        if length == -1 {
            return Ok(None);
        }
        match usize::try_from(length) {
            Ok(n) if n <= r.length_max => r.take(n).map(Some),
            _ => Err(DecodeError::Length { offset, length }),
        }
    }
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            None => out.extend_from_slice(&(-1i32).to_be_bytes()),
            Some(bytes) => write_bytes(bytes, out),
        }
    }
}

impl<'a> Field<'a> for UStr<'a> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Buffer::read(r)?.map(text))
    }
    fn write(&self, out: &mut Vec<u8>) {
        self.as_ref().map(|s| s.as_bytes()).write(out);
    }
}

/// The text of `bytes`. What is no UTF-8 is replaced by U+FFFD as Java's decoder does it: one for each part that could have
/// begun a character, and, other than in Rust, one for a surrogate of three bytes (`ED A0 80` to `ED BF BF`), or for the
/// two that it begins with.
pub fn text(bytes: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(bytes) {
        Cow::Owned(replaced) if bytes.windows(2).any(is_surrogate) => Cow::Owned(text_of_surrogates(bytes, replaced)),
        text => text,
    }
}

fn is_surrogate(two: &[u8]) -> bool {
    two[0] == 0xed && (0xa0..=0xbf).contains(&two[1])
}

fn text_of_surrogates(bytes: &[u8], mut out: String) -> String {
    out.clear();
    let mut rest = bytes;
    while let Some(at) = rest.windows(2).position(is_surrogate) {
        out.push_str(&String::from_utf8_lossy(&rest[..at]));
        out.push(char::REPLACEMENT_CHARACTER);
        let length = if rest.get(at + 2).is_some_and(|byte| byte & 0xc0 == 0x80) { 3 } else { 2 };
        rest = &rest[at + length..];
    }
    out.push_str(&String::from_utf8_lossy(rest));
    out
}

/// A string that the writer never leaves null; a null one reads as empty.
impl<'a> Field<'a> for String {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(UStr::read(r)?.unwrap_or_default().into_owned())
    }
    fn write(&self, out: &mut Vec<u8>) {
        write_bytes(self.as_bytes(), out);
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// A nullable vector. It allocates as elements arrive, never by the count alone.
impl<'a, T: Field<'a>> Field<'a> for Option<Vec<T>> {
    fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = i32::read(r)?;
        if count == -1 {
            return Ok(None);
        }
        let mut items = Vec::new();
        for _ in 0..count.max(0) {
            if r.remaining().is_empty() {
                return Err(DecodeError::Truncated { offset: r.at });
            }
            items.push(T::read(r)?);
        }
        Ok(Some(items))
    }
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            None => (-1i32).write(out),
            Some(items) => {
                (items.len() as i32).write(out);
                for item in items {
                    item.write(out);
                }
            }
        }
    }
}

/// No fields at all.
impl<'a> Field<'a> for () {
    fn read(_: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(())
    }
    fn write(&self, _: &mut Vec<u8>) {}
}

/// Writes a string field without owning it.
pub fn write_str(s: &str, out: &mut Vec<u8>) {
    write_bytes(s.as_bytes(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_empty_and_short() {
        assert_eq!(Buffer::from_slice(&[255, 255, 255, 255]), Ok(None));
        assert_eq!(Buffer::from_slice(&[0, 0, 0, 0]), Ok(Some(&[][..])));
        assert_eq!(Buffer::from_slice(&[0, 0, 0, 2, 7]), Err(DecodeError::Truncated { offset: 4 }));
        assert_eq!(Buffer::from_slice(&[255, 255, 255, 254]), Err(DecodeError::Length { offset: 0, length: -2 }));
        assert_eq!(
            Buffer::read(&mut Reader::with_limit(&[0, 0, 0, 3, 1, 2, 3], 2)),
            Err(DecodeError::Length { offset: 0, length: 3 })
        );
    }

    #[test]
    fn broken_utf8_is_replaced() {
        assert_eq!(UStr::from_slice(&[0, 0, 0, 2, b'/', 0xff]), Ok(Some("/\u{fffd}".into())));
        let replaced = |bytes| text(bytes).matches('\u{fffd}').count();
        assert_eq!(replaced(b"a\xed\xa0\xbd\xed\xb8\x80b"), 2, "a pair of surrogates");
        assert_eq!(replaced(b"\xed\xa0"), 1, "cut off");
        assert_eq!(text(b"\xed\xa0x\xffy"), "\u{fffd}x\u{fffd}y");
        assert_eq!(replaced(b"\xe0\x80\x80"), 3);
        assert_eq!(text(b"\xed\x9f\xbf"), "\u{d7ff}");
    }

    #[test]
    fn vectors() {
        type V = Option<Vec<i32>>;
        assert_eq!(V::from_slice(&[255, 255, 255, 255]), Ok(None));
        assert_eq!(V::from_slice(&[255, 255, 255, 254]), Ok(Some(vec![])), "-2 reads as empty");
        assert_eq!(V::from_slice(&[0, 0, 0, 1, 0, 0, 0, 9]), Ok(Some(vec![9])));
        assert_eq!(
            V::from_slice(&[127, 255, 255, 255, 0, 0, 0, 9]),
            Err(DecodeError::Truncated { offset: 8 }),
            "a promise of two thousand million elements costs nothing"
        );
    }
}
