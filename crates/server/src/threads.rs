//! The threads that do disk IO: one for the log, one that fills the next log file, one for snapshots and the purge.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use peer::Shared;
use storage::disk::is_no_room;
use storage::snapshot::SnapshotDigest;
use storage::snapshot::encode::SnapshotEncoder;
use storage::snapshot::stream::{Compression, Compressor};
use storage::snapshot::write::SnapshotWriter;
use storage::{Disk, Effect, LogJob, Stopped};
use tree::cut::{Chunk, CutHeader};
use wire::AclVec;
use wire::txn::DIGEST_VERSION;

use crate::core::{Core, GroupCommit};
use crate::disk::RealDisk;

/// How the log thread behaves.
#[derive(Debug, Clone, Copy)]
pub struct LogThread {
    /// `fsync.warningthresholdms`.
    pub warn_after: Duration,
    /// How long writes wait for others.
    pub group: GroupCommit,
}

/// Executes effects, in order, up to the first that fails.
pub fn execute(disk: &mut RealDisk, effects: &[Effect]) -> io::Result<()> {
    effects.iter().try_for_each(|effect| disk.execute(effect))
}

/// Writes the log until the server stops. An error is final: it is returned, and nothing is called durable any more.
pub fn run_log(core: &Core, mut disk: RealDisk, how: LogThread) -> io::Result<()> {
    core.disk_watch.warn_after(how.warn_after);
    let mut next = core.next_job(how.group);
    while let Some(mut job) = next {
        let began_us = core.clock.now().mono_us;
        let took = write_batch(core, &mut disk, &mut job);
        core.disk_watch.ends();
        let took = match took {
            Ok(took) => took,
            Err(e) => {
                core.job_failed(job);
                return Err(e);
            }
        };
        if took > how.warn_after {
            tracing::warn!(
                "fsync-ing the write ahead log in SyncThread:0 took {}ms, and {} txns ({} bytes) waited for it: is the disk shared or dying?",
                took.as_millis(),
                job.txns(),
                job.bytes()
            );
        }
        let ended_us = core.clock.now().mono_us;
        next = core.job_done(job, began_us, ended_us, how.group).or_else(|| {
            // A small batch pays a whole sync, and wakes as many threads as a large one. Whoever waits for this core has
            // more txns, most likely: they go first. Where a core is free, nobody waits and nothing is lost. With `flushDelay`
            // it is that which makes batches.
            if how.group.delay.is_zero() {
                std::thread::yield_now();
            }
            core.next_job(how.group)
        });
    }
    Ok(())
}

/// Writes a batch, waiting for room if the disk is full. Returns how long it took from when there was room.
fn write_batch(core: &Core, disk: &mut RealDisk, job: &mut LogJob) -> io::Result<Duration> {
    let mut wait = ROOM_WAIT_FIRST;
    loop {
        let began = Instant::now();
        core.disk_watch.begins(core.clock.now().mono_us, job.txns());
        let failed = job.effects().iter().enumerate().find_map(|(done, effect)| {
            core.disk_watch.is_at(effect);
            disk.execute(effect).err().map(|e| (done, e))
        });
        let Some((done, error)) = failed else { return Ok(began.elapsed()) };
        core.disk_watch.ends();
        if core.job_stopped(job, done, error.kind()) == Stopped::Ends {
            return Err(error);
        }
        let until = Instant::now() + wait;
        while Instant::now() < until {
            if core.is_stopping() {
                return Err(io::Error::new(
                    error.kind(),
                    format!("{error}; the server stops, and {} txns that nobody was told of are left out", job.txns()),
                ));
            }
            std::thread::sleep(ROOM_WAIT_FIRST);
        }
        wait = (2 * wait).min(ROOM_WAIT_MAX);
    }
}

/// How long a batch waits for room before it is tried again, at first.
const ROOM_WAIT_FIRST: Duration = Duration::from_millis(20);
/// And at most.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(1);

/// Between two pieces of a fill, so that the disk has time for the log.
const FILL_PAUSE: Duration = Duration::from_micros(500);

/// A thread whose work can wait has no claim to a core that a request needs.
fn yield_to_others() {
    if let Err(e) = rustix::process::nice(10) {
        tracing::debug!("a background thread keeps its priority: {e}");
    }
}

/// Fills the next log file with zeros, whenever there is one to fill.
pub fn run_fill(core: &Core, mut disk: RealDisk) {
    yield_to_others();
    while let Some(job) = core.next_fill() {
        let done = job.effects().iter().try_for_each(|effect| {
            if matches!(effect, Effect::ZeroFill { .. }) {
                std::thread::sleep(FILL_PAUSE);
            }
            disk.execute(effect)
        });
        match &done {
            Err(e) if is_no_room(e.kind()) => {
                tracing::debug!("there is no room for a next log file of {} bytes: {e}", job.size());
            }
            Err(e) => tracing::warn!("the next log file can't be prepared, writes will be slower: {e}"),
            Ok(()) => {}
        }
        core.fill_ended(job, done);
    }
}

