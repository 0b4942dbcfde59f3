//! A disk that becomes full, and has room again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use std::io;

use common::*;
use ostler_storage::disk::{Dir, Disk, Effect, FileRef, is_no_room};
use ostler_storage::log::fill::{Bulk, FIRST_FILL, FillJob};
use ostler_storage::log::room::{LEAST_FILL, LOOK_AGAIN_MS, RESERVE_MAX};
use ostler_storage::log::writer::LogJob;
use ostler_storage::names::FileName;
use ostler_storage::recover::RecoverOptions;
use ostler_storage::{LogOptions, LogWriter, Room, Stopped};
use proptest::prelude::*;
use sim::{Rng, VirtualDisk};
use wire::Zxid;

/// A disk with so many bytes for its log files.
struct Full {
    disk: VirtualDisk,
    capacity: u64,
    /// Zeros that were allocated are kept, as most file systems do it.
    keeps: bool,
}

impl Full {
    fn new(capacity: u64) -> Self {
        Self { disk: VirtualDisk::new(false), capacity, keeps: true }
    }

    fn used(&self) -> u64 {
        self.disk.list(Dir::Log).unwrap().iter().map(|entry| entry.length).sum()
    }

    /// As a file system does it: what fits is written, and then there is an error.
    fn execute(&mut self, effect: &Effect) -> io::Result<()> {
        let (file, from, to) = match effect {
            Effect::WriteAt { file, offset, bytes } => (file, *offset, offset + bytes.len() as u64),
            Effect::ZeroFill { file, from, to } | Effect::Allocate { file, from, to } => (file, *from, *to),
            _ => return self.disk.execute(effect),
        };
        let length = self.disk.length(file).unwrap_or(0);
        let free = self.capacity.saturating_sub(self.used());
        let fits = if self.keeps { length.max(from) + free } else { from + free };
        if to <= fits {
            return self.disk.execute(effect);
        }
        if let Effect::WriteAt { file, offset, bytes } = effect {
            let bytes = bytes[..fits.saturating_sub(*offset) as usize].to_vec();
            self.disk.execute(&Effect::WriteAt { file: file.clone(), offset: *offset, bytes }).unwrap();
        } else {
            self.disk.execute(&Effect::ZeroFill { file: file.clone(), from, to: fits.max(from) }).unwrap();
        }
        Err(io::ErrorKind::StorageFull.into())
    }

    fn fill(&mut self, writer: &mut LogWriter) {
        while let Some(job) = writer.next_fill() {
            match job.effects().iter().try_for_each(|effect| self.execute(effect)) {
                Ok(()) => writer.fill_done(job),
                Err(e) if is_no_room(e.kind()) => writer.fill_found_no_room(job),
                Err(_) => writer.fill_failed(job),
            }
        }
    }

    /// Writes what is pending; a job that has to wait is given back.
    fn drain(&mut self, writer: &mut LogWriter) -> Option<LogJob> {
        while let Some(mut job) = writer.next_job() {
            if !self.go_on(writer, &mut job) {
                return Some(job);
            }
            writer.job_done(job);
            self.fill(writer);
        }
        None
    }

    fn go_on(&mut self, writer: &mut LogWriter, job: &mut LogJob) -> bool {
        for (done, effect) in job.effects().to_vec().iter().enumerate() {
            if let Err(e) = self.execute(effect) {
                assert_eq!(writer.job_stopped(job, done, e.kind()), Stopped::Waits);
                return false;
            }
        }
        true
    }
}

fn put(writer: &mut LogWriter, zxid: i64, length: usize) -> u64 {
    let entry = entry(Zxid(zxid), length, zxid as u8);
    writer.append(Zxid(zxid), &entry).unwrap();
    (entry.len() + 13) as u64
}

fn full(writer: &mut LogWriter, disk: &mut Full) -> i64 {
    let mut zxid = writer.appended().0;
    while writer.room().is_none() {
        zxid += 1;
        put(writer, zxid, 100_000);
        assert_eq!(disk.drain(writer), None, "txn {zxid} found no room");
    }
    zxid
}

