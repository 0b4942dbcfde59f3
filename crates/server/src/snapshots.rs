//! Snapshots are written: the cut is read in small steps under the tree's lock, encoded, and written by a second thread.
//!
//! The thread that reads has the priority of all others: one of a lower priority could lose its core while it has the lock,
//! and whoever needs the lock would wait until nobody else wants the core. It offers its core after each step instead, and
//! rests while there are requests.
//!
//! Each snapshot is a scan, too: the znodes that are read are counted into a digest, from their bytes and not from what is
//! remembered of each, and that has to be the tree's. Memory that lost a bit is found so, and what is in it gets into no file.

mod bound;
mod pace;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use peer::Shared;
use storage::snapshot::SnapshotDigest;
use storage::snapshot::encode::SnapshotEncoder;
use storage::snapshot::stream::{Compression, Compressor};
use storage::snapshot::write::SnapshotWriter;
use storage::{Disk, Effect};
use tree::cut::{Chunk, CutHeader};
use tree::digest::{TreeDigest, node_digest};
use wire::txn::DIGEST_VERSION;
use wire::{AclVec, Zxid};

pub use self::bound::{IMAGE_BYTES_MAX, ImageBound};
use self::pace::{Load, Pace};
use crate::core::Core;
use crate::disk::RealDisk;
use crate::threads::{execute, yield_to_others};

/// About how many bytes of znodes are read under one guard: some tens of µs.
const CHUNK_BYTES: usize = 24 * 1024;
/// How many bytes go to the disk at once, or a multiple of it.
const WRITE_BYTES: usize = 1 << 20;
/// And how many there may be when there are enough, unless a znode is longer.
const OUT_BYTES: usize = WRITE_BYTES + WRITE_BYTES / 4;
/// How many pieces may wait for the disk.
const WAITING: usize = 2;

/// How snapshots are written.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotOptions {
    /// `forceSync`.
    pub force_sync: bool,
    /// `digest.enabled`.
    pub digest: bool,
    /// `snapshot.compression.method`.
    pub compression: Compression,
    /// `serializeLastProcessedZxid.enabled`.
    pub last_processed: bool,
}

/// Why there is no snapshot.
#[derive(Debug)]
pub enum SnapshotError {
    /// The disk did not take it.
    Disk(io::Error),
    /// The znodes in memory are not what the txns made of them. The files are untouched.
    Memory {
        /// Where the snapshot stands.
        zxid: Zxid,
        /// What was counted.
        found: TreeDigest,
        /// The sum that was kept while txns were applied.
        due: TreeDigest,
    },
}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl std::error::Error for SnapshotError {}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disk(error) => error.fmt(f),
            Self::Memory { zxid, found, due } => write!(
                f,
                "the znodes in memory are not what their txns made of them: at {zxid} their digest is {:x}, and has to be {:x}. \
                 Nothing of them got into a file; start the server again, it reads its snapshot and log anew. If this comes \
                 again, look at the memory of this machine",
                found.0, due.0
            ),
        }
    }
}

/// Writes snapshots until the server stops, or until the tree turns out to be damaged: then the server has to stop, for the
/// reason that is returned.
///
/// # Errors
/// Only [`SnapshotError::Memory`].
pub fn run_snapshots(core: &Core, mut disk: RealDisk, options: SnapshotOptions) -> Result<(), SnapshotError> {
    while let Some(header) = core.next_snapshot() {
        let (zxid, nodes, began) = (header.zxid, header.node_count, Instant::now());
        let done = write_snapshot(&core.shared, &mut disk, header, options, &core.snapshot_awaited);
        let written = done.as_ref().ok().copied().flatten();
        match done {
            Ok(Some(bytes)) => {
                core.images.ended(true);
                tracing::info!("snapshot.{:x}: {nodes} znodes, {bytes} bytes, {:?}", zxid.0, began.elapsed());
            }
            Ok(None) => {
                core.images.ended(false);
                tracing::warn!(
                    "the snapshot at {zxid} was given up: more was changed meanwhile than is kept for it; it will be tried later, \
                     and up to {} MiB of what is changed then are kept",
                    core.images.bytes() >> 20
                );
            }
            Err(e @ SnapshotError::Memory { .. }) => return Err(e),
            Err(e) => tracing::error!("the snapshot at {zxid} failed, the log keeps everything: {e}"),
        }
        core.snapshot_done(written, began.elapsed());
    }
    Ok(())
}

/// Writes the cut that is under way; `None` if it was given up. Returns its length in bytes. As long as `awaited` is true, no
/// request comes first.
///
/// # Errors
/// The disk's, or the tree is damaged; no file is left behind.
pub fn write_snapshot(
    shared: &Arc<Shared>,
    disk: &mut RealDisk,
    header: CutHeader,
    options: SnapshotOptions,
    awaited: &AtomicBool,
) -> Result<Option<u64>, SnapshotError> {
    let mut writer = SnapshotWriter::compressed(header.zxid, options.compression, options.force_sync);
    match walk(shared, disk, &mut writer, &header, options, awaited) {
        Ok(true) => {
            let bytes = writer.bytes();
            execute(disk, &writer.clone().finish()).inspect_err(|_| {
                // As below.
                let _ = execute(disk, &writer.abandon());
            })?;
            Ok(Some(bytes))
        }
        Ok(false) => Ok(execute(disk, &writer.abandon()).map(|()| None)?),
        Err(e) => {
            shared.tree.read().end_cut();
            // The first error says more than one while cleaning up.
            let _ = execute(disk, &writer.abandon());
            Err(e)
        }
    }
}

