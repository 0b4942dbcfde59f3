//! Snapshot files: encoding, writing, decoding.
//!
//! Source: Apache `FileSnap`, `SnapStream`, `DataTree.serialize`, `SerializeUtils`; `docs/formats/snapshot.md`.

pub mod decode;
pub mod encode;
pub mod install;
pub mod raw;
pub mod stream;
pub mod write;

use wire::Zxid;

/// "ZKSN".
pub const MAGIC: i32 = 0x5a4b_534e;
/// The version that the header names (`FileSnap.VERSION`).
pub const VERSION: i32 = 2;
/// The dbid that the header names: -1.
pub const DBID: i64 = -1;
/// What stands where the path of one more znode would, and in each seal.
pub const END: &str = "/";
/// The bytes of a seal: a checksum and `"/"`.
pub const SEAL_LENGTH: usize = 13;

/// The tree's digest at the end of the time in which a snapshot was taken (`ZxidDigest`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotDigest {
    /// The txn after which the tree has this digest; 0: none.
    pub zxid: Zxid,
    /// How it is computed: 2 since 3.6.
    pub version: i32,
    /// The sum over all znodes.
    pub digest: i64,
}
