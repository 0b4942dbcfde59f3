//! The epoch files of a member: what a crash leaves of them, and what does not belong together.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

mod common;

use common::run;
use ostler_storage::FileName;
use ostler_storage::disk::{Dir, FileRef};
use ostler_storage::epoch::{EpochError, EpochFile, read};
use sim::VirtualDisk;
use wire::{Epoch, Zxid};

const LAST: Zxid = Zxid(0x3_0000_0007);

fn file(name: &str) -> FileRef {
    FileRef::new(Dir::Data, FileName::parse(name))
}

#[test]
fn missing_ones_are_written() {
    let mut disk = VirtualDisk::default();
    let epochs = read(&disk, LAST).unwrap();
    assert_eq!((epochs.accepted, epochs.current), (Epoch(3), Epoch(3)));
    run(&mut disk, &epochs.effects);
    disk.crash();
    assert_eq!(disk.bytes(&file("currentEpoch")), Some(b"3".to_vec()));
    assert!(read(&disk, LAST).unwrap().effects.is_empty());
    assert_eq!(read(&VirtualDisk::default(), Zxid(-1)).unwrap().current, Epoch(0));
}

#[test]
fn a_crash_between_the_history_and_current_epoch_is_made_up_for() {
    // Epoch 4 was accepted, its leader has told txns of epoch 3, and whatever of the temporary file there is.
    for temp in [None, Some(&b""[..]), Some(b"4")] {
        let mut disk = VirtualDisk::default();
        disk.put(&file("currentEpoch"), b"2");
        disk.put(&file("acceptedEpoch"), b"4");
        if let Some(temp) = temp {
            disk.put(&file("currentEpoch.tmp"), temp);
        }
        let epochs = read(&disk, LAST).unwrap();
        assert_eq!((epochs.accepted, epochs.current), (Epoch(4), Epoch(3)));
        run(&mut disk, &epochs.effects);
        disk.crash();
        assert!(read(&disk, LAST).unwrap().effects.is_empty());
    }
}

#[test]
fn each_crash_leaves_the_old_or_the_new() {
    let effects = EpochFile::Accepted.write(Epoch(12));
    for crash_at in 0..=effects.len() {
        for survives in [false, true] {
            let mut disk = VirtualDisk::default();
            disk.put(&file("currentEpoch"), b"3\n");
            disk.put(&file("acceptedEpoch"), b"5");
            run(&mut disk, &effects[..crash_at]);
            disk.crash_torn(&mut || survives);
            let accepted = read(&disk, LAST).unwrap().accepted;
            assert!(accepted == Epoch(5) || accepted == Epoch(12) && crash_at > 3, "{crash_at}");
            assert!(crash_at < 5 || accepted == Epoch(12));
        }
    }
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let mut disk = VirtualDisk::default();
    disk.put(&file("currentEpoch"), b"2");
    disk.put(&file("acceptedEpoch"), b"2");
    assert!(matches!(read(&disk, LAST), Err(EpochError::Behind { .. })));
    disk.put(&file("currentEpoch"), b"3");
    assert!(matches!(read(&disk, LAST), Err(EpochError::AcceptedBehind { .. })));
    disk.put(&file("acceptedEpoch"), b"x");
    assert!(matches!(read(&disk, LAST), Err(EpochError::NotANumber { .. })));
}

#[test]
fn a_file_with_a_changed_bit_holds_no_smaller_number_or_one_that_is_as_long() {
    for (name, other) in [("currentEpoch", "acceptedEpoch"), ("acceptedEpoch", "currentEpoch")] {
        for bit in 0..16 {
            let mut changed = *b"10";
            changed[bit / 8] ^= 1 << (bit % 8);
            let mut disk = VirtualDisk::default();
            disk.put(&file(other), b"10");
            disk.put(&file(name), &changed);
            let found = read(&disk, LAST);
            if changed.iter().all(u8::is_ascii_digit) {
                // Any other may be right, as far as anybody knows.
                let is_older = changed < *b"10";
                assert!(found.is_ok() != (is_older == (name == "acceptedEpoch")), "{changed:?}: {found:?}");
            } else {
                let Err(EpochError::NotANumber { file: named, .. }) = found else { panic!("{changed:?}: {found:?}") };
                assert_eq!(named, file(name));
            }
        }
    }
    // An editor ends a line.
    for text in ["10\n", "10\r\n"] {
        let mut disk = VirtualDisk::default();
        disk.put(&file("currentEpoch"), b"10");
        disk.put(&file("acceptedEpoch"), text.as_bytes());
        assert_eq!(read(&disk, LAST).unwrap().accepted, Epoch(10));
    }
}
