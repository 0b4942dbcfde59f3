//! Snapshots by the size of the log, and a purge at the start that never takes what the next start may need.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ostler_conformance::raw::Connection;
use ostler_conformance::script::{create, watch};
use ostler_conformance::{Options, Server, ostler};

/// `snapSizeLimitInKb`.
const LIMIT_KIB: usize = 64;
/// A txn has about so many bytes of data.
const DATA: usize = 1000;
/// How long anything may take here.
const PATIENCE: Duration = Duration::from_mins(1);

fn files(server_dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let names = fs::read_dir(server_dir.join("version-2")).unwrap().map(|entry| entry.unwrap().path());
    let zxid = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix(prefix)?;
        u64::from_str_radix(name, 16).ok()
    };
    let mut found: Vec<PathBuf> = names.filter(|path| zxid(path).is_some()).collect();
    found.sort_by_key(zxid);
    found
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Writes about so many KiB of log.
fn write(client: &mut Connection, written: &mut i32, kib: usize) {
    for _ in 0..kib * 1024 / (DATA + 100) {
        *written += 1;
        assert_eq!(client.call(*written, 1, &create(&format!("/n{written}"), &[7; DATA], 0)).unwrap().err, 0);
    }
}

/// One bit in the middle is another one.
fn spoil(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(file, bytes).unwrap();
}

/// Started again, and stopped: everything that was written is there. `cfg` is added, and the server has to say `says`. What it
/// replays is too little for a snapshot.
fn starts(dir: &Path, cfg: &[&str], written: i32, says: &str) {
    let options = Options::new(dir).cfg("snapCount=1000000");
    let options = cfg.iter().fold(options, |options, line| options.cfg(*line));
    let mut server = ostler::Server::start(&options).unwrap();
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    for number in 1..=written {
        assert_eq!(client.call(number, 3, &watch(&format!("/n{number}"), false)).unwrap().err, 0, "/n{number} is gone");
    }
    until(says, || String::from_utf8_lossy(&fs::read(server.log()).unwrap()).contains(says));
    drop(client);
    assert!(server.stop().unwrap().success());
}

fn options(dir: &Path) -> Options {
    Options::new(dir).cfg("snapCount=1000000").cfg(format!("snapSizeLimitInKb={LIMIT_KIB}"))
}

#[test]
fn the_size_of_the_log_makes_snapshots_and_a_purge_keeps_the_last_good_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = ostler::Server::start(&options(dir.path())).unwrap();
    let data = server.data_dir();
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    let mut written = 0;
    let snapshots = || files(&data, "snapshot.").len();
    // Not before half of the limit, and not later than all of it.
    write(&mut client, &mut written, LIMIT_KIB / 2 - 4);
    assert_eq!(snapshots(), 1, "that of the empty tree");
    for round in 1..=7 {
        let before = snapshots();
        write(&mut client, &mut written, LIMIT_KIB + 12);
        until(&format!("a snapshot in round {round}"), || snapshots() > before);
    }
    drop(client);
    assert!(server.stop().unwrap().success());
    let found = snapshots() - 1;
    assert!((7..=7 * (LIMIT_KIB + 12) / (LIMIT_KIB / 2) + 1).contains(&found), "{found} snapshots");
    let purge = ["autopurge.snapRetainCount=3", "autopurge.purgeInterval=1"];

    // The two newest are broken: three good ones stay beside them, and the logs behind the oldest of them.
    let all = files(&data, "snapshot.");
    let (good, bad) = all.split_at(all.len() - 2);
    for file in bad {
        spoil(file);
    }
    starts(dir.path(), &purge, written, "purged ");
    assert_eq!(files(&data, "snapshot."), [&good[good.len() - 3..], bad].concat());
    // With one good one that is left, older than all others, nothing goes.
    let all = files(&data, "snapshot.");
    for file in &all[1..all.len() - 2] {
        spoil(file);
    }
    let logs = files(&data, "log.");
    starts(dir.path(), &purge, written, "there is nothing to purge");
    assert_eq!(files(&data, "snapshot."), all);
    assert!(files(&data, "log.").starts_with(&logs), "no log went");
    // It is what the next start depends on.
    starts(dir.path(), &[], written, &format!("{} with", all[0].file_name().unwrap().to_str().unwrap()));
}
