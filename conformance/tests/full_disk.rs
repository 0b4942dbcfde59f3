//! A disk that is really full: a small file system in memory that the test makes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ostler_conformance::raw::{ConnectRequest, Connection};
use ostler_conformance::script::{create, set, watch};
use ostler_conformance::small_disk::Small;
use ostler_conformance::{Options, Server, four_letter, java, ostler};

/// How long anything may take here.
const LIMIT: Duration = Duration::from_mins(1);

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn log(server: &ostler::Server) -> String {
    String::from_utf8_lossy(&std::fs::read(server.log()).unwrap()).into_owned()
}

fn metric(server: &ostler::Server, name: &str) -> i64 {
    let words = four_letter::ask(server.addr(), "mntr").unwrap();
    let line = words.lines().find_map(|line| line.strip_prefix(&format!("zk_ostler_{name}\t")).map(str::to_owned));
    line.unwrap().parse().unwrap()
}

fn options(dir: &Path) -> Options {
    Options::new(dir)
        .cfg(format!("dataLogDir={}", dir.join("log").display()))
        .cfg("preAllocSize=4096")
        .cfg("snapCount=10000000")
}

/// A new session on a disk that is full: while the server looks for room, new ones are turned away for a moment, and a client
/// tries again.
fn patient(server: &ostler::Server) -> Connection {
    let mut granted = None;
    until("a session", || {
        granted = Connection::session(server.addr()).ok();
        granted.is_some()
    });
    granted.unwrap().0
}

/// Another session, which only pings.
fn ping(session: &mut Connection) {
    assert_eq!(session.call(-2, 11, &[]).unwrap().err, 0);
}

/// Writes until it is refused, while another session pings; how many were acknowledged in all.
fn write_until_refused(client: &mut Connection, other: &mut Connection, mut acknowledged: i32) -> i32 {
    for _ in 0..20_000 {
        let number = acknowledged + 1;
        if number % 50 == 0 {
            ping(other);
        }
        let reply = client.call(number, 1, &create(&format!("/n{number}"), &[7; 5000], 0)).unwrap();
        match reply.err {
            0 => acknowledged = number,
            err => {
                assert_eq!(err, -1, "refused with SystemError");
                return acknowledged;
            }
        }
    }
    panic!("{acknowledged} writes of 5 KB on a disk of 16 MiB");
}

fn check(client: &mut Connection, other: Option<&mut Connection>, acknowledged: i32) {
    let mut other = other;
    for number in 1..=acknowledged {
        if let Some(other) = other.as_mut().filter(|_| number % 50 == 0) {
            ping(other);
        }
        let reply = client.call(number, 3, &watch(&format!("/n{number}"), false)).unwrap();
        assert_eq!(reply.err, 0, "/n{number} was acknowledged and is gone");
    }
    let next = format!("/n{}", acknowledged + 1);
    assert_eq!(client.call(1, 3, &watch(&next, false)).unwrap().err, -101, "{next} was refused and is there");
}

#[test]
fn a_full_log_disk_refuses_writes_and_keeps_reads_and_sessions() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(dir.path().join("log"), 16) else { return };
    small.ballast(5).unwrap();
    let mut server = ostler::Server::start(&options(dir.path())).unwrap();
    // A session that is silent for longer than its timeout while the disk is full: it only pings.
    let short = ConnectRequest { timeout_ms: 8000, ..ConnectRequest::default() };
    let (mut watcher, granted) = Connection::connect(server.addr(), &short).unwrap();
    assert_eq!(watcher.call(1, 1, &create("/mine", b"", 1)).unwrap().err, 0);
    assert_eq!(watcher.call(2, 3, &watch("/later", true)).unwrap().err, -101);
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    let acknowledged = write_until_refused(&mut client, &mut watcher, 0);
    assert!(acknowledged > 500, "only {acknowledged} writes of 5 KB fitted");

    // Writes of every kind are refused; whatever needs no room goes on.
    assert_eq!(client.call(1, 5, &set("/mine", Some(b"x"), -1)).unwrap().err, -1);
    assert_eq!(client.call(2, 2, &ostler_conformance::script::path_version("/n1", -1)).unwrap().err, -1);
    check(&mut client, Some(&mut watcher), acknowledged);
    // A new session, from the reserve.
    let mut fresh = patient(&server);
    assert_eq!(fresh.call(1, 3, &watch("/mine", false)).unwrap().err, 0);
    until("its end", || patient(&server).call(2, -11, &[]).unwrap().err == 0);
    until("what the log says", || log(&server).contains("writes are refused with SystemError (-1)"));
    assert_eq!(metric(&server, "log_disk_full"), 1);
    assert!(metric(&server, "log_room_bytes") >= 0 && metric(&server, "log_refused_count") > 2);
    // Longer than the timeout.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(10) {
        ping(&mut watcher);
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(client.call(3, 3, &watch("/mine", false)).unwrap().err, 0, "the session lives");

    // Killed, and started on the disk that is as full: all is there.
    server.kill().unwrap();
    let mut server = ostler::Server::start(&options(dir.path())).unwrap();
    let mut client = patient(&server);
    let again = ConnectRequest { session_id: granted.session_id, password: Some(granted.password), ..short };
    let (mut watcher, renewed) = Connection::connect(server.addr(), &again).unwrap();
    assert_eq!(renewed.session_id, granted.session_id);
    check(&mut client, Some(&mut watcher), acknowledged);
    assert_eq!(watcher.call(1, 3, &watch("/later", true)).unwrap().err, -101);
    let acknowledged = write_until_refused(&mut client, &mut watcher, acknowledged);

    // Room again: the same connection goes on.
    small.unload().unwrap();
    until("a write that is taken", || client.call(7, 1, &create("/later", b"", 0)).unwrap().err == 0);
    assert_eq!(watcher.read().unwrap().xid, -1, "the watch of before");
    until("what the log says", || log(&server).contains("the txn log's disk has room again"));
    assert_eq!(metric(&server, "log_disk_full"), 0);
    let more = write_until_refused(&mut client, &mut watcher, acknowledged);
    assert!(more > acknowledged + 300, "5 MiB more, and {} writes", more - acknowledged);
    check(&mut client, None, more);
    assert!(server.stop().unwrap().success(), "a full disk is no reason to stop badly");
    let server = ostler::Server::start(&options(dir.path())).unwrap();
    check(&mut patient(&server), None, more);
}