#[test]
fn a_disk_that_fills_up_is_noticed_while_there_is_room() {
    let mut disk = Full::new(100 << 20);
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    disk.fill(&mut writer);
    let last = full(&mut writer, &mut disk);
    // 4, 16 and 64 MiB; 16 are left: for a 16 MiB file, and then for none of more than the bytes of the old ones' ends.
    let room = writer.room().unwrap();
    assert_eq!((room.reserve, room.is_stuck), (RESERVE_MAX, false));
    assert!(room.bytes > 15 << 20, "{room:?} after txn {last}");
    assert!(disk.used() > 99 << 20, "{} bytes are used", disk.used());
}

#[test]
fn what_is_said_to_fit_fits_to_the_last_byte() {
    let mut disk = Full::new(5 << 20);
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    disk.fill(&mut writer);
    let mut zxid = full(&mut writer, &mut disk);
    writer.roll();
    loop {
        let room = writer.room().unwrap();
        let length = [70_000, 3000, 0]
            .into_iter()
            .find(|length| (entry(Zxid(zxid + 1), *length, 0).len() + 13) as u64 <= room.bytes);
        let Some(length) = length else { break };
        zxid += 1;
        let took = put(&mut writer, zxid, length);
        // What is queued counts as well as what is written.
        assert!(writer.room().unwrap().bytes <= room.bytes - took);
        if zxid % 3 == 0 {
            assert_eq!(disk.drain(&mut writer), None);
        }
    }
    assert_eq!(disk.drain(&mut writer), None);
    assert!(writer.room().unwrap().bytes < 100 && disk.used() > (5 << 20) - LEAST_FILL);

    // Room again: noticed when it is looked for, and everything goes on.
    let mut now_ms = 5;
    let look = |writer: &mut LogWriter, disk: &mut Full, now_ms: i64| {
        let looked = writer.look_for_room(now_ms);
        disk.fill(writer);
        looked
    };
    assert!(!look(&mut writer, &mut disk, now_ms), "not at once");
    let mut looks = Vec::new();
    while looks.len() < 8 {
        now_ms += 10;
        if look(&mut writer, &mut disk, now_ms) {
            looks.push(now_ms);
        }
    }
    let pauses: Vec<i64> = looks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses[..4], [200, 400, 800, 1600], "less and less often");
    assert_eq!(pauses.last(), Some(&LOOK_AGAIN_MS.1));
    let next = FileRef::new(Dir::Log, FileName::NextLog);
    assert!(disk.disk.bytes(&next).is_none(), "each try gives its room back");
    disk.capacity += 5 << 20;
    while writer.room().is_some() {
        now_ms += 10;
        look(&mut writer, &mut disk, now_ms);
    }
    for _ in 0..10 {
        zxid += 1;
        put(&mut writer, zxid, 1000);
        assert_eq!(disk.drain(&mut writer), None);
    }
    disk.disk.crash();
    let trust = RecoverOptions { trust_empty: true, ..RecoverOptions::default() };
    let (found, memory) = recovered(&mut disk.disk, &trust).unwrap();
    assert_eq!(told(&found), Vec::<String>::new());
    assert_eq!(memory.zxids(), (1..=zxid).collect::<Vec<_>>());
}

#[test]
fn a_batch_that_finds_no_room_waits_and_goes_on() {
    // Nothing is preallocated, so nothing says beforehand that it is full.
    let options = LogOptions { preallocate: 0, ..LogOptions::default() };
    let mut disk = Full::new(1000);
    let mut writer = LogWriter::new(options, Zxid(0));
    put(&mut writer, 1, 500);
    assert_eq!(disk.drain(&mut writer), None);
    put(&mut writer, 2, 800);
    let mut job = disk.drain(&mut writer).unwrap();
    assert_eq!(writer.room(), Some(Room { bytes: 0, reserve: 0, is_stuck: true }));
    assert_eq!((writer.durable(), writer.has_failed()), (Zxid(1), false));
    assert!(!disk.go_on(&mut writer, &mut job), "still full");
    // Killed now: what was not acknowledged may be gone, what was is there.
    let mut killed = disk.disk.clone();
    killed.crash_torn(&mut || true);
    let trust = RecoverOptions { trust_empty: true, ..RecoverOptions::default() };
    assert_eq!(recovered(&mut killed, &trust).unwrap().1.zxids(), [1]);
    disk.capacity = 10_000;
    assert!(disk.go_on(&mut writer, &mut job));
    assert_eq!(writer.job_done(job), Zxid(2));
    assert_eq!(writer.room(), None);
    put(&mut writer, 3, 100);
    assert_eq!(disk.drain(&mut writer), None);
    disk.disk.crash();
    assert_eq!(recovered(&mut disk.disk, &trust).unwrap().1.zxids(), [1, 2, 3]);
}

