//! A server's life with its directory: write, snapshot, roll, stop, start.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use common::*;
use ostler_storage::disk::{Dir, Effect, FileRef};
use ostler_storage::log::record::{HEADER, encode};
use ostler_storage::log::writer::AppendError;
use ostler_storage::names::FileName;
use ostler_storage::recover::{Origin, RecoverOptions};
use ostler_storage::snapshot::write::SnapshotWriter;
use ostler_storage::{LogOptions, LogWriter};
use sim::VirtualDisk;
use wire::Zxid;

fn write(writer: &mut LogWriter, disk: &mut VirtualDisk, zxids: impl IntoIterator<Item = i64>) {
    for zxid in zxids {
        writer.append(Zxid(zxid), &entry(Zxid(zxid), 50, zxid as u8)).unwrap();
        drain(writer, disk);
        fill(writer, disk);
    }
}

#[test]
fn first_start_write_stop_start() {
    let mut disk = VirtualDisk::new(false);
    let (found, _) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
    assert_eq!((found.origin, found.last_zxid), (Origin::New, Zxid(0)));
    for effects in [
        SnapshotWriter::new(Zxid(0), true).start(),
        SnapshotWriter::new(Zxid(0), true).chunk(snapshot_bytes(1, true, true)),
        SnapshotWriter::new(Zxid(0), true).finish(),
    ] {
        run(&mut disk, &effects);
    }
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    fill(&mut writer, &mut disk);
    assert_eq!(disk.names(Dir::Log), ["ostler.next", "snapshot.0"], "no log before the first append");
    write(&mut writer, &mut disk, 1..=5);
    assert_eq!(disk.names(Dir::Log), ["log.1", "ostler.next", "snapshot.0"], "always one ahead");
    let effects = writer.close().unwrap();
    run(&mut disk, &effects);
    assert_eq!(disk.bytes(&FileRef::log(Zxid(1))).unwrap().len(), 16 + 5 * (entry(Zxid(1), 50, 0).len() + 13));
    let (found, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
    assert_eq!(found.warnings, Vec::<String>::new());
    assert_eq!((found.last_zxid, memory.zxids()), (Zxid(5), vec![1, 2, 3, 4, 5]));
    assert_eq!(memory.txns[3].1, entry(Zxid(4), 50, 4));
    let record = entry(Zxid(1), 50, 0).len() as u64 + 13;
    assert_eq!((found.txns_replayed, found.bytes_replayed), (5, 5 * record), "what the next snapshot waits for");
    let mut writer = LogWriter::new(LogOptions::default(), found.last_zxid);
    fill(&mut writer, &mut disk);
    write(&mut writer, &mut disk, 6..=7);
    assert_eq!(disk.names(Dir::Log), ["log.1", "log.6", "ostler.next", "snapshot.0"], "a start begins a new file");
    let (found, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
    assert_eq!((found.last_zxid, memory.zxids()), (Zxid(7), vec![1, 2, 3, 4, 5, 6, 7]));
    assert_eq!(found.warnings, Vec::<String>::new(), "zeros behind the last record are nothing to talk about");
}

#[test]
fn what_a_start_has_read_lasts_whoever_has_not_synced_it() {
    let mut disk = VirtualDisk::new(false);
    let put = |disk: &mut VirtualDisk, file: &FileRef, bytes: Vec<u8>| {
        run(disk, &[Effect::Create(file.clone()), Effect::WriteAt { file: file.clone(), offset: 0, bytes }]);
    };
    put(&mut disk, &FileRef::snapshot(Zxid(0)), snapshot_ended_at(0, 1, true, true));
    for zxid in 1..=3 {
        let mut bytes = HEADER.to_vec();
        encode(&entry(Zxid(zxid), 50, 7), &mut bytes);
        put(&mut disk, &FileRef::log(Zxid(zxid)), bytes);
    }
    run(&mut disk, &[Effect::FsyncDir(Dir::Log)]);
    for _ in 0..2 {
        let (found, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
        assert_eq!((found.last_zxid, memory.zxids()), (Zxid(3), vec![1, 2, 3]));
        disk.crash();
    }
}

const FIRST_FILL: u64 = ostler_storage::log::fill::FIRST_FILL;

fn log_of(disk: &VirtualDisk, zxid: i64) -> Option<usize> {
    disk.bytes(&FileRef::log(Zxid(zxid))).map(|bytes| bytes.len())
}

#[test]
fn the_next_file_is_made_ahead_and_taken_when_the_current_one_is_full() {
    let mut disk = VirtualDisk::new(true);
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    fill(&mut writer, &mut disk);
    assert!(writer.next_fill().is_none());
    let next = FileRef::new(Dir::Log, FileName::NextLog);
    assert_eq!(disk.bytes(&next).unwrap().len() as u64, FIRST_FILL);
    let append = |writer: &mut LogWriter, disk: &mut VirtualDisk, zxid: i64| {
        writer.append(Zxid(zxid), &entry(Zxid(zxid), 1 << 20, 1)).unwrap();
        drain(writer, disk);
    };
    append(&mut writer, &mut disk, 1);
    assert_eq!(log_of(&disk, 1), Some(FIRST_FILL as usize));
    append(&mut writer, &mut disk, 2);
    // The next one is four times as long, in small pieces, synced once.
    let job = writer.next_fill().unwrap();
    assert!(writer.next_fill().is_none(), "one at a time");
    let syncs = job.effects().iter().filter(|effect| matches!(effect, Effect::Fdatasync(_))).count();
    assert_eq!((job.effects().len(), syncs), (2 + 64 + 1, 1));
    append(&mut writer, &mut disk, 3);
    append(&mut writer, &mut disk, 4);
    assert!(log_of(&disk, 1).unwrap() as u64 > FIRST_FILL, "it is full, and grows as long as there is no other");
    run(&mut disk, job.effects());
    writer.fill_done(job);
    append(&mut writer, &mut disk, 5);
    assert_eq!(log_of(&disk, 5), Some(4 * FIRST_FILL as usize));
    assert_eq!(disk.names(Dir::Log), ["log.1", "log.5"]);
    assert_eq!(writer.current_file().unwrap().0, &FileRef::log(Zxid(5)));
}

#[test]
fn a_roll_gives_back_what_the_old_file_does_not_need() {
    let mut disk = VirtualDisk::new(false);
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    writer.roll();
    fill(&mut writer, &mut disk);
    for zxid in 1..=2 {
        writer.append(Zxid(zxid), &entry(Zxid(zxid), 50, zxid as u8)).unwrap();
        drain(&mut writer, &mut disk);
    }
    writer.roll();
    // The next file is not there yet; rather than go on without one, the old one is used a little longer.
    let job = writer.next_fill().unwrap();
    write(&mut writer, &mut disk, 3..=3);
    assert_eq!(log_of(&disk, 3), None);
    run(&mut disk, job.effects());
    writer.fill_done(job);
    write(&mut writer, &mut disk, 4..=4);
    assert_eq!(log_of(&disk, 1), Some(16 + 3 * (entry(Zxid(1), 50, 0).len() + 13)));
    assert_eq!(log_of(&disk, 4), Some(4 * FIRST_FILL as usize));
    let effects = writer.close().unwrap();
    run(&mut disk, &effects);
    assert_eq!(disk.names(Dir::Log), ["log.1", "log.4"]);
    assert_eq!(writer.append(Zxid(5), &entry(Zxid(5), 1, 1)), Err(AppendError::Stopped));
    let trust = RecoverOptions { trust_empty: true, ..RecoverOptions::default() };
    assert_eq!(recovered(&mut disk, &trust).unwrap().1.zxids(), [1, 2, 3, 4]);
}

#[test]
fn a_file_after_one_of_which_little_was_needed_is_small() {
    let mut disk = VirtualDisk::new(false);
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    let mut zxid = 0;
    let mut roll_after = |writer: &mut LogWriter, disk: &mut VirtualDisk, mebibytes: i64| {
        writer.roll();
        for _ in 0..mebibytes {
            fill(writer, disk);
            zxid += 1;
            writer.append(Zxid(zxid), &entry(Zxid(zxid), 1 << 20, 1)).unwrap();
            drain(writer, disk);
        }
        fill(writer, disk);
    };
    let next = FileRef::new(Dir::Log, FileName::NextLog);
    let mut sizes = Vec::new();
    for mebibytes in [30, 1, 1, 1, 5, 1] {
        roll_after(&mut writer, &mut disk, mebibytes);
        sizes.push(disk.bytes(&next).unwrap().len() as u64 / FIRST_FILL);
    }
    // While files are full, the next is four times as long, up to 64 MiB. A roll leaves one of 12 MiB, takes the 64 MiB that
    // are ready, and has 32 MiB made; and so on. The fifth fills the 4 MiB it takes, which is a reason to grow.
    assert_eq!(sizes, [16, 8, 1, 1, 4, 2]);
}

#[test]
fn without_preallocation_files_grow() {
    let mut disk = VirtualDisk::new(false);
    let options = LogOptions { preallocate: 0, size_limit: 300, ..LogOptions::default() };
    let mut writer = LogWriter::new(options, Zxid(0));
    assert!(writer.next_fill().is_none());
    write(&mut writer, &mut disk, 1..=4);
    assert_eq!(disk.names(Dir::Log), ["log.1", "log.4"], "left when it holds more than the limit");
    writer.roll();
    write(&mut writer, &mut disk, 5..=5);
    assert_eq!(disk.names(Dir::Log), ["log.1", "log.4", "log.5"]);
    assert_eq!(writer.close().unwrap(), []);
}

#[test]
fn a_disk_without_room_for_the_next_file_costs_speed_only() {
    let mut disk = VirtualDisk::new(false);
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    let job = writer.next_fill().unwrap();
    run(&mut disk, &job.effects()[..3]);
    writer.fill_failed(job);
    writer.append(Zxid(1), &entry(Zxid(1), 50, 1)).unwrap();
    drain(&mut writer, &mut disk);
    assert_eq!(disk.names(Dir::Log), ["log.1", "ostler.next"]);
    // The room that it has taken is given back.
    let job = writer.next_fill().unwrap();
    run(&mut disk, job.effects());
    writer.fill_done(job);
    assert_eq!(disk.names(Dir::Log), ["log.1"]);
    write(&mut writer, &mut disk, 2..=3);
    assert!(log_of(&disk, 1).unwrap() < 1000);
    assert!(writer.next_fill().is_none());
    let effects = writer.close().unwrap();
    run(&mut disk, &effects);
    assert_eq!(disk.names(Dir::Log), ["log.1"]);
}

#[test]
fn batches_are_capped_and_one_is_out_at_a_time() {
    let options = LogOptions { batch_bytes: 400, batch_txns: 3, ..LogOptions::default() };
    let mut writer = LogWriter::new(options, Zxid(0));
    for zxid in 1..=4 {
        writer.append(Zxid(zxid), &entry(Zxid(zxid), 0, 0)).unwrap();
    }
    writer.append(Zxid(5), &entry(Zxid(5), 1000, 0)).unwrap();
    let mut taken = Vec::new();
    while let Some(job) = writer.next_job() {
        assert!(writer.is_busy() && writer.next_job().is_none() && writer.close().is_none());
        taken.push((job.txns(), job.last().0));
        assert_eq!(writer.job_done(job), writer.durable());
    }
    assert_eq!(taken, [(3, 3), (1, 4), (1, 5)]);
    assert_eq!((writer.pending_bytes(), writer.pending_txns(), writer.appended()), (0, 0, Zxid(5)));
}

#[test]
fn what_does_not_follow_is_refused() {
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0x1_0000_0005));
    let mut append = |zxid: i64| writer.append(Zxid(zxid), &entry(Zxid(zxid), 1, 1));
    for zxid in [0x1_0000_0005, 0x1_0000_0007, 0x0_0000_0006] {
        assert!(matches!(append(zxid), Err(AppendError::OutOfOrder { .. })), "{zxid:x}");
    }
    assert_eq!((append(0x1_0000_0006), append(0x2_0000_0001)), (Ok(()), Ok(())));
    let bad = writer.append(Zxid(0x2_0000_0002), &entry(Zxid(3), 1, 1));
    assert!(matches!(bad, Err(AppendError::BadEntry { .. })));
    assert_eq!(writer.pending_txns(), 2);
    let job = writer.next_job().unwrap();
    writer.job_failed(job);
    assert!(writer.has_failed() && writer.next_job().is_none() && writer.next_fill().is_none());
    assert_eq!((writer.durable(), writer.close()), (Zxid(0x1_0000_0005), None));
    assert!(writer.append(Zxid(0x2_0000_0002), &entry(Zxid(0x2_0000_0002), 1, 1)).is_err());
}

#[test]
fn a_gap_that_a_snapshot_covers_lies_between_files() {
    let mut disk = VirtualDisk::new(false);
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    fill(&mut writer, &mut disk);
    write(&mut writer, &mut disk, 1..=2);
    disk.put(&FileRef::snapshot(Zxid(9)), &snapshot_bytes(2, true, true));
    run(&mut disk, &writer.close().unwrap());
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(9));
    write(&mut writer, &mut disk, 10..=11);
    assert!(log_of(&disk, 10).is_some());
    let (found, memory) = recovered(&mut disk, &RecoverOptions::default()).unwrap();
    assert_eq!((found.last_zxid, memory.zxids()), (Zxid(11), vec![10, 11]));
}

