//! How fast the bytes go, without a disk. Run with `cargo test --release -p ostler-storage --test speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::hint::black_box;
use std::time::Instant;

use common::*;
use ostler_storage::disk::{Disk, Effect, FileRef};
use ostler_storage::recover::{RecoverOptions, Restore, recover};
use ostler_storage::snapshot::SnapshotDigest;
use ostler_storage::snapshot::decode::{SnapshotVisitor, decode};
use ostler_storage::snapshot::encode::SnapshotEncoder;
use ostler_storage::{LogOptions, LogWriter};
use sim::VirtualDisk;
use wire::jute::Buffer;
use wire::txn::TxnEntry;
use wire::{AclVec, SessionId, StatPersisted, Zxid};

struct Count(u64);

impl SnapshotVisitor for Count {
    fn session(&mut self, _: SessionId, _: i32) {}
    fn acl(&mut self, _: i64, _: AclVec<'_>) {}
    fn node(&mut self, path: &str, _: Buffer<'_>, _: i64, stat: &StatPersisted) -> Result<(), String> {
        self.0 += path.len() as u64 + stat.mzxid.0 as u64;
        Ok(())
    }
}

impl Restore for Count {
    fn reset(&mut self) {}
    fn session(&mut self, _: SessionId, _: i32) {}
    fn acl(&mut self, _: i64, _: AclVec<'_>) {}
    fn node(&mut self, _: &str, _: Buffer<'_>, _: i64, _: &StatPersisted) -> Result<(), String> {
        Ok(())
    }
    fn snapshot_end(&mut self, _: Zxid, _: Option<SnapshotDigest>) -> Result<(), String> {
        Ok(())
    }
    fn txn(&mut self, entry: &TxnEntry<'_>) -> Result<(), String> {
        self.0 += entry.header.zxid.0 as u64;
        Ok(())
    }
}

#[test]
#[ignore = "a measurement"]
fn snapshot_of_a_million() {
    let (mut encoder, mut out) = (SnapshotEncoder::new(), Vec::with_capacity(200 << 20));
    let data = [7; 100];
    let start = Instant::now();
    encoder.begin([].into_iter(), [].into_iter(), &mut out);
    encoder.node("", None, -1, &StatPersisted::default(), &mut out);
    let mut path = String::new();
    for i in 0..1_000_000 {
        use std::fmt::Write;
        path.clear();
        write!(path, "/bench/{i:010}").unwrap();
        encoder.node(&path, Some(&data), -1, &StatPersisted::default(), &mut out);
    }
    encoder.finish(None, None, &mut out);
    println!("encoded {} MB in {:?}", out.len() / 1_000_000, start.elapsed());
    for _ in 0..3 {
        let start = Instant::now();
        let end = decode(out.as_slice(), 1 << 20, &mut Count(0)).unwrap();
        println!("decoded {} znodes in {:?}", end.nodes, start.elapsed());
    }
}

#[test]
#[ignore = "a measurement"]
fn log_of_a_hundred_thousand() {
    let mut writer = LogWriter::new(LogOptions::default(), Zxid(0));
    let mut disk = VirtualDisk::default();
    let mut bytes = entry(Zxid(0), 1024, 7);
    let (mut appending, mut last) = (std::time::Duration::ZERO, 0);
    for _ in 0..1000 {
        let start = Instant::now();
        for _ in 0..100 {
            last += 1;
            bytes[12..20].copy_from_slice(&i64::to_be_bytes(last));
            writer.append(Zxid(last), &bytes).unwrap();
        }
        appending += start.elapsed();
        while let Some(job) = writer.next_job() {
            for effect in job.effects() {
                if !matches!(effect, Effect::Fdatasync(_)) {
                    disk.execute(effect).unwrap();
                }
            }
            black_box(writer.job_done(job));
        }
    }
    println!("append of 1 KiB: {:?}", appending / 100_000);
    let options = RecoverOptions { trust_empty: true, ..RecoverOptions::default() };
    let length = disk.bytes(&FileRef::log(Zxid(1))).unwrap().len();
    let start = Instant::now();
    recover(&mut disk, &options, &mut Count(0), &mut |_| ()).unwrap();
    println!("recovered {} MB of log in {:?}", length / 1_000_000, start.elapsed());
    disk.execute(&Effect::ZeroFill {
        file: FileRef::log(Zxid(1)),
        from: length as u64,
        to: (length + (64 << 20)) as u64,
    })
    .unwrap();
    for repair in [false, false, true] {
        let options = RecoverOptions { repair, ..options.clone() };
        let start = Instant::now();
        recover(&mut disk, &options, &mut Count(0), &mut |_| ()).unwrap();
        println!("the same with 64 MiB of zeros behind it in {:?}", start.elapsed());
    }
}