#[test]
fn the_next_file_makes_way_for_a_batch_that_waits() {
    // A fill that is slow, so that the batches outrun it; it ends before the one that waits is told of, or behind that,
    // and well or not.
    for (capacity, ends_first) in [(8 << 20, true), (8 << 20, false), (7 << 20, true), (7 << 20, false)] {
        let case = format!("{capacity} bytes, ends first: {ends_first}");
        let mut disk = Full::new(capacity);
        let options =
            LogOptions { preallocate: FIRST_FILL, bulk: Bulk { bytes: 0, batches: 0 }, ..LogOptions::default() };
        let mut writer = LogWriter::new(options, Zxid(0));
        disk.fill(&mut writer);
        put(&mut writer, 1, 1000);
        let job = writer.next_job().unwrap();
        job.effects().iter().for_each(|effect| disk.execute(effect).unwrap());
        writer.job_done(job);
        let fill = writer.next_fill().unwrap();
        let done = fill.effects().iter().try_for_each(|effect| disk.execute(effect));
        // Behind what was filled for the current file, with the next one in the way.
        let mut zxid = 1;
        let mut stuck = loop {
            zxid += 1;
            put(&mut writer, zxid, 100_000);
            let mut job = writer.next_job().unwrap();
            let failed =
                job.effects().iter().enumerate().find_map(|(at, it)| Some((at, disk.execute(it).err()?.kind())));
            let Some((at, kind)) = failed else {
                writer.job_done(job);
                continue;
            };
            if ends_first {
                end_fill(&mut writer, fill.clone(), &done);
            }
            assert_eq!(writer.job_stopped(&mut job, at, kind), Stopped::Waits, "{case}");
            break job;
        };
        if !ends_first {
            assert_eq!(writer.next_fill(), None, "{case}: one is out");
            end_fill(&mut writer, fill, &done);
        }
        disk.fill(&mut writer);
        assert!(!writer.look_for_room(i64::MAX / 2) && writer.next_fill().is_none(), "{case}");
        assert!(disk.go_on(&mut writer, &mut stuck), "{case}: the room of the next file is free, {} used", disk.used());
        assert_eq!(writer.job_done(stuck), Zxid(zxid), "{case}");
        // And it is still known that there is little.
        disk.fill(&mut writer);
        assert!(writer.room().is_some_and(|room| !room.is_stuck), "{case}: {:?}", writer.room());
        disk.capacity = 100 << 20;
        for now_ms in [0, LOOK_AGAIN_MS.0] {
            writer.look_for_room(now_ms);
            disk.fill(&mut writer);
        }
        assert_eq!(writer.room(), None, "{case}");
    }
}

