//! Ostler killed over and over in the middle of writes: what was acknowledged is there, and nothing is half there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ostler_conformance::raw::{Connection, Reply};
use ostler_conformance::script::{create, multi, set, watch};
use ostler_conformance::{Options, Server, apache, java, ostler};

const ROUNDS: u64 = 12;
/// Clients that write at once. The last one writes without multis.
const WRITERS: usize = 3;
/// Requests that a client sends ahead of their replies.
const WINDOW: usize = 32;
/// More writes than a client does before it is cut off.
const WRITES_MAX: u64 = 200_000;

/// How far a client came: all up to `acknowledged` was answered, all up to `sent` may have been done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Reached {
    acknowledged: u64,
    sent: u64,
}

fn parent(writer: usize) -> String {
    format!("/w{writer}")
}

fn child(writer: usize, number: u64) -> String {
    format!("/w{writer}/k{number:08}")
}

/// One write: the number becomes the parent's data and the name of a child; in one txn, but for the last writer.
fn write(client: &mut Connection, writer: usize, number: u64) -> anyhow::Result<()> {
    let text = format!("{number}");
    let creation = create(&child(writer, number), text.as_bytes(), 0);
    let change = set(&parent(writer), Some(text.as_bytes()), -1);
    let xid = number as i32;
    if writer + 1 == WRITERS {
        client.send(-xid, 5, &change)?;
        client.send(xid, 1, &creation)
    } else {
        client.send(xid, 14, &multi(&[(5, change), (1, creation)]))
    }
}

/// Writes until the server is gone.
fn write_until_cut(addr: SocketAddr, writer: usize, first: u64, progress: &AtomicU64) -> Reached {
    let mut reached = Reached { acknowledged: first - 1, sent: first - 1 };
    let Ok((mut client, _)) = Connection::session(addr) else { return reached };
    let take = |reply: Reply, reached: &mut Reached| {
        assert_eq!(reply.err, 0, "a write was refused: {reply:?}");
        if reply.xid > 0 {
            assert_eq!(reply.xid as u64, reached.acknowledged + 1, "replies come in order");
            // A multi that failed says so in its body.
            assert!(writer + 1 == WRITERS || reply.body.get(..4) == Some(&[0, 0, 0, 5]), "{reply:?}");
            reached.acknowledged += 1;
            progress.fetch_add(1, Ordering::Relaxed);
        }
    };
    while reached.sent < first + WRITES_MAX {
        reached.sent += 1;
        if write(&mut client, writer, reached.sent).is_err() {
            break;
        }
        while reached.sent - reached.acknowledged >= WINDOW as u64 {
            match client.read() {
                Ok(reply) => take(reply, &mut reached),
                Err(_) => return reached,
            }
        }
    }
    // What the server still said before it went.
    while let Ok(reply) = client.read() {
        take(reply, &mut reached);
    }
    reached
}

/// Starts the clients, ends the server with `end` after some acknowledged writes, returns how far they came.
fn under_load(server: &mut ostler::Server, from: &[u64], writes: u64, end: fn(&mut ostler::Server)) -> Vec<Reached> {
    let addr = server.addr();
    let progress = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let writers: Vec<_> = from
            .iter()
            .enumerate()
            .map(|(writer, first)| {
                let progress = &progress;
                scope.spawn(move || write_until_cut(addr, writer, *first, progress))
            })
            .collect();
        let deadline = Instant::now() + Duration::from_mins(1);
        while progress.load(Ordering::Relaxed) < writes {
            assert!(Instant::now() < deadline, "only {progress:?} writes in a minute");
            std::thread::sleep(Duration::from_millis(1));
        }
        end(server);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    })
}

fn number(data: &[u8]) -> u64 {
    let length = i32::from_be_bytes(data[..4].try_into().unwrap()) as usize;
    std::str::from_utf8(&data[4..4 + length]).unwrap().parse().unwrap()
}

