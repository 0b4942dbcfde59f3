//! Members of ours whose files are damaged: they come back by a copy of the leader's data, a few times.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use ostler_conformance::ensemble::{Ensemble, Kind};
use ostler_conformance::four_letter;
use ostler_conformance::history::Left;
use ostler_conformance::raw::Connection;
use ostler_conformance::script::create;

/// Whose files are damaged.
const VICTIM: u8 = 1;
/// What a file header takes.
const HEADER: usize = 16;

fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|it| it.unwrap().path())
        .filter(|it| it.is_file() && it.file_name().unwrap().to_str().unwrap().starts_with(prefix))
        .collect();
    files.sort();
    files
}

/// One bit of a file turns.
fn turn_a_bit(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

fn write(ensemble: &Ensemble, through: u8, names: &str) {
    let (mut session, _) = Connection::session(ensemble.member(through).unwrap().client).unwrap();
    for n in 0..20 {
        let reply = session.call(n + 1, 1, &create(&format!("/{names}-{n}"), b"kept", 0)).unwrap();
        assert_eq!(reply.err, 0, "{names}-{n}");
    }
}

/// Alone it has no vote, and no start forgets that: nothing is begun anew.
fn stays_lost(ensemble: &mut Ensemble, others: Kind) {
    for id in [2, 3] {
        ensemble.kill(id).unwrap();
    }
    for _ in 0..2 {
        ensemble.start_as(VICTIM, Kind::Ostler).unwrap();
        let addr = ensemble.member(VICTIM).unwrap().client;
        let answers = || four_letter::ask(addr, "srvr").is_ok_and(|it| it.contains("not currently serving"));
        ensemble.until("it looks for a leader", answers).unwrap();
        ensemble.kill(VICTIM).unwrap();
        assert!(files(&ensemble.data_dir(VICTIM).join("version-2"), "snapshot.").is_empty());
    }
    for id in [2, 3] {
        ensemble.start_as(id, others).unwrap();
    }
    ensemble.serving(2).unwrap();
}

fn is_repaired(others: Kind) {
    let dir = tempfile::tempdir().unwrap();
    let mut ensemble = Ensemble::new(dir.path(), 3, 0, false).unwrap().cfg("tickTime=500");
    let kinds = [Kind::Ostler, others, others];
    for (id, kind) in (1..).zip(kinds) {
        ensemble.start_as(id, kind).unwrap();
    }
    for id in 1..=3 {
        ensemble.serving(id).unwrap();
    }
    write(&ensemble, VICTIM, "first");
    let folder = ensemble.data_dir(VICTIM).join("version-2");
    for round in 1..=4 {
        // What one that stops in order says of its log is said of the files that are set aside.
        if round == 2 { ensemble.stop(VICTIM) } else { ensemble.kill(VICTIM) }.unwrap();
        if round == 1 {
            // Of the first record, with whole ones behind it.
            turn_a_bit(&files(&folder, "log.")[0], HEADER + 30);
        } else if round == 2 {
            // The newest is no log any more.
            turn_a_bit(files(&folder, "log.").last().unwrap(), 0);
        } else {
            for snapshot in files(&folder, "snapshot.") {
                turn_a_bit(&snapshot, fs::metadata(&snapshot).unwrap().len() as usize / 2);
            }
        }
        ensemble.until("the others serve", || [2, 3].iter().any(|&id| ensemble.mode(id) == "leader")).unwrap();
        ensemble.serving(2).unwrap();
        write(&ensemble, 2, &format!("round{round}"));
        if round == 2 {
            stays_lost(&mut ensemble, others);
        }
        ensemble.start_as(VICTIM, Kind::Ostler).unwrap();
        if round == 4 {
            let says = || ensemble.log_contains(VICTIM, "set aside 3 times already");
            ensemble.until("it gives up, and says why", says).unwrap();
            break;
        }
        ensemble.serving(VICTIM).unwrap();
        assert!(ensemble.log_contains(VICTIM, &format!("in damaged-{round} beside them")));
        assert!(!files(&folder.join(format!("damaged-{round}")), "").is_empty());
        write(&ensemble, VICTIM, &format!("again{round}"));
        let left = |id: u8| Left::of(ensemble.member(id).unwrap().client).unwrap();
        let difference = left(VICTIM).difference(&left(2));
        assert!(difference.is_none(), "round {round}: {difference:?}");
    }
}

#[test]
fn among_ours() {
    is_repaired(Kind::Ostler);
}

#[test]
fn among_apaches() {
    is_repaired(Kind::Apache);
}