#[test]
fn steady_state_needs_no_allocation() {
    let mut writer = LogWriter::new(LogOptions { preallocate: 0, ..LogOptions::default() }, Zxid(0));
    let mut pointers = Vec::new();
    for zxid in 1..=20 {
        writer.append(Zxid(zxid), &entry(Zxid(zxid), 500, 1)).unwrap();
        let job = writer.next_job().unwrap();
        if let Some(Effect::WriteAt { bytes, .. }) = job.effects().iter().rev().nth(1) {
            pointers.push(bytes.as_ptr());
        }
        writer.job_done(job);
    }
    assert_eq!(pointers.len(), 20);
    assert!(pointers.windows(2).all(|two| two[0] == two[1]));
}

#[test]
fn without_force_sync_nothing_is_synced() {
    let mut disk = VirtualDisk::new(false);
    let options = LogOptions { preallocate: 3000, force_sync: false, ..LogOptions::default() };
    let mut writer = LogWriter::new(options, Zxid(0));
    let mut effects = Vec::new();
    for zxid in 1..=20 {
        while let Some(job) = writer.next_fill() {
            effects.extend(job.effects().to_vec());
            run(&mut disk, job.effects());
            writer.fill_done(job);
        }
        writer.append(Zxid(zxid), &entry(Zxid(zxid), 600, 1)).unwrap();
        let job = writer.next_job().unwrap();
        effects.extend(job.effects().to_vec());
        run(&mut disk, job.effects());
        writer.job_done(job);
    }
    let is_sync = |e: &Effect| matches!(e, Effect::Fdatasync(_) | Effect::Fsync(_) | Effect::FsyncDir(_));
    assert!(effects.len() > 40 && !effects.iter().any(is_sync));
}