#[test]
fn a_batch_written_in_parts_is_no_damage_whenever_the_power_fails() {
    let trust = RecoverOptions { trust_empty: true, ..RecoverOptions::default() };
    // The room ends in the middle of a sector of the second txn, twice; the third is whole in sectors of its own.
    for preallocate in [0, 600, 2048] {
        let options = LogOptions { preallocate, ..LogOptions::default() };
        let mut disk = Full::new(1000 + preallocate);
        let mut writer = LogWriter::new(options, Zxid(0));
        disk.fill(&mut writer);
        put(&mut writer, 1, 500);
        assert_eq!(disk.drain(&mut writer), None);
        put(&mut writer, 2, 3000);
        put(&mut writer, 3, 1000);
        let mut states = 0;
        let mut check = |disk: &Full, durable: Zxid| {
            let mut rng = Rng::new(1);
            let covered = disk.disk.for_each_crash(&mut rng, &mut |mut left| {
                states += 1;
                let (found, memory) = recovered(&mut left, &trust).map_err(|error| error.to_string())?;
                let last = memory.zxids().len() as i64;
                let is_right = !found.is_suspect && (durable.0..=3).contains(&last);
                if is_right { Ok(()) } else { Err(format!("{last} txns are there, {:?}", found.warnings)) }
            });
            covered.map(|_| ()).unwrap();
        };
        let Some(mut job) = disk.drain(&mut writer) else { panic!("{preallocate}: it must find no room") };
        check(&disk, writer.durable());
        for more in [700, 60, 10_000] {
            disk.capacity += more;
            let mut stopped = None;
            for (done, effect) in job.effects().to_vec().iter().enumerate() {
                // It may end in the middle, with another error.
                if let Effect::WriteAt { file, offset, bytes } = effect {
                    let mut ended = Full { disk: disk.disk.clone(), ..disk };
                    let bytes = bytes[..bytes.len() / 3].to_vec();
                    let part = Effect::WriteAt { file: file.clone(), offset: *offset, bytes };
                    let _ = ended.execute(&part);
                    check(&ended, writer.durable());
                }
                stopped = disk.execute(effect).err().map(|error| (done, error.kind()));
                check(&disk, writer.durable());
                if stopped.is_some() {
                    break;
                }
            }
            let Some((done, kind)) = stopped else { break };
            assert_eq!(writer.job_stopped(&mut job, done, kind), Stopped::Waits);
        }
        assert_eq!(writer.job_done(job), Zxid(3));
        check(&disk, Zxid(3));
        assert!(states > 100, "{states} states");
    }
}

#[test]
fn what_was_said_to_fit_fits_also_when_no_next_file_is_made_any_more() {
    let mut disk = Full::new(5 << 20);
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    disk.fill(&mut writer);
    let zxid = full(&mut writer, &mut disk);
    // A snapshot asks for a new file, and there is room for none.
    writer.roll();
    let room = writer.room().unwrap();
    assert!(room.bytes > 1000, "{room:?}");
    put(&mut writer, zxid + 1, 500);
    let mut now_ms = 0;
    while !writer.look_for_room(now_ms) {
        now_ms += 10;
    }
    let job = writer.next_fill().unwrap();
    writer.fill_failed(job);
    disk.fill(&mut writer);
    disk.capacity = 0;
    assert_eq!(disk.drain(&mut writer), None, "it was promised room");
    assert_eq!(writer.durable(), Zxid(zxid + 1));
}

#[test]
fn a_small_next_file_that_was_promised_makes_way_for_no_larger_one() {
    let mut disk = Full::new((4 << 20) + LEAST_FILL + 10_000);
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    disk.fill(&mut writer);
    let mut zxid = full(&mut writer, &mut disk);
    let current = |writer: &LogWriter| writer.current_file().map(|(file, end)| (file.clone(), end)).unwrap();
    while FIRST_FILL - current(&writer).1 > 150_000 {
        zxid += 1;
        put(&mut writer, zxid, 100_000);
        assert_eq!(disk.drain(&mut writer), None);
    }
    let (file, _) = current(&writer);
    assert!(writer.room().unwrap().bytes > 200_000);
    put(&mut writer, zxid + 1, 200_000);
    writer.look_for_room(0);
    assert!(!writer.look_for_room(LOOK_AGAIN_MS.1), "what is queued needs it");
    assert_eq!(disk.drain(&mut writer), None);
    assert_ne!(current(&writer).0, file, "the next file took it");
}

fn end_fill(writer: &mut LogWriter, fill: FillJob, done: &io::Result<()>) {
    match done {
        Ok(()) => writer.fill_done(fill),
        Err(_) => writer.fill_found_no_room(fill),
    }
}

#[test]
fn a_file_that_can_not_be_begun_is_begun_later() {
    let options = LogOptions { preallocate: 0, ..LogOptions::default() };
    let mut disk = Full::new(10);
    let mut writer = LogWriter::new(options, Zxid(0));
    put(&mut writer, 1, 500);
    let mut job = disk.drain(&mut writer).unwrap();
    assert_eq!(disk.disk.names(Dir::Log), ["ostler.new"], "no log without a header");
    disk.capacity = 1000;
    assert!(disk.go_on(&mut writer, &mut job));
    writer.job_done(job);
    assert_eq!(disk.disk.names(Dir::Log), ["log.1"]);
}

