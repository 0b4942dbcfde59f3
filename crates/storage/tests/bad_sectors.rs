//! Sectors that can't be read: damage, with its place.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use common::*;
use ostler_storage::FileName;
use ostler_storage::disk::{Dir, FileRef};
use ostler_storage::log::dir::ReadLogError;
use ostler_storage::log::record::{HEADER, encode};
use ostler_storage::recover::{RecoverError, RecoverOptions};
use ostler_storage::snapshot::decode::LoadSnapshotError;
use sim::VirtualDisk;
use sim::disk::BadRead;
use wire::Zxid;

#[test]
fn a_sector_that_can_not_be_read_is_damage_with_its_place() {
    // Behind the records, too: something may have been there.
    let (mut bytes, mut ends) = (HEADER.to_vec(), Vec::new());
    for zxid in 1..=8 {
        encode(&entry(Zxid(zxid), 200, 7), &mut bytes);
        ends.push(bytes.len() as u64);
    }
    bytes.resize(bytes.len() + 1500, 0);
    let file = FileRef::log(Zxid(1));
    for sector in 0..bytes.len().div_ceil(512) as u64 {
        let mut disk = VirtualDisk::new(false);
        disk.put(&file, &bytes);
        disk.put(&FileRef::snapshot(Zxid(0)), &snapshot_ended_at(0, 3, true, true));
        disk.faults.bad_read(file.clone(), BadRead::Error { sector });
        let error = recovered(&mut disk, &RecoverOptions::default()).unwrap_err();
        let RecoverError::Log { error: ReadLogError::Unreadable { file: found, offset, after, .. }, .. } = &error
        else {
            panic!("sector {sector}: {error}");
        };
        let whole = ends.iter().filter(|end| **end <= 512 * sector).count();
        assert_eq!((found, *offset, *after), (&file, 512 * sector, Zxid(whole as i64)));
        assert!(error.is_mended_by_a_copy(), "{error}");
    }
}

#[test]
fn a_snapshot_that_can_not_be_read_is_damage_with_its_place() {
    let bytes = snapshot_bytes(100, true, true);
    for (name, sectors) in [("snapshot.9", bytes.len().div_ceil(512) as u64), ("snapshot.9.gz", 1)] {
        for sector in 0..sectors {
            let mut disk = VirtualDisk::new(false);
            let file = FileRef::new(Dir::Data, FileName::parse(name));
            disk.put(&file, &bytes);
            disk.faults.bad_read(file, BadRead::Error { sector });
            let error = recovered(&mut disk, &RecoverOptions::default()).unwrap_err();
            let RecoverError::NoSnapshot { tried } = &error else { panic!("{name}, sector {sector}: {error}") };
            let [(_, LoadSnapshotError::Unreadable { offset, .. })] = &tried[..] else { panic!("{error}") };
            assert!(*offset == 512 * sector && error.is_mended_by_a_copy(), "{error}");
        }
    }
}

#[test]
fn what_may_be_readable_the_next_time_is_no_damage() {
    const ENOMEM: i32 = 12;
    const EMFILE: i32 = 24;
    for number in [ENOMEM, EMFILE] {
        let error = || std::io::Error::from_raw_os_error(number);
        let (file, what) = (FileRef::log(Zxid(1)), "log.1".to_owned());
        let snapshot = |why| RecoverError::NoSnapshot { tried: vec![("snapshot.0".to_owned(), why)] };
        for error in [
            ReadLogError::Io { what, error: error() }.into(),
            ReadLogError::Unreadable { file, offset: 16, after: Zxid(1), error: error() }.into(),
            snapshot(LoadSnapshotError::Io(error())),
            snapshot(LoadSnapshotError::Unreadable { offset: 16, error: error() }),
        ] {
            let error: RecoverError = error;
            assert!(!error.is_mended_by_a_copy(), "{error}");
        }
    }
}
