//! When containers and TTL znodes go, with intervals short enough to watch: Apache and Ostler decide alike, also about
//! znodes of 3.5.3 that a directory holds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ostler_conformance::raw::Connection;
use ostler_conformance::script::{Body, create, multi, path, path_version, set, watch};
use ostler_conformance::{Options, Server, apache, ostler};
use wire::txn::{CreateTxn, TxnHeader};
use wire::{AclVec, Field, OpCode, SessionId, Xid, Zxid};

const CHECK: &str = "znode.container.checkIntervalMs=100";

/// Apache reads these from flags alone, Ostler from the file too.
fn options(dir: &Path, lines: &[&str]) -> Options {
    let base = Options::new(dir).cfg("extendedTypesEnabled=true");
    lines.iter().fold(base, |options, line| match line.strip_prefix("znode.") {
        Some(_) => options.jvm(format!("-D{line}")),
        None => options.cfg(*line),
    })
}

fn for_ostler(dir: &Path, lines: &[&str]) -> Options {
    lines.iter().fold(Options::new(dir).cfg("extendedTypesEnabled=true"), |options, line| options.cfg(*line))
}

fn ttl(path: &str, ttl_ms: i64) -> Vec<u8> {
    Body::new().raw(&create(path, b"", 5)).long(ttl_ms).0
}

fn make(client: &mut Connection, op: i32, body: &[u8]) {
    assert_eq!(client.call(1, op, body).unwrap().err, 0);
}

/// All of it in one txn: nothing of it can go before the rest is there, however slow the machine.
fn make_together(client: &mut Connection, ops: &[(i32, Vec<u8>)]) {
    let reply = client.call(1, 14, &multi(ops)).unwrap();
    assert!(reply.err == 0 && reply.body[..4] != [0xff; 4], "{reply:?}");
}

fn is_there(client: &mut Connection, path: &str) -> bool {
    client.call(2, 3, &watch(path, false)).unwrap().err == 0
}

