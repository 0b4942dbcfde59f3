//! Reading a snapshot, compressed or not, with a progress line.

use std::fs::File;

use anyhow::{Context, Result};
use storage::snapshot::decode::{LoadSnapshotError, SnapshotEnd, SnapshotVisitor, decode_file};
use storage::snapshot::stream::Compression;
use tree::digest::{TreeDigest, node_digest};
use wire::jute::Buffer;
use wire::{AclVec, SessionId, StatPersisted};

use crate::input::Input;
use crate::progress::{self, Told};

/// The longest path, data or ACL that is read, in bytes.
const LENGTH_MAX: usize = 256 << 20;

/// Shows all of it to `visitor`, which prints nothing meanwhile. The outer error is about the file system, the inner one about the
/// file.
pub fn read(file: &Input, visitor: &mut impl SnapshotVisitor) -> Result<Result<SnapshotEnd, LoadSnapshotError>> {
    read_telling(file, visitor, progress::is_watched())
}

/// The same for one that prints.
pub fn read_printing(
    file: &Input,
    visitor: &mut impl SnapshotVisitor,
) -> Result<Result<SnapshotEnd, LoadSnapshotError>> {
    read_telling(file, visitor, progress::is_apart())
}

fn read_telling(
    file: &Input,
    visitor: &mut impl SnapshotVisitor,
    wanted: bool,
) -> Result<Result<SnapshotEnd, LoadSnapshotError>> {
    let source = File::open(&file.path).with_context(|| file.shown())?;
    let bar = progress::bar(file.length, "reading", wanted);
    let done = decode_file(Told::new(source, &bar), Compression::of(&file.name), LENGTH_MAX, visitor, &mut |_| ());
    bar.finish_and_clear();
    Ok(done)
}

/// A visitor that only counts.
#[derive(Debug, Default)]
pub struct Count {
    /// How many sessions there were.
    pub sessions: u64,
    /// How many ACLs there were.
    pub acls: u64,
    /// The digest of the znodes.
    pub digest: TreeDigest,
}

impl SnapshotVisitor for Count {
    fn session(&mut self, _: SessionId, _: i32) {
        self.sessions += 1;
    }
    fn acl(&mut self, _: i64, _: AclVec<'_>) {
        self.acls += 1;
    }
    fn node(&mut self, path: &str, data: Buffer<'_>, _: i64, stat: &StatPersisted) -> Result<(), String> {
        self.digest = self.digest.replace(0, node_digest(path, data, stat));
        Ok(())
    }
}

/// The path as clients write it: the root is `/`.
pub fn client_path(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}
