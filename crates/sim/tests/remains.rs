//! What a crash leaves beside a leader's snapshot, or of a purge, and what a leader with such a directory gives its learners:
//! never a part of the log in which something is missing.
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::collections::BTreeSet;
use std::convert::Infallible;

use node::read_log;
use ostler_sim::disk::Coverage;
use ostler_sim::store::history::{Data, History, entry, snapshot};
use ostler_sim::store::life::{self, Setup};
use ostler_sim::store::scenarios::directory;
use ostler_sim::{Rng, VirtualDisk};
use storage::log::record::{HEADER, encode};
use storage::snapshot::install::{SnapshotReceiver, plan};
use storage::{Disk, Effect, FileRef, purge};
use wire::Zxid;

/// A txn of epoch 1, which is one later than that of the directory.
fn later(counter: i64) -> Zxid {
    Zxid(1 << 32 | counter)
}

fn add(history: &mut History, zxid: Zxid) {
    history.push(zxid, &entry(zxid, 20, Data::Text));
}

/// Every state of the disk after a crash between any two of these effects, or behind the last.
fn crashes(disk: &VirtualDisk, effects: &[Effect]) -> Vec<VirtualDisk> {
    let (mut disk, mut states) = (disk.clone(), Vec::new());
    for at in 0..=effects.len() {
        let covered = disk.for_each_crash::<Infallible>(&mut Rng::new(1), &mut |state| {
            states.push(state);
            Ok(())
        });
        assert_eq!(covered, Ok(Coverage::Complete));
        if let Some(effect) = effects.get(at) {
            disk.execute(effect).unwrap();
        }
    }
    states
}

/// The same, each recovered from; its history has to end with one of these. So has it after a kill.
fn recovered(disk: &VirtualDisk, effects: &[Effect], ends: &[Zxid]) -> Vec<(VirtualDisk, Zxid)> {
    let recover = |mut disk: VirtualDisk, setup: &Setup| {
        let last = life::start(&mut disk, setup).unwrap().recovered.last_zxid;
        assert!(ends.contains(&last), "{last}");
        (disk, last)
    };
    let (mut killed, mut went_on) = (disk.clone(), Setup::default());
    went_on.recover.went_on = true;
    recover(killed.clone(), &went_on);
    for effect in effects {
        killed.execute(effect).unwrap();
        recover(killed.clone(), &went_on);
    }
    crashes(disk, effects).into_iter().map(|disk| recover(disk, &Setup::default())).collect()
}

/// What a learner gets is the history, whatever it has, and in however small parts it comes. Returns from where on there is any.
fn check(disk: &VirtualDisk, history: &History, what: &str) -> BTreeSet<Zxid> {
    let options = Setup::default().recover;
    let mut served = BTreeSet::new();
    let all: Vec<Zxid> = history.between(Zxid(-1), history.last()).iter().map(|(zxid, _)| *zxid).collect();
    // Those that the history has, and those that another leader's had.
    let learners = [Zxid::ZERO].into_iter().chain(all).flat_map(|it| [it, Zxid(it.0 + 1), later(0)]);
    for from in learners.filter(|it| *it < history.last()) {
        for bytes_max in [1, 100, 1 << 20] {
            let Some(part) = read_log(disk, from, history.last(), bytes_max, &options) else { continue };
            let sent: Vec<Zxid> = part.proposals.iter().map(|it| it.zxid).collect();
            let expected = history.between(part.before, history.last());
            let expected: Vec<Zxid> = expected.iter().map(|(zxid, _)| *zxid).take(sent.len()).collect();
            assert_eq!(sent, expected, "{what}: from {from}, behind {}", part.before);
            assert!(!sent.is_empty() && part.before <= from && history.between(part.before, from).is_empty());
            served.insert(from);
        }
    }
    served
}

/// A log file with these txns.
fn put_log(disk: &mut VirtualDisk, history: &mut History, zxids: &[Zxid]) {
    let mut bytes = HEADER.to_vec();
    for &zxid in zxids {
        encode(&entry(zxid, 20, Data::Text), &mut bytes);
        add(history, zxid);
    }
    disk.put(&FileRef::log(zxids[0]), &bytes);
}

fn put_snapshot(disk: &mut VirtualDisk, history: &History, zxid: Zxid) {
    disk.put(&FileRef::snapshot(zxid), &snapshot(zxid, history.link(zxid).unwrap(), 100));
}

/// A member with these logs and snapshots gets a leader's snapshot that ends its epoch, three txns ahead, and loses power;
/// the txns of the next epoch follow. Each directory that this may have come to.
fn installed(separate: bool, logs: &[i64], snapshots: &[i64]) -> Vec<(VirtualDisk, History)> {
    let (mut disk, mut history) = directory(separate, logs, snapshots);
    let own = history.last();
    // It was killed before it wrote to its newest log.
    disk.put(&FileRef::log(own.next()), &[&HEADER[..], &[0; 100]].concat());
    (1..4).for_each(|n| add(&mut history, Zxid(own.0 + n)));
    let zxid = history.last();
    let mut receiver = SnapshotReceiver::default();
    let mut effects = receiver.start();
    effects.extend(receiver.chunk(snapshot(zxid, history.link(zxid).unwrap(), 100)));
    effects.extend(receiver.finish());
    effects.iter().try_for_each(|effect| disk.execute(effect)).unwrap();
    let effects = plan(&disk, zxid, &Setup::default().recover).unwrap();
    let mut out = Vec::new();
    for (mut disk, last) in recovered(&disk, &effects, &[own, zxid]) {
        if last == zxid {
            let mut history = history.clone();
            put_log(&mut disk, &mut history, &[later(1), later(2), later(3)]);
            out.push((disk, history));
        }
    }
    out
}

const DIRECTORIES: [(&[i64], &[i64]); 3] = [(&[4], &[0]), (&[2, 2], &[0, 3]), (&[1, 1, 2], &[0, 1, 4])];

#[test]
fn a_leader_gives_no_part_of_a_log_across_a_snapshot_that_it_got() {
    for separate in [false, true] {
        for (logs, snapshots) in DIRECTORIES {
            let mut with_remains = 0;
            for (disk, history) in installed(separate, logs, snapshots) {
                with_remains += usize::from(disk.files(storage::Dir::Log).len() > 1);
                let served = check(&disk, &history, "installed");
                // Whoever gets the newest snapshot gets what is behind it.
                let newest = history.back(3);
                assert!(served.contains(&newest) && served.contains(&later(1)), "{served:?}");
            }
            assert!(with_remains > 0, "no crash has left an older log");
        }
    }
}

#[test]
fn nor_when_a_purge_was_cut_short() {
    for separate in [false, true] {
        for (logs, snapshots) in DIRECTORIES {
            let mut seen = 0;
            for (mut disk, mut history) in installed(separate, logs, snapshots) {
                put_log(&mut disk, &mut history, &[later(4), later(5)]);
                (1..5).for_each(|counter| put_snapshot(&mut disk, &history, later(counter)));
                let last = history.last();
                let files = purge::plan(&disk, 3, 1 << 20, |_, _, _| 0).unwrap();
                assert!(!files.is_empty());
                let effects = purge::removal(&disk, files, Setup::default().recover.length_max).unwrap();
                for (disk, _) in recovered(&disk, &effects, &[last]) {
                    let served = check(&disk, &history, "purged");
                    assert!(served.contains(&later(3)) && served.contains(&later(4)), "{served:?}");
                    seen += 1;
                }
            }
            assert!(seen > 10, "{seen}");
        }
    }
}
