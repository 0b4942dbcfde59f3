//! What a server leaves word of for the next start: damage that nobody can take for the end of a write is refused.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

use ostler_conformance::raw::Connection;
use ostler_conformance::script::create;
use ostler_conformance::{Options, Server, ostler};

/// What a device writes as a whole.
const SECTOR: usize = 512;
const ZNODES: usize = 100;

fn options(dir: &Path) -> Options {
    Options::new(dir)
}

/// Starts a server and writes a hundred znodes, each synced alone.
fn written(options: &Options) -> ostler::Server {
    let server = ostler::Server::start(options).unwrap();
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    for i in 0..ZNODES {
        assert_eq!(client.call(i as i32 + 1, 1, &create(&format!("/z{i}"), b"data", 0)).unwrap().err, 0);
    }
    server
}

fn newest_log(server_dir: &Path) -> PathBuf {
    let version = server_dir.join("version-2");
    let names = fs::read_dir(version).unwrap().map(|entry| entry.unwrap().path());
    let is_log = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("log.");
    names.filter(is_log).max().unwrap()
}

/// A start is refused, and changes nothing; its last words.
fn is_refused(options: &Options, file: &Path) -> String {
    let before = fs::read(file).unwrap();
    let why = format!("{:#}", ostler::Server::start(options).unwrap_err());
    assert!(why.contains("exit status: 3"), "{why}");
    assert!(fs::read(file).unwrap() == before, "refused, and changed all the same");
    why
}

#[test]
fn a_hole_in_the_log_of_a_killed_server_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let mut server = written(&options);
    let log = newest_log(&server.data_dir());
    server.kill().unwrap();
    let whole = fs::read(&log).unwrap();
    let mut holed = whole.clone();
    holed[8 * SECTOR..9 * SECTOR].fill(0);
    fs::write(&log, holed).unwrap();
    let why = is_refused(&options, &log);
    let name = log.file_name().unwrap().to_str().unwrap();
    assert!(why.contains(name) && why.contains("at byte"), "{why}");
    // With the sector back all is well: what is behind the records that were written are the zeros of a file made ahead.
    fs::write(&log, whole).unwrap();
    let server = ostler::Server::start(&options).unwrap();
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    let last = create(&format!("/z{}", ZNODES - 1), b"", 0);
    assert_eq!(client.call(1, 1, &last).unwrap().err, -110, "it is there");
}

#[test]
fn a_log_that_is_shorter_than_its_server_left_it_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let mut server = written(&options);
    let log = newest_log(&server.data_dir());
    assert!(server.stop().unwrap().success());
    let whole = fs::read(&log).unwrap();
    fs::write(&log, &whole[..whole.len() - 10]).unwrap();
    let why = is_refused(&options, &log);
    assert!(why.contains(&format!("was whole up to byte {} when its server stopped", whole.len())), "{why}");
    fs::write(&log, &whole).unwrap();
    ostler::Server::start(&options).unwrap();
}

#[test]
fn a_log_directory_that_is_lost_is_missed() {
    let [dir, logs] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let place = logs.path().join("logs");
    let options = options(dir.path()).cfg(format!("dataLogDir={}", place.display()));
    let mut server = written(&options);
    let snapshot = server.data_dir().join("version-2/snapshot.0");
    server.kill().unwrap();
    let kept = logs.path().join("kept");
    fs::rename(&place, &kept).unwrap();
    for _ in 0..2 {
        let why = is_refused(&options, &snapshot);
        assert!(why.contains("this server has never been there, while it has been in"), "{why}");
    }
    fs::remove_dir_all(&place).unwrap();
    fs::rename(&kept, &place).unwrap();
    ostler::Server::start(&options).unwrap();
}