#[test]
fn a_file_system_that_keeps_no_room_makes_batches_wait_too() {
    let mut disk = Full::new(6 << 20);
    let mut writer = LogWriter::new(LogOptions { preallocate: 1 << 20, ..LogOptions::default() }, Zxid(0));
    disk.fill(&mut writer);
    put(&mut writer, 1, 100);
    assert_eq!(disk.drain(&mut writer), None);
    disk.keeps = false;
    disk.capacity = 0;
    put(&mut writer, 2, 10_000);
    let mut job = disk.drain(&mut writer).unwrap();
    disk.keeps = true;
    disk.capacity = 6 << 20;
    assert!(disk.go_on(&mut writer, &mut job));
    assert_eq!(writer.job_done(job), Zxid(2));
    // A stop in order gives back all zeros, also those that a page would have had behind the batch.
    let effects = writer.close().unwrap();
    for effect in &effects {
        disk.execute(effect).unwrap();
    }
    let log = disk.disk.bytes(&FileRef::log(Zxid(1))).unwrap();
    assert_eq!(log.last(), Some(&b'B'), "of {} bytes", log.len());
    assert_eq!(
        recovered(&mut disk.disk, &RecoverOptions { trust_empty: true, ..RecoverOptions::default() })
            .unwrap()
            .1
            .zxids(),
        [1, 2]
    );
}

#[test]
fn a_sync_never_waits() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::Other] {
        let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
        put(&mut writer, 1, 10);
        let mut job = writer.next_job().unwrap();
        for (done, effect) in job.effects().to_vec().iter().enumerate() {
            let is_sync = matches!(effect, Effect::Fdatasync(_) | Effect::Fsync(_) | Effect::FsyncDir(_));
            if is_sync || kind == io::ErrorKind::Other {
                assert_eq!(writer.job_stopped(&mut job, done, kind), Stopped::Ends, "{effect:?}");
            }
        }
        assert_eq!(writer.room(), None);
        writer.job_failed(job);
        assert!(writer.next_job().is_none());
        assert!(writer.append(Zxid(2), &entry(Zxid(2), 1, 1)).is_err());
    }
}

#[test]
fn a_fill_that_fails_otherwise_is_no_shortage() {
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    let job: FillJob = writer.next_fill().unwrap();
    assert_eq!(job.size(), FIRST_FILL);
    writer.fill_failed(job);
    assert_eq!(writer.room(), None);
    assert!(!writer.look_for_room(1 << 40), "no other is tried");
}

#[test]
fn a_disk_that_is_full_and_then_fails_refuses_nothing_for_ever() {
    let mut disk = Full::new(5 << 20);
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    disk.fill(&mut writer);
    let mut zxid = full(&mut writer, &mut disk);
    let mut now_ms = 0;
    while !writer.look_for_room(now_ms) {
        now_ms += 10;
    }
    // There is room again, but just now the disk fails otherwise.
    disk.capacity = 100 << 20;
    let job = writer.next_fill().unwrap();
    writer.fill_failed(job);
    disk.fill(&mut writer);
    assert_eq!(writer.room(), None, "no next file will ever say that there is room");
    for _ in 0..50 {
        zxid += 1;
        put(&mut writer, zxid, 200_000);
        assert_eq!(disk.drain(&mut writer), None);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    Drain,
    Roll,
    Capacity(u64),
    Time(i64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0usize..30_000).prop_map(Step::Append),
        4 => Just(Step::Drain),
        1 => Just(Step::Roll),
        1 => (0u64..400_000).prop_map(Step::Capacity),
        2 => (0i64..5000).prop_map(Step::Time),
    ]
}