/// About how many bytes of znodes are read under one guard: some tens of µs.
const CHUNK_BYTES: usize = 24 * 1024;
/// How many bytes go to the disk at once.
const WRITE_BYTES: usize = 1 << 20;

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

/// Writes snapshots until the server stops.
pub fn run_snapshots(core: &Core, mut disk: RealDisk, options: SnapshotOptions) {
    yield_to_others();
    while let Some(header) = core.next_snapshot() {
        let (zxid, nodes, began) = (header.zxid, header.node_count, Instant::now());
        let done = write_snapshot(&core.shared, &mut disk, header, options);
        let written = done.as_ref().ok().copied().flatten();
        match done {
            Ok(Some(bytes)) => {
                tracing::info!("snapshot.{:x}: {nodes} znodes, {bytes} bytes, {:?}", zxid.0, began.elapsed());
            }
            Ok(None) => tracing::warn!(
                "the snapshot at {zxid} was given up: more was changed meanwhile than is kept for it; it will be tried later"
            ),
            Err(e) => tracing::error!("the snapshot at {zxid} failed, the log keeps everything: {e}"),
        }
        core.snapshot_done(written, began.elapsed());
    }
}

/// Writes the cut that is under way; `None` if it was given up. Returns its length in bytes.
pub fn write_snapshot(
    shared: &Arc<Shared>,
    disk: &mut RealDisk,
    header: CutHeader,
    options: SnapshotOptions,
) -> io::Result<Option<u64>> {
    let mut writer = SnapshotWriter::compressed(header.zxid, options.compression, options.force_sync);
    match walk(shared, disk, &mut writer, &header, options) {
        Ok(true) => {
            let bytes = writer.bytes();
            execute(disk, &writer.clone().finish()).inspect_err(|_| {
                // As below.
                let _ = execute(disk, &writer.abandon());
            })?;
            Ok(Some(bytes))
        }
        Ok(false) => execute(disk, &writer.abandon()).map(|()| None),
        Err(e) => {
            shared.tree.read().end_cut();
            // The first error says more than one while cleaning up.
            let _ = execute(disk, &writer.abandon());
            Err(e)
        }
    }
}

fn walk(
    shared: &Arc<Shared>,
    disk: &mut RealDisk,
    writer: &mut SnapshotWriter,
    header: &CutHeader,
    options: SnapshotOptions,
) -> io::Result<bool> {
    execute(disk, &writer.start())?;
    let mut encoder = SnapshotEncoder::new();
    let mut compressor = Compressor::new(options.compression);
    let mut out = Vec::with_capacity(WRITE_BYTES + WRITE_BYTES / 4);
    let acls: Vec<_> = header.acls.iter().map(|(id, encoded)| (*id, AclVec::of_encoded(encoded))).collect();
    encoder.begin(header.sessions.iter().copied(), acls.iter().copied(), &mut out);
    loop {
        let state = {
            let tree = shared.tree.read();
            tree.read_cut(CHUNK_BYTES, |node| {
                encoder.node(node.path, node.data, node.acl_id, &node.stat, &mut out);
            })
        };
        match state {
            Chunk::GivenUp => return Ok(false),
            Chunk::Done => break,
            Chunk::More => {}
        }
        if out.len() >= WRITE_BYTES {
            let bytes = compressor.add(std::mem::take(&mut out))?;
            if !bytes.is_empty() {
                execute(disk, &writer.chunk(bytes))?;
            }
            out.reserve(WRITE_BYTES + WRITE_BYTES / 4);
        }
    }
    let digest = SnapshotDigest { zxid: header.zxid, version: DIGEST_VERSION, digest: header.digest.0 };
    let last_processed = options.last_processed.then_some(header.zxid);
    encoder.finish(options.digest.then_some(digest), last_processed, &mut out);
    let mut bytes = compressor.add(out)?;
    bytes.extend(compressor.finish()?);
    execute(disk, &writer.chunk(bytes))?;
    Ok(true)
}

/// Removes old files at the start and then at each interval, until the server stops. `length_max` is the longest string or
/// buffer of a snapshot, in bytes.
pub fn run_purge(core: &Core, mut disk: RealDisk, retain: usize, length_max: usize, interval: Duration) {
    yield_to_others();
    let mut next = Instant::now();
    while !core.is_stopping() {
        if Instant::now() >= next {
            next += interval;
            let done = storage::purge::plan(&disk, retain, length_max).and_then(|files| {
                for file in &files {
                    disk.execute(&Effect::Remove(file.clone()))?;
                }
                Ok(files.len())
            });
            match done {
                Ok(0) => {}
                Ok(files) => tracing::info!("purged {files} old files"),
                Err(e) => tracing::warn!("old files can't be purged: {e}"),
            }
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