/// Waits until all of `gone` are gone; then `kept` must be there, and go on to be for some looks more.
fn await_gone(name: &str, client: &mut Connection, gone: &[&str], kept: &[&str]) {
    let until = Instant::now() + Duration::from_mins(1);
    for path in gone {
        while is_there(client, path) {
            assert!(Instant::now() < until, "{name}: {path} stays");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    // Looks are taken in order, and each takes in all znodes: a container that is made now and used goes at one to come.
    for round in 0..3 {
        let witness = format!("/witness{round}");
        let child = format!("{witness}/child");
        let made = [(19, create(&witness, b"", 4)), (1, create(&child, b"", 0)), (2, path_version(&child, -1))];
        make_together(client, &made);
        while is_there(client, &witness) {
            assert!(Instant::now() < until, "{name}: {witness} stays");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    for path in kept {
        assert!(is_there(client, path), "{name}: {path} went");
    }
}

fn both(lines: &[&str], check: impl Fn(&str, &mut Connection)) {
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let apache = apache::Server::start(&options(dirs[0].path(), lines)).unwrap();
    check(apache.name(), &mut Connection::session(apache.addr()).unwrap().0);
    let ostler = ostler::Server::start(&for_ostler(dirs[1].path(), lines)).unwrap();
    check(ostler.name(), &mut Connection::session(ostler.addr()).unwrap().0);
}

#[test]
fn containers_and_ttl_znodes_go_when_they_are_over_and_not_before() {
    both(&[CHECK], |name, client| {
        make(client, 19, &create("/never-used", b"", 4));
        make(client, 19, &create("/in-use", b"", 4));
        make(client, 1, &create("/in-use/child", b"", 0));
        make(client, 19, &create("/used", b"", 4));
        make(client, 1, &create("/used/child", b"", 0));
        make(client, 21, &ttl("/short", 50));
        make(client, 21, &ttl("/long", 3_600_000));
        make_together(client, &[(21, ttl("/parent", 50)), (1, create("/parent/child", b"", 0))]);
        make(client, 2, &path_version("/used/child", -1));
        await_gone(name, client, &["/used", "/short"], &["/never-used", "/in-use", "/long", "/parent"]);
        // A parent's time goes on while it has children.
        make(client, 2, &path_version("/parent/child", -1));
        make(client, 2, &path_version("/in-use/child", -1));
        await_gone(name, client, &["/parent", "/in-use"], &["/never-used", "/long"]);
    });
}

#[test]
fn a_container_that_was_never_used_goes_after_its_interval() {
    both(&[CHECK, "znode.container.maxNeverUsedIntervalMs=300"], |name, client| {
        make(client, 19, &create("/never-used", b"", 4));
        await_gone(name, client, &["/never-used"], &["/"]);
    });
}

#[test]
fn what_is_set_lives_anew() {
    const TTL: Duration = Duration::from_secs(4);
    both(&[CHECK], |name, client| {
        for attempt in 0..5 {
            let kept = format!("/kept{attempt}");
            make(client, 21, &ttl(&kept, TTL.as_millis() as i64));
            let (began, mut sent_at, mut longest, mut lives) = (Instant::now(), Instant::now(), Duration::ZERO, true);
            while lives && began.elapsed() < TTL + Duration::from_secs(1) {
                let before = std::mem::replace(&mut sent_at, Instant::now());
                lives = client.call(1, 5, &set(&kept, Some(b"x"), -1)).unwrap().err == 0;
                longest = longest.max(before.elapsed());
                std::thread::sleep(Duration::from_millis(50));
            }
            lives = lives && is_there(client, &kept);
            // A machine that stands still for so long between two sets shows nothing: once more.
            if !lives && longest.max(sent_at.elapsed()) > TTL / 2 {
                continue;
            }
            assert!(lives, "{name}");
            return await_gone(name, client, &[&kept], &[]);
        }
        panic!("{name}: the machine stands still");
    });
}

/// So many a minute: with one, the second goes a minute later.
#[test]
fn no_more_go_in_a_minute_than_may() {
    both(&[CHECK, "znode.container.maxPerMinute=1"], |name, client| {
        for i in 0..4 {
            make(client, 21, &ttl(&format!("/t{i}"), 1));
        }
        let until = Instant::now() + Duration::from_secs(20);
        let left = |client: &mut Connection| (0..4).filter(|i| is_there(client, &format!("/t{i}"))).count();
        while left(client) == 4 {
            assert!(Instant::now() < until, "{name}: none goes");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(left(client), 3, "{name}");
    });
}

/// A log that makes these ephemerals, each with its owner.
fn write_log(data: &Path, znodes: &[(&str, i64)]) {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let mut log = b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec();
    for (zxid, (path, owner)) in (1..).zip(znodes) {
        let session = SessionId(*owner);
        let header = TxnHeader { session, cxid: Xid(0), zxid: Zxid(zxid), time_ms: now_ms, op: OpCode::Create };
        let path = Some((*path).into());
        let txn = CreateTxn { path, data: None, acl: AclVec::OPEN, ephemeral: true, parent_cversion: zxid as i32 };
        let mut entry = header.to_vec();
        txn.write(&mut entry);
        let sums = entry.iter().fold((1_u32, 0_u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65_521;
            (a, (b + a) % 65_521)
        });
        log.extend(i64::from(sums.1 << 16 | sums.0).to_be_bytes());
        log.extend((entry.len() as i32).to_be_bytes());
        log.extend(entry);
        log.push(b'B');
    }
    std::fs::write(data.join("version-2/log.1"), log).unwrap();
}

/// A directory with TTL znodes as 3.5.3 wrote them: `0x8000…` and the TTL. They look like ephemerals of a session that is
/// not there, unless the old layout is asked for.
#[test]
fn znodes_of_3_5_3() {
    let old = |ttl: i64| i64::MIN | ttl;
    for server in ["apache", "ostler"] {
        let dir = tempfile::tempdir().unwrap();
        // A first start leaves an empty snapshot; the log behind it is written by hand, with ephemerals of odd sessions.
        apache::Server::start(&Options::new(dir.path())).unwrap().stop().unwrap();
        write_log(&dir.path().join("data"), &[("/short", old(50)), ("/long", old(3_600_000))]);
        let lines = [CHECK, "emulate353TTLNodes=true"];
        let check = |name: &str, client: &mut Connection| {
            await_gone(name, client, &["/short"], &["/long"]);
            let stat = client.call(9, 3, &watch("/long", false)).unwrap().body;
            assert_eq!(stat[44..52], [0; 8], "{name}: no session owns it");
            make(client, 21, &ttl("/new", 50));
            make(client, 1, &create("/long/child", b"", 0));
            await_gone(name, client, &["/new"], &["/long"]);
            assert_eq!(client.call(9, 103, &path("/")).unwrap().body, [0; 4], "{name}");
        };
        if server == "apache" {
            let apache = apache::Server::start(&options(dir.path(), &lines)).unwrap();
            check(apache.name(), &mut Connection::session(apache.addr()).unwrap().0);
        } else {
            let ostler = ostler::Server::start(&for_ostler(dir.path(), &lines)).unwrap();
            check(ostler.name(), &mut Connection::session(ostler.addr()).unwrap().0);
        }
    }
}