#[test]
fn a_disk_that_is_full_under_load_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_small) = Small::mount(dir.path().join("log"), 24) else { return };
    let mut server = ostler::Server::start(&options(dir.path())).unwrap();
    let addr = server.addr();
    let reached: Vec<i32> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                scope.spawn(move || {
                    let (mut client, _) = Connection::session(addr).unwrap();
                    let (mut sent, mut answered) = (0, 0);
                    let mut taken = Vec::new();
                    while answered < 4000 {
                        while sent < 4000 && sent - answered < 64 {
                            sent += 1;
                            client.send(sent, 1, &create(&format!("/w{writer}-{sent}"), &[3; 3000], 0)).unwrap();
                        }
                        let reply = client.read().unwrap();
                        answered += 1;
                        assert_eq!(reply.xid, answered, "replies come in order");
                        match reply.err {
                            0 => taken.push(answered),
                            -1 => {}
                            err => panic!("error {err}"),
                        }
                    }
                    // What was said is so.
                    for number in 1..=sent {
                        let reply = client.call(number, 3, &watch(&format!("/w{writer}-{number}"), false)).unwrap();
                        assert_eq!(reply.err == 0, taken.contains(&number), "/w{writer}-{number}");
                    }
                    taken
                })
            })
            .collect();
        writers
            .into_iter()
            .enumerate()
            .flat_map(|(at, it)| it.join().unwrap().into_iter().map(move |number| number * 10 + at as i32))
            .collect()
    });
    server.kill().unwrap();
    let server = ostler::Server::start(&options(dir.path())).unwrap();
    let mut client = patient(&server);
    for all in &reached {
        let path = format!("/w{}-{}", all % 10, all / 10);
        assert_eq!(client.call(1, 3, &watch(&path, false)).unwrap().err, 0, "{path} was acknowledged and is gone");
    }
    assert!(reached.len() > 1000, "only {} writes fitted", reached.len());
    assert!(reached.len() < 9000, "36 MB were written into 24");
    drop(client);
    drop(server);
    // Apache reads what is left.
    let both = dir.path().join("both");
    std::fs::create_dir_all(both.join("version-2")).unwrap();
    for from in ["data/version-2", "log/version-2"] {
        for entry in std::fs::read_dir(dir.path().join(from)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, both.join("version-2").join(path.file_name().unwrap())).unwrap();
        }
    }
    let dump = java::dump_dir(&both).unwrap();
    let found = dump.lines().filter(|line| line.starts_with("znode /w")).count();
    assert_eq!(found, reached.len(), "for Apache");
}

#[test]
fn a_full_snapshot_disk_never_stops_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(dir.path().join("data"), 2) else { return };
    let options = options(dir.path()).cfg("snapCount=300");
    let mut server = ostler::Server::start(&options).unwrap();
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    small.ballast(1).unwrap();
    let snapshots = |server: &ostler::Server| -> Vec<String> {
        let files = std::fs::read_dir(server.data_dir().join("version-2")).unwrap();
        files
            .map(|it| it.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|it| it.contains("snapshot"))
            .collect()
    };
    let mut number = 0;
    let mut write = |client: &mut Connection| {
        number += 1;
        assert_eq!(client.call(number, 1, &create(&format!("/n{number}"), &[7; 5000], 0)).unwrap().err, 0);
        number
    };
    // 5 MB of znodes: the first snapshots may fit, then none does.
    for _ in 0..1000 {
        write(&mut client);
    }
    until("a snapshot that fails", || log(&server).contains("No space left on device") || write(&mut client) > 20_000);
    let text = log(&server);
    let told = text.lines().find(|line| line.contains("the log keeps everything")).unwrap();
    assert!(told.contains("ostler.snapshot.tmp") && told.contains("data/version-2"), "{told}");
    until("the metric", || metric(&server, "snapshot_failures_in_a_row") > 0);
    until("the rest to be gone", || !snapshots(&server).contains(&"ostler.snapshot.tmp".to_owned()));

    server.kill().unwrap();
    let server = ostler::Server::start(&options).unwrap();
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    for number in 1..=1000 {
        assert_eq!(client.call(number, 3, &watch(&format!("/n{number}"), false)).unwrap().err, 0);
    }
    // Room: the next one is whole.
    let size = "remount,size=200m";
    assert!(Command::new("mount").args(["-o", size]).arg(dir.path().join("data")).status().unwrap().success());
    let before = snapshots(&server);
    until("a snapshot", || {
        write(&mut client);
        snapshots(&server).iter().any(|name| !before.contains(name) && name.starts_with("snapshot."))
    });
}
