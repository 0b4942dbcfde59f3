//! Starts that must fail, and say why in the last line: 1 the port, 2 the configuration, 3 the data directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ostler_conformance::raw::Connection;
use ostler_conformance::script::{create, set};
use ostler_conformance::{Options, Server, ostler};

/// Runs a server that should not start; its exit code and its last line on stderr.
fn refused(arguments: &[&str], dir: &Path) -> (i32, String) {
    let mut child = Command::new(ostler::binary().unwrap())
        .arg("server")
        .args(arguments)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it started: {arguments:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let last = errors.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("ostler: "), "no last line that says why: {errors:?}");
    assert!(!errors.contains("panicked"), "{errors}");
    (output.status.code().unwrap(), last)
}

fn cfg(dir: &Path, lines: &str) -> String {
    let path = dir.join("zoo.cfg");
    fs::write(&path, lines).unwrap();
    path.to_str().unwrap().to_owned()
}

fn config(dir: &Path, port: u16) -> String {
    let data = dir.join("data");
    cfg(dir, &format!("dataDir={}\nclientPortAddress=127.0.0.1\nclientPort={port}\n", data.display()))
}

fn assert_refused(what: &str, (code, line): (i32, String), expected: i32, words: &[&str]) {
    assert_eq!(code, expected, "{what}: {line}");
    for word in words {
        assert!(line.contains(word), "{what}: {word:?} is not in {line:?}");
    }
}

/// The files whose names begin with `prefix`.
fn files(data: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("version-2")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> =
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).collect();
    found.sort();
    found
}

/// A directory with a snapshot and a log of 200 writes, closed in order.
fn written() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut server = ostler::Server::start(&Options::new(dir.path())).unwrap();
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    assert_eq!(client.call(1, 1, &create("/a", b"", 0)).unwrap().err, 0);
    for version in 0..200 {
        assert_eq!(client.call(2, 5, &set("/a", Some(&[7; 50]), version)).unwrap().err, 0);
    }
    server.stop().unwrap();
    dir
}

#[test]
fn a_configuration_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    for (lines, word) in [
        ("dataDir=data\n", "clientPort"),
        ("clientPort=1\n", "dataDir"),
        ("dataDir=data\nclientPort=seven\n", "clientPort"),
        ("dataDir=data\nclientPort=70000\n", "70000"),
        ("dataDir=data\nclientPort=1\ntickTime=x\n", "tickTime"),
    ] {
        assert_refused(lines, refused(&[&cfg(dir.path(), lines)], dir.path()), 2, &[word]);
    }
    assert_refused("no file", refused(&["none.cfg"], dir.path()), 2, &["none.cfg"]);
}

#[test]
fn a_port_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    assert_refused("taken", refused(&[&config(dir.path(), port)], dir.path()), 1, &[&port.to_string()]);
}

#[test]
fn a_directory_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = ostler::Server::start(&Options::new(dir.path())).unwrap();
    let other = tempfile::tempdir().unwrap();
    let lines = format!("dataDir={}\nclientPort=1\n", server.data_dir().display());
    assert_refused("in use", refused(&[&cfg(other.path(), &lines)], dir.path()), 3, &["data"]);
    assert!(server.process_mut().exited().unwrap().is_none(), "the first one is none the worse for it");
    Connection::session(server.addr()).unwrap();
}

#[test]
fn a_directory_that_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("data"), "a file").unwrap();
    assert_refused("a file", refused(&[&config(dir.path(), 1)], dir.path()), 3, &["data"]);
}

#[test]
fn a_snapshot_of_garbage() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("data/version-2");
    fs::create_dir_all(&files).unwrap();
    fs::write(files.join("snapshot.5"), "garbage".repeat(100)).unwrap();
    assert_refused("garbage", refused(&[&config(dir.path(), 1)], dir.path()), 3, &["snapshot"]);
    assert_eq!(fs::read(files.join("snapshot.5")).unwrap(), "garbage".repeat(100).as_bytes(), "it is left as it is");
}

#[test]
fn damage_in_the_middle_of_a_log() {
    let dir = written();
    let log = files(&dir.path().join("data"), "log.").pop().unwrap();
    let whole = fs::read(&log).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&log, &damaged).unwrap();
    let name = log.file_name().unwrap().to_str().unwrap().to_owned();
    assert_refused("a flipped bit", refused(&[&config(dir.path(), 1)], dir.path()), 3, &[&name]);
    assert_eq!(fs::read(&log).unwrap(), damaged, "it is left as it is");
}

#[test]
fn a_foreign_file_among_the_logs() {
    let dir = written();
    let version = dir.path().join("data/version-2");
    fs::write(version.join("log.zz"), "not a number").unwrap();
    fs::write(version.join("notes.txt"), "from the operator").unwrap();
    fs::create_dir(version.join("lost+found")).unwrap();
    let mut server = ostler::Server::start(&Options::new(dir.path())).unwrap();
    Connection::session(server.addr()).unwrap();
    server.stop().unwrap();
    for kept in ["log.zz", "notes.txt", "lost+found"] {
        assert!(version.join(kept).exists(), "{kept} has gone");
    }
}

#[test]
fn a_torn_end_is_cut() {
    let dir = written();
    let log = files(&dir.path().join("data"), "log.").pop().unwrap();
    let whole = fs::read(&log).unwrap();
    fs::write(&log, &whole[..whole.len() - 30]).unwrap();
    // The server stopped in order, and has left word of how long its log was; a crash leaves none.
    fs::remove_file(dir.path().join("data/version-2/ostler.lock")).unwrap();
    let server = ostler::Server::start(&Options::new(dir.path())).unwrap();
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    // The last write is the one that was torn.
    assert_eq!(client.call(1, 5, &set("/a", Some(b""), 199)).unwrap().err, 0);
}