/// Reads the cut on this thread, while another one writes what is read: neither waits for the other's work. False: it was
/// given up.
fn walk(
    shared: &Arc<Shared>,
    disk: &mut RealDisk,
    writer: &mut SnapshotWriter,
    header: &CutHeader,
    options: SnapshotOptions,
    awaited: &AtomicBool,
) -> Result<bool, SnapshotError> {
    execute(disk, &writer.start())?;
    let (to, pieces) = sync_channel(WAITING);
    let (give_back, back) = sync_channel(WAITING + 1);
    thread::scope(|scope| {
        let writing = thread::Builder::new()
            .name("ostler-snap-io".to_owned())
            .spawn_scoped(scope, move || write_pieces(disk, writer, &pieces, &give_back))?;
        let mut pace = Pace::new(awaited);
        let read = read_cut(shared, header, options, &mut pace, (&to, &back));
        drop(to);
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Where the writing failed, the reading has only noticed it.
        written?;
        read
    })
}

/// Writes what comes, until nothing more does or the disk fails.
fn write_pieces(
    disk: &mut RealDisk,
    writer: &mut SnapshotWriter,
    pieces: &Receiver<Vec<u8>>,
    give_back: &SyncSender<Vec<u8>>,
) -> io::Result<()> {
    yield_to_others();
    while let Ok(piece) = pieces.recv() {
        for effect in writer.chunk(piece) {
            disk.execute(&effect)?;
            if let Effect::WriteAt { bytes, .. } = effect {
                // If there are enough of them, it goes.
                let _ = give_back.try_send(bytes);
            }
        }
    }
    Ok(())
}

/// Encodes the cut. False: it was given up, or nobody takes what is read any more.
fn read_cut(
    shared: &Arc<Shared>,
    header: &CutHeader,
    options: SnapshotOptions,
    pace: &mut Pace<'_>,
    (to, back): (&SyncSender<Vec<u8>>, &Receiver<Vec<u8>>),
) -> Result<bool, SnapshotError> {
    let mut encoder = SnapshotEncoder::new();
    let mut compressor = Compressor::new(options.compression);
    let mut out = Vec::with_capacity(OUT_BYTES);
    let mut packed = Vec::new();
    let acls: Vec<_> = header.acls.iter().map(|(id, encoded)| (*id, AclVec::of_encoded(encoded))).collect();
    encoder.begin(header.sessions.iter().copied(), acls.iter().copied(), &mut out);
    let mut began = Instant::now();
    let mut found = TreeDigest::default();
    loop {
        let state = {
            let tree = shared.tree.read();
            tree.read_cut(CHUNK_BYTES, |node| {
                found = found.replace(0, node_digest(node.path, node.data, &node.stat));
                encoder.node(node.path, node.data, node.acl_id, &node.stat, &mut out);
            })
        };
        let worked = began.elapsed();
        // A request that waits for this core has waited for one step, not for a time slice, which is many.
        thread::yield_now();
        let rest = pace.rest(worked, began.elapsed().saturating_sub(worked), || Load::of(shared));
        if !rest.is_zero() {
            thread::sleep(rest);
        }
        began = Instant::now();
        match state {
            Chunk::GivenUp => return Ok(false),
            Chunk::Done => break,
            Chunk::More => {}
        }
        if out.len() >= WRITE_BYTES {
            // In whole blocks, so that they can go past the page cache.
            let next = take_whole(&mut out, back);
            let bytes = compressor.add(std::mem::replace(&mut out, next))?;
            if packed.is_empty() {
                packed = bytes;
            } else {
                packed.extend(bytes);
            }
            if packed.len() >= WRITE_BYTES {
                let next = take_whole(&mut packed, back);
                if to.send(std::mem::replace(&mut packed, next)).is_err() {
                    return Ok(false);
                }
            }
        }
    }
    if options.digest && found != header.digest {
        return Err(SnapshotError::Memory { zxid: header.zxid, found, due: header.digest });
    }
    let digest = SnapshotDigest { zxid: header.zxid, version: DIGEST_VERSION, digest: header.digest.0 };
    let last_processed = options.last_processed.then_some(header.zxid);
    encoder.finish(options.digest.then_some(digest), last_processed, &mut out);
    packed.extend(compressor.add(out)?);
    packed.extend(compressor.finish()?);
    Ok(to.send(packed).is_ok())
}

/// Cuts `bytes` to a multiple of [`WRITE_BYTES`]; the rest begins the next buffer.
fn take_whole(bytes: &mut Vec<u8>, back: &Receiver<Vec<u8>>) -> Vec<u8> {
    let whole = bytes.len() / WRITE_BYTES * WRITE_BYTES;
    let rest = &bytes[whole..];
    if rest.is_empty() {
        bytes.truncate(whole);
        return Vec::new();
    }
    let mut next = back.try_recv().unwrap_or_else(|_| Vec::with_capacity(OUT_BYTES));
    next.clear();
    next.extend_from_slice(rest);
    bytes.truncate(whole);
    next
}
