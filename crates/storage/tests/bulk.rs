//! Large batches get a next file that is allocated, small ones one that is zero-filled.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use common::*;
use ostler_storage::disk::{Dir, Effect};
use ostler_storage::log::fill::FillJob;
use ostler_storage::recover::RecoverOptions;
use ostler_storage::{Bulk, LogOptions, LogWriter};
use sim::VirtualDisk;
use wire::Zxid;

const LARGE: usize = 2000;
const SIZE: u64 = 64 << 10;

fn log(bulk_bytes: u64) -> LogWriter {
    let bulk = Bulk { bytes: bulk_bytes, batches: 4 };
    LogWriter::new(LogOptions { preallocate: SIZE, bulk, ..LogOptions::default() }, Zxid(0))
}

fn put(writer: &mut LogWriter, disk: &mut VirtualDisk, length: usize) {
    let zxid = writer.appended().next();
    writer.append(zxid, &entry(zxid, length, 1)).unwrap();
    drain(writer, disk);
}

/// Appends until there is something to make, but not for ever.
fn until_asked(writer: &mut LogWriter, disk: &mut VirtualDisk, length: usize) -> FillJob {
    for _ in 0..10_000 {
        put(writer, disk, length);
        if let Some(job) = writer.next_fill() {
            return job;
        }
    }
    panic!("no other file is asked for");
}

fn written(job: &FillJob) -> u64 {
    let bytes = |effect: &Effect| match effect {
        Effect::ZeroFill { from, to, .. } => to - from,
        _ => 0,
    };
    job.effects().iter().map(bytes).sum()
}

fn allocated(job: &FillJob) -> u64 {
    let bytes = |effect: &Effect| match effect {
        Effect::Allocate { from, to, .. } => to - from,
        _ => 0,
    };
    job.effects().iter().map(bytes).sum()
}

fn done(writer: &mut LogWriter, disk: &mut VirtualDisk, job: FillJob) {
    run(disk, job.effects());
    writer.fill_done(job);
}

#[test]
fn while_large_batches_come_no_zeros_are_written() {
    let (mut disk, mut writer) = (VirtualDisk::new(false), log(1000));
    fill(&mut writer, &mut disk);
    let job = until_asked(&mut writer, &mut disk, LARGE);
    assert!(written(&job) > 0, "nothing was known of the load yet");
    done(&mut writer, &mut disk, job);
    for _ in 0..3 {
        let job = until_asked(&mut writer, &mut disk, LARGE);
        assert_eq!((written(&job), allocated(&job) > 0), (0, true));
        assert!(matches!(job.effects().last(), Some(Effect::Fdatasync(_))), "its length and header are durable first");
        done(&mut writer, &mut disk, job);
    }
}

#[test]
fn a_load_that_becomes_small_gets_a_filled_file_at_once() {
    let (mut disk, mut writer) = (VirtualDisk::new(false), log(1000));
    fill(&mut writer, &mut disk);
    for _ in 0..3 {
        let job = until_asked(&mut writer, &mut disk, LARGE);
        done(&mut writer, &mut disk, job);
    }
    let busy = writer.current_file().unwrap().0.clone();
    // One small batch among large ones changes nothing.
    put(&mut writer, &mut disk, 10);
    assert!(writer.next_fill().is_none());
    let job = until_asked(&mut writer, &mut disk, 10);
    assert_eq!((allocated(&job), job.size()), (0, SIZE));
    assert_eq!(writer.current_file().unwrap().0, &busy, "until then nothing changes");
    done(&mut writer, &mut disk, job);
    put(&mut writer, &mut disk, 10);
    let (file, _) = writer.current_file().unwrap();
    assert_ne!(file, &busy);
    assert_eq!(disk.bytes(file).unwrap().len() as u64, SIZE);
    assert_eq!(disk.names(Dir::Log).iter().filter(|name| *name == "ostler.next").count(), 0);
    // What was left is cut behind its last record, and all of it is read again.
    fill(&mut writer, &mut disk);
    let last = writer.appended();
    let trust = RecoverOptions { trust_empty: true, ..RecoverOptions::default() };
    let (found, memory) = recovered(&mut disk, &trust).unwrap();
    assert_eq!((found.last_zxid, memory.zxids().len() as i64), (last, last.0));
}

#[test]
fn where_it_is_not_wanted_every_file_is_zero_filled() {
    let (mut disk, mut writer) = (VirtualDisk::new(false), log(0));
    fill(&mut writer, &mut disk);
    for _ in 0..3 {
        let job = until_asked(&mut writer, &mut disk, LARGE);
        assert_eq!((allocated(&job), written(&job) > 0), (0, true));
        done(&mut writer, &mut disk, job);
    }
}
