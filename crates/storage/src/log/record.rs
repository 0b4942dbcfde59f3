//! A log file's header and its records (`FileTxnLog.append`, `FileHeader`, `Util.writeTxnBytes`).
//!
//! ```text
//! header  i32 magic "ZKLG", i32 version 2, i64 dbid 0
//! record  i64 Adler-32 of the blob, i32 length of the blob, the blob (a txn entry), 0x42
//! tail    zeros
//! ```

use wire::{OpCode, Zxid};

/// "ZKLG".
pub const MAGIC: i32 = 0x5a4b_4c47;
/// The version that the header names. Readers don't look at it, as Apache's does not.
pub const VERSION: i32 = 2;
/// The database that the header names, here and in Apache.
pub const DBID: i64 = 0;
/// The bytes of the header.
pub const HEADER_LENGTH: u64 = 16;
/// The header of every file that we write.
pub const HEADER: [u8; HEADER_LENGTH as usize] = *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0";
/// What ends a record: `'B'`.
pub const TERMINATOR: u8 = 0x42;
/// The bytes of a record that stand before its blob.
pub const PREFIX_LENGTH: usize = 12;
/// The bytes of a record beside its blob.
pub const OVERHEAD: usize = PREFIX_LENGTH + 1;
/// The shortest blob: a txn header.
pub const BLOB_MIN: usize = 32;

/// The Adler-32 of some bytes.
pub fn checksum(bytes: &[u8]) -> u32 {
    simd_adler32::adler32(&bytes)
}

/// Appends the record of one txn entry.
pub fn encode(entry: &[u8], out: &mut Vec<u8>) {
    let mut prefix = [0; PREFIX_LENGTH];
    prefix[4..8].copy_from_slice(&checksum(entry).to_be_bytes());
    prefix[8..].copy_from_slice(&(entry.len() as i32).to_be_bytes());
    out.reserve(entry.len() + OVERHEAD);
    out.extend_from_slice(&prefix);
    out.extend_from_slice(entry);
    out.push(TERMINATOR);
}

/// The zxid in a blob: the third field of the txn header.
pub fn zxid_of(blob: &[u8]) -> Option<Zxid> {
    let bytes = blob.get(12..20)?.first_chunk::<8>()?;
    Some(Zxid(i64::from_be_bytes(*bytes)))
}

/// Where the data begin and end in a blob of `length` bytes whose txn gives a znode its data, if that is what it begins with (there
/// may be less of it, or zeros in place of a part), and what must follow the data has room up to its end, but not much more: of
/// two lengths that disagree one is wrong.
///
/// ```text
/// txn header  i64 session, i32 cxid, i64 zxid, i64 time, i32 type
/// txn         ustring path, buffer data, then setData: i32 version
///                                             create…: ACLs, and up to 17 bytes
/// digest      i32 version, i64 digest, or nothing
/// ```
pub(super) fn data_of(blob: &[u8], length: usize) -> Option<(usize, usize)> {
    let int = |at: usize| Some(i32::from_be_bytes(*blob.get(at..)?.first_chunk::<4>()?));
    let path_length = usize::try_from(int(BLOB_MIN)?).ok()?;
    let from = (BLOB_MIN + 8).checked_add(path_length)?;
    let to = from.checked_add(usize::try_from(int(from - 4)?).ok()?)?;
    let rest = length.checked_sub(to)?;
    let fits = match OpCode::from_code(int(BLOB_MIN - 4)?)? {
        OpCode::SetData => rest == 4 || rest == 4 + DIGEST_LENGTH,
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            (8..=CREATE_REST_MAX).contains(&rest)
        }
        _ => false,
    };
    fits.then_some((from, to))
}

/// What a txn's digest takes, where there is one: its version and its value.
const DIGEST_LENGTH: usize = 12;
/// What may follow the data of a create: few ACLs are longer.
const CREATE_REST_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let mut blob = [0; 32];
        blob[12..20].copy_from_slice(&7i64.to_be_bytes());
        let mut out = Vec::new();
        encode(&blob, &mut out);
        assert_eq!(out.len(), 32 + OVERHEAD);
        assert_eq!(&out[..4], [0; 4], "the checksum is zero-extended");
        assert_eq!(&out[8..12], [0, 0, 0, 32]);
        assert_eq!(out[44], b'B');
        assert_eq!(zxid_of(&blob), Some(Zxid(7)));
        assert_eq!(i32::from_be_bytes(*HEADER.first_chunk().unwrap()), MAGIC);
        assert_eq!(HEADER[4..8], VERSION.to_be_bytes());
    }
}