proptest! {
    /// Whatever becomes of the disk: what is durable is there after a crash, in order, and a batch never ends the log.
    #[test]
    fn nothing_durable_is_lost_on_a_disk_that_is_full(steps in prop::collection::vec(any_step(), 1..80), preallocate in 0u64..70_000) {
        let options = LogOptions { preallocate, batch_bytes: 50_000, ..LogOptions::default() };
        let mut disk = Full::new(200_000);
        let mut writer = LogWriter::new(options, Zxid(0));
        disk.fill(&mut writer);
        let (mut zxid, mut stuck, mut now_ms) = (0, None::<LogJob>, 0);
        for step in steps {
            match step {
                Step::Append(length) => {
                    let fits = writer.room().is_none_or(|room| room.bytes >= length as u64 + 200);
                    if fits {
                        zxid += 1;
                        put(&mut writer, zxid, length);
                    }
                }
                Step::Drain => {
                    if let Some(mut job) = stuck.take() {
                        if disk.go_on(&mut writer, &mut job) {
                            writer.job_done(job);
                        } else {
                            stuck = Some(job);
                        }
                    } else {
                        stuck = disk.drain(&mut writer);
                    }
                    disk.fill(&mut writer);
                }
                Step::Roll => writer.roll(),
                Step::Capacity(capacity) => disk.capacity = capacity,
                Step::Time(ms) => {
                    now_ms += ms;
                    writer.look_for_room(now_ms);
                    disk.fill(&mut writer);
                }
            }
            prop_assert!(!writer.has_failed());
            let mut crashed = disk.disk.clone();
            crashed.crash();
            let trust = RecoverOptions { trust_empty: true, ..RecoverOptions::default() };
            let (found, memory) = recovered(&mut crashed, &trust).unwrap();
            prop_assert!(found.last_zxid >= writer.durable());
            prop_assert_eq!(memory.zxids(), (1..=found.last_zxid.0).collect::<Vec<_>>());
        }
    }

    /// The thread that makes the next file may be as slow as it likes: who takes in only what is known to fit never has a batch
    /// that waits for the disk, and whatever is taken in late finds out whether there is room.
    #[test]
    fn what_waits_for_the_next_file_never_outruns_it(
        steps in prop::collection::vec(any_slow_step(), 1..200),
        preallocate in 100_000_u64..400_000,
        capacity in 150_000_u64..2_000_000,
    ) {
        let options = LogOptions { preallocate, batch_bytes: 50_000, ..LogOptions::default() };
        let mut disk = Full::new(capacity);
        let mut writer = LogWriter::new(options, Zxid(0));
        let (mut zxid, mut out) = (0, None::<FillJob>);
        let mut waits = 0;
        for step in steps {
            match step {
                SlowStep::Append(length) => {
                    let needed = length as u64 + 200;
                    let fits = match (writer.room(), writer.ahead()) {
                        (Some(room), _) => room.bytes >= needed,
                        (None, Some((bytes, takes_next))) => takes_next || bytes >= needed,
                        (None, None) => panic!("files are made beforehand: {writer:?}"),
                    };
                    waits += u32::from(!fits);
                    if fits {
                        zxid += 1;
                        put(&mut writer, zxid, length);
                    }
                }
                SlowStep::Drain => {
                    while let Some(mut job) = writer.next_job() {
                        prop_assert!(disk.go_on(&mut writer, &mut job), "a batch waits");
                        writer.job_done(job);
                    }
                }
                SlowStep::BeginFill => out = out.or_else(|| writer.next_fill()),
                SlowStep::EndFill => {
                    let Some(job) = out.take() else { continue };
                    match job.effects().iter().try_for_each(|effect| disk.execute(effect)) {
                        Ok(()) => writer.fill_done(job),
                        Err(e) if is_no_room(e.kind()) => writer.fill_found_no_room(job),
                        Err(_) => writer.fill_failed(job),
                    }
                }
            }
        }
        // Whoever waits does not wait for ever: the next file is there, or is known not to come.
        if waits > 0 {
            prop_assert_eq!(disk.drain(&mut writer), None);
            if let Some(job) = out.take() {
                match job.effects().iter().try_for_each(|effect| disk.execute(effect)) {
                    Ok(()) => writer.fill_done(job),
                    Err(_) => writer.fill_found_no_room(job),
                }
            }
            disk.fill(&mut writer);
            prop_assert!(writer.room().is_some() || writer.ahead().is_some_and(|(_, takes_next)| takes_next), "{writer:?}");
        }
    }
}

#[derive(Debug, Clone)]
enum SlowStep {
    Append(usize),
    Drain,
    BeginFill,
    EndFill,
}

fn any_slow_step() -> impl Strategy<Value = SlowStep> {
    prop_oneof![
        12 => (0usize..20_000).prop_map(SlowStep::Append),
        4 => Just(SlowStep::Drain),
        2 => Just(SlowStep::BeginFill),
        2 => Just(SlowStep::EndFill),
    ]
}