/// Looks at everything a writer left, and says where it is to go on.
fn check(client: &mut Connection, writer: usize, reached: Reached) -> u64 {
    let data = client.call(1, 4, &watch(&parent(writer), false)).unwrap();
    let value = number(&data.body);
    assert!(
        (reached.acknowledged..=reached.sent).contains(&value),
        "writer {writer}: {value} is there, and {reached:?}"
    );
    // getChildren2 ends with a Stat: so many children, so many creations.
    let children = client.call(2, 12, &watch(&parent(writer), false)).unwrap();
    let count = u64::from(u32::from_be_bytes(children.body[..4].try_into().unwrap()));
    let mut names: Vec<String> = children.body[4..4 + 13 * count as usize]
        .chunks(13)
        .map(|it| String::from_utf8_lossy(&it[4..]).into())
        .collect();
    names.sort();
    for (at, name) in names.iter().enumerate() {
        assert_eq!(*name, format!("k{:08}", at + 1), "writer {writer}: a gap");
    }
    if writer + 1 == WRITERS {
        assert!(count == value || count + 1 == value, "writer {writer}: {count} children, set to {value}");
        assert!(count >= reached.acknowledged, "writer {writer}: {count} children, and {reached:?}");
        if count + 1 == value {
            // Set, and cut before the creation: it is done now.
            assert_eq!(client.call(3, 1, &create(&child(writer, value), b"", 0)).unwrap().err, 0);
        }
    } else {
        assert_eq!(count, value, "writer {writer}: a multi was torn");
    }
    let version = i32::from_be_bytes(data.body[data.body.len() - 36..][..4].try_into().unwrap());
    assert_eq!(version as u64, value, "writer {writer}: each set counts once");
    value + 1
}

fn options(dir: &Path) -> Options {
    Options::new(dir).cfg("snapCount=300").cfg("preAllocSize=256")
}

fn prepare(server: &ostler::Server) -> Vec<u64> {
    let (mut client, _) = Connection::session(server.addr()).unwrap();
    for writer in 0..WRITERS {
        assert_eq!(client.call(1, 1, &create(&parent(writer), b"0", 0)).unwrap().err, 0);
    }
    vec![1; WRITERS]
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = ostler::Server::start(&options(dir.path())).unwrap();
    let mut from = prepare(&server);
    for round in 0..ROUNDS {
        let reached = under_load(&mut server, &from, 50 + round * 150, |server| {
            server.kill().unwrap();
        });
        if round % 4 == 0 {
            // Apache can read what is left, as it is.
            let dump = java::dump_dir(&server.data_dir()).unwrap();
            for (writer, reached) in reached.iter().enumerate().filter(|(_, it)| it.acknowledged > 0) {
                let last = format!("znode {} ", child(writer, reached.acknowledged));
                assert!(dump.contains(&last), "{last} is missing for Apache");
            }
        }
        server = ostler::Server::start(&options(dir.path())).unwrap();
        let (mut client, _) = Connection::session(server.addr()).unwrap();
        for (writer, reached) in reached.into_iter().enumerate() {
            from[writer] = check(&mut client, writer, reached);
        }
    }
    assert!(from.iter().all(|next| *next > ROUNDS * 20), "too little was written: {from:?}");
    let snapshots = std::fs::read_dir(server.data_dir().join("version-2")).unwrap();
    let snapshots = snapshots.filter(|it| it.as_ref().unwrap().file_name().to_string_lossy().starts_with("snapshot."));
    let count = snapshots.count();
    // One is of the start.
    assert!(count > 1, "no snapshot fell into the load");
}

#[test]
fn sigterm_under_load_leaves_a_clean_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut from = Vec::new();
    for round in 0..3 {
        let mut server = ostler::Server::start(&options(dir.path())).unwrap();
        if round == 0 {
            from = prepare(&server);
        }
        let reached = under_load(&mut server, &from, 400, |server| {
            let status = server.stop().unwrap();
            assert!(status.success(), "SIGTERM: {status}");
        });
        let files = std::fs::read_dir(server.data_dir().join("version-2")).unwrap();
        let names: Vec<String> = files.map(|it| it.unwrap().file_name().to_string_lossy().into_owned()).collect();
        for name in &names {
            let known = name.starts_with("log.") || name.starts_with("snapshot.") || name == "ostler.lock";
            assert!(known, "left behind: {name}, among {names:?}");
        }
        let server = apache::Server::start(&options(dir.path())).unwrap();
        let (mut client, _) = Connection::session(server.addr()).unwrap();
        for (writer, reached) in reached.into_iter().enumerate() {
            from[writer] = check(&mut client, writer, reached);
        }
    }
}

#[test]
fn a_second_server_on_the_same_directory_is_turned_away() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut first = ostler::Server::start(&options(dirs[0].path())).unwrap();
    let there = first.data_dir();
    let second = options(dirs[1].path()).cfg(format!("dataDir={}", there.display()));
    let why = format!("{:#}", ostler::Server::start(&second).unwrap_err());
    assert!(why.contains("exit status: 3"), "{why}");
    let lock = there.join("version-2/ostler.lock");
    assert!(why.contains(&format!("another server uses it (it holds the lock {})", lock.display())), "{why}");
    let (mut client, _) = Connection::session(first.addr()).unwrap();
    assert_eq!(client.call(1, 1, &create("/goes-on", b"", 0)).unwrap().err, 0, "the first one does not notice");
    // A lock goes with its process, however that ends.
    first.kill().unwrap();
    ostler::Server::start(&second).unwrap();
}
