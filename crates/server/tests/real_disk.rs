//! Files and the virtual disk, side by side: as long as nothing goes wrong, any sequence of effects gives the same bytes, the
//! same names and the same errors on both. So what is proven of the storage machines on the virtual one is not about another
//! kind of disk.
//!
//! As the machines do, each file is spoken of by the directory that it belongs to, also where both are one.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{ErrorKind, Read};

use ostler_server::disk::{RealDisk, VERSION_DIR};
use sim::VirtualDisk;
use sim::rng::Rng;
use storage::names::FileName;
use storage::{Dir, Disk, Effect, FileRef};
use wire::Zxid;

const HISTORIES: u64 = 150;
const STEPS: u64 = 60;

fn files() -> Vec<FileRef> {
    let data = [
        FileName::SnapshotTemp,
        FileName::Snapshot(Zxid(1)),
        FileName::Snapshot(Zxid(2)),
        FileName::Other("currentEpoch".into()),
    ];
    let log = [FileName::Log(Zxid(1)), FileName::Log(Zxid(2)), FileName::Other("ostler.other".into())];
    let in_dir = |dir| move |name| FileRef::new(dir, name);
    data.into_iter().map(in_dir(Dir::Data)).chain(log.into_iter().map(in_dir(Dir::Log))).collect()
}

/// Where something begins or how long it is: near the ends of blocks, or anywhere.
fn number(rng: &mut Rng) -> u64 {
    match rng.below(5) {
        0 => 0,
        1 => 4096 * rng.below(8),
        2 => (4096 * rng.between(1, 4)).saturating_add_signed(rng.below(3) as i64 - 1),
        3 => rng.below(600),
        _ => rng.below(40_000),
    }
}

fn effect(rng: &mut Rng, disk: &VirtualDisk) -> Effect {
    let all = files();
    let file = rng.pick(&all).unwrap().clone();
    let length = disk.length(&file).unwrap_or_default();
    match rng.below(20) {
        0..4 => Effect::Create(file),
        4..11 => {
            let offset = if rng.chance(500) { length } else { number(rng) };
            let n = if rng.chance(50) { 300 * 1024 + number(rng) } else { number(rng) };
            let first = rng.any();
            Effect::WriteAt { file, offset, bytes: (0..n).map(|i| (first + i * 7) as u8).collect() }
        }
        11 | 12 => {
            let from = number(rng);
            Effect::ZeroFill { file, from, to: from + number(rng) }
        }
        13 => Effect::Allocate { file, from: length, to: length + number(rng) },
        14 => Effect::Truncate { file, length: number(rng) },
        15 => Effect::Fdatasync(file),
        16 => Effect::Fsync(file),
        17 => {
            let others: Vec<_> = all.iter().filter(|other| other.dir == file.dir).collect();
            let to = rng.pick(&others).unwrap().name.clone();
            Effect::Rename { file, to }
        }
        18 => Effect::Remove(file),
        _ => Effect::FsyncDir(file.dir),
    }
}

fn listing(disk: &dyn Disk, dir: Dir) -> Vec<(String, u64)> {
    let mut found: Vec<_> = disk.list(dir).unwrap().into_iter().map(|entry| (entry.name, entry.length)).collect();
    found.sort();
    found
}

fn bytes(disk: &dyn Disk, file: &FileRef) -> Result<Vec<u8>, ErrorKind> {
    let mut bytes = Vec::new();
    disk.open(file).and_then(|mut opened| opened.read_to_end(&mut bytes)).map_err(|e| e.kind())?;
    Ok(bytes)
}

#[test]
fn the_virtual_disk_is_one_like_the_real_one() {
    let mut failures = 0;
    for seed in 0..HISTORIES {
        let mut rng = Rng::new(seed);
        let is_separate = rng.chance(500);
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (data, log) = (dir.path().join("data"), dir.path().join(if is_separate { "log" } else { "data" }));
        for path in [&data, &log] {
            std::fs::create_dir_all(path.join(VERSION_DIR)).unwrap();
        }
        let (mut real, mut ideal) = (RealDisk::new(&data, &log), VirtualDisk::new(is_separate));
        let mut done = Vec::new();
        for _ in 0..STEPS {
            if rng.chance(50) {
                // Another process: it has no file open.
                real = RealDisk::new(&data, &log);
                done.push("a new start".to_owned());
            }
            let effect = effect(&mut rng, &ideal);
            done.push(effect.describe());
            let (on_real, on_ideal) = (real.execute(&effect), ideal.execute(&effect));
            failures += usize::from(on_real.is_err());
            let kind = |result: Result<(), std::io::Error>| result.map_err(|e| e.kind());
            assert_eq!(kind(on_real), kind(on_ideal), "seed {seed}: {done:#?}");
            for dir in [Dir::Data, Dir::Log] {
                assert_eq!(listing(&real, dir), listing(&ideal, dir), "seed {seed}: {done:#?}");
            }
            for file in files() {
                assert!(bytes(&real, &file) == bytes(&ideal, &file), "seed {seed}: {file} after {done:#?}");
            }
        }
    }
    assert!(failures > 100, "too few effects that fail: {failures}");
}
