//! A disk that returns errors or hangs, under a real server: nothing is acknowledged that is not on it, the server ends
//! where going on would be a lie, and says why; and it goes on where that is honest.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use ostler_conformance::ports::free_addrs;
use ostler_conformance::raw::Connection;
use ostler_conformance::script::{create, watch};
use ostler_conformance::{Options, Ready, Server, c, four_letter, ostler};
use rustix::process::Signal;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// How long anything may take here.
const LIMIT: Duration = Duration::from_secs(30);

/// A server whose disk fails when it is told to.
struct Faulty {
    dir: tempfile::TempDir,
    server: ostler::Server,
    acknowledged: i32,
}

impl Faulty {
    fn start(lines: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = ostler::Server::start(&Self::options(dir.path(), lines)).unwrap();
        Self { dir, server, acknowledged: 0 }
    }

    fn options(dir: &Path, lines: &[&str]) -> Options {
        let shim = c::compile_faults(dir).unwrap();
        let mut options = Options::new(dir).cfg("snapCount=1000000").cfg("preAllocSize=256");
        for line in lines {
            options = options.cfg(*line);
        }
        options.env.push(("LD_PRELOAD".to_owned(), shim.to_str().unwrap().to_owned()));
        options.env.push(("OSTLER_FAULTS".to_owned(), dir.join("faults").to_str().unwrap().to_owned()));
        options
    }

    /// From now on these calls fail.
    fn set(&self, faults: &str) {
        let fresh = self.dir.path().join("faults.new");
        std::fs::write(&fresh, faults).unwrap();
        std::fs::rename(fresh, self.dir.path().join("faults")).unwrap();
    }

    fn session(&self) -> Connection {
        Connection::session(self.server.addr()).unwrap().0
    }

    /// The next creation; true if it was acknowledged.
    fn create(&mut self, client: &mut Connection) -> bool {
        let number = self.acknowledged + 1;
        let reply = client.call(number, 1, &create(&format!("/n{number}"), &[7; 500], 0));
        let is_done = reply.is_ok_and(|reply| reply.err == 0);
        self.acknowledged += i32::from(is_done);
        is_done
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.server.log()).unwrap()).into_owned()
    }

    fn wait_for(&self, what: &str) {
        until(what, || self.log().contains(what));
    }

    fn wait_for_end(&mut self) -> ExitStatus {
        let mut status = None;
        until("the end of the server", || {
            status = self.server.process_mut().exited().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Started again on a disk that is well: all that was acknowledged is there.
    fn check(self) {
        let Self { dir, mut server, acknowledged } = self;
        server.kill().unwrap();
        std::fs::remove_file(dir.path().join("faults")).unwrap();
        let server = ostler::Server::start(&Options::new(dir.path())).unwrap();
        let (mut client, _) = Connection::session(server.addr()).unwrap();
        for number in 1..=acknowledged {
            let reply = client.call(number, 3, &watch(&format!("/n{number}"), false)).unwrap();
            assert_eq!(reply.err, 0, "/n{number} was acknowledged and is gone");
        }
        assert_eq!(client.call(1, 1, &create("/goes-on", b"", 0)).unwrap().err, 0);
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The fault ends the server: at the next write, which is not acknowledged, with exit code 1 and a last line that says
/// what failed where.
fn ends(faults: &str, named: &[&str]) {
    let mut faulty = Faulty::start(&[]);
    let mut client = faulty.session();
    for _ in 0..20 {
        assert!(faulty.create(&mut client));
    }
    faulty.set(faults);
    // One of the next needs what fails.
    let refused = (0..2000).find(|_| !faulty.create(&mut client));
    assert!(refused.is_some(), "{faults}: all went well");
    assert!(client.read().is_err(), "no word after that");
    assert_eq!(faulty.wait_for_end().code(), Some(1), "{faults}");
    let log = faulty.log();
    let last = log.lines().last().unwrap();
    for text in ["the txn log can't be written, and nothing that is not in it may be acknowledged"].iter().chain(named)
    {
        assert!(last.contains(text), "{faults}: {text} is not in the last line: {last}");
    }
    faulty.check();
}

#[test]
fn a_sync_that_fails_ends_the_server_and_is_never_tried_again() {
    ends(&format!("sync version-2/log. errno {EIO}"), &["fdatasync log.", "Input/output error"]);
    // A disk that is full, noticed only by the sync: the pages may be gone.
    ends(&format!("sync version-2/log. errno {ENOSPC}"), &["fdatasync log.", "No space left"]);
}

/// What a server has left word of for the next one.
fn word(faulty: &Faulty) -> String {
    std::fs::read_to_string(faulty.server.data_dir().join("version-2/ostler.lock")).unwrap()
}

#[test]
fn after_a_sync_that_failed_nobody_says_that_the_machine_has_kept_everything() {
    for (faults, is_known) in [("sync version-2/log. errno 5", false), ("write version-2/log. errno 5", true)] {
        let mut faulty = Faulty::start(&[]);
        let mut client = faulty.session();
        assert!(faulty.create(&mut client));
        assert!(word(&faulty).starts_with("boot "), "{}", word(&faulty));
        faulty.set(faults);
        assert!((0..2000).any(|_| !faulty.create(&mut client)));
        faulty.wait_for_end();
        assert_eq!(word(&faulty).starts_with("boot "), is_known, "{faults}: {}", word(&faulty));
        faulty.check();
    }
}

/// A member that is an ensemble of its own, and how it is started again.
fn only_member(lines: &[&str]) -> (Faulty, Options) {
    let dir = tempfile::tempdir().unwrap();
    let [client, quorum, election] = free_addrs().unwrap().map(|it| it.port());
    let mut options = Faulty::options(dir.path(), &[&["standaloneEnabled=false"][..], lines].concat());
    (options.my_id, options.port) = (Some(1), Some(client));
    options.cfg.push(format!("server.1=127.0.0.1:{quorum}:{election}"));
    let server = ostler::Server::start(&options).unwrap();
    (Faulty { dir, server, acknowledged: 0 }, options)
}

/// What a member writes beside the log is written by other threads: a history that is cut, an epoch.
#[test]
fn nor_after_one_of_a_member_s_other_syncs() {
    let (mut faulty, mut options) = only_member(&[]);
    faulty.server.kill().unwrap();
    assert!(word(&faulty).starts_with("boot "), "{}", word(&faulty));
    faulty.set(&format!("sync acceptedEpoch errno {EIO}"));
    options.ready = Ready::Started;
    faulty.server = ostler::Server::start(&options).unwrap();
    assert_eq!(faulty.wait_for_end().code(), Some(1));
    assert_eq!(word(&faulty), "");
    let log = faulty.log();
    let last = log.lines().last().unwrap();
    assert!(last.contains("fsync acceptedEpoch.tmp") && last.contains("Input/output error"), "{last}");
}

#[test]
fn those_are_told_of_too_while_they_hang() {
    let (mut faulty, mut options) = only_member(&["fsync.warningthresholdms=300"]);
    faulty.server.kill().unwrap();
    faulty.set("sync acceptedEpoch stall 3000");
    options.ready = Ready::Started;
    faulty.server = ostler::Server::start(&options).unwrap();
    faulty.wait_for("ms and is not done: the disk hangs");
    let log = faulty.log();
    let told = log.lines().find(|line| line.contains("is not done")).unwrap();
    assert!(told.contains("fsync acceptedEpoch.tmp in ") && told.contains(" has taken "), "{told}");
    assert!(!log.contains("is the disk shared or dying?"), "it is over already");
    faulty.wait_for("ms: is the disk shared or dying?");
}

#[test]
fn a_sector_that_can_not_be_read_is_named_and_what_to_do() {
    let mut faulty = Faulty::start(&[]);
    let mut client = faulty.session();
    for _ in 0..20 {
        assert!(faulty.create(&mut client));
    }
    faulty.server.kill().unwrap();
    faulty.set(&format!("read version-2/log. at 4096 errno {EIO}"));
    let why = format!("{:#}", ostler::Server::start(&Faulty::options(faulty.dir.path(), &[])).unwrap_err());
    let named = ["can't be read from byte 4096 on, behind txn 0x", "Input/output error", "look at the disk"];
    for text in named.iter().chain(&["nothing was changed"]) {
        assert!(why.contains(text), "{text}: {why}");
    }
    faulty.check();
}

#[test]
fn a_member_with_such_a_sector_sets_its_files_aside_for_a_copy() {
    let (mut faulty, mut options) = only_member(&[]);
    let mut client = faulty.session();
    for _ in 0..20 {
        assert!(faulty.create(&mut client));
    }
    faulty.server.kill().unwrap();
    faulty.set(&format!("read version-2/log. at 4096 errno {EIO}"));
    options.ready = Ready::Started;
    faulty.server = ostler::Server::start(&options).unwrap();
    faulty.wait_for("all files are set aside, in damaged-1 beside them");
    let log = faulty.log();
    let told = log.lines().find(|line| line.contains("are set aside")).unwrap();
    assert!(told.contains("can't be read from byte 4096 on, behind txn 0x"), "{told}");
}

#[test]
fn a_word_for_the_next_start_that_can_not_be_written_stops_nobody() {
    for faults in ["write ostler.lock errno 28", "half write ostler.lock errno 28", "sync ostler.lock errno 28"] {
        let dir = tempfile::tempdir().unwrap();
        let options = Faulty::options(dir.path(), &[]);
        std::fs::write(dir.path().join("faults"), faults).unwrap();
        let server = ostler::Server::start(&options).unwrap();
        let mut faulty = Faulty { dir, server, acknowledged: 0 };
        faulty.wait_for("the next start will know less of how this server ended");
        // It holds the lock all the same.
        let why = format!("{:#}", ostler::Server::start(&options).unwrap_err());
        assert!(why.contains("another server uses it"), "{faults}: {why}");
        let mut client = faulty.session();
        for _ in 0..5 {
            assert!(faulty.create(&mut client), "{faults}");
        }
        assert!(faulty.server.stop().unwrap().success(), "{faults}: a stop in order");
        assert_eq!(word(&faulty).is_empty(), faults.starts_with("write"), "{faults}: {}", word(&faulty));
        faulty.check();
    }
}

#[test]
fn a_write_that_fails_ends_the_server() {
    ends(&format!("write version-2/log. errno {EIO}"), &["write ", "of log.", "Input/output error"]);
    ends(&format!("half write version-2/log. errno {EIO}"), &["of log.", "Input/output error"]);
}

#[test]
fn a_new_file_that_can_not_be_begun_ends_the_server() {
    ends(&format!("rename version-2/log. errno {EIO}"), &["rename ostler.next to log.", "Input/output error"]);
}

#[test]
fn a_next_file_that_can_not_be_made_costs_speed_only() {
    let mut faulty = Faulty::start(&[]);
    let mut client = faulty.session();
    faulty.set(&format!("write ostler.next errno {EIO}"));
    for _ in 0..2000 {
        assert!(faulty.create(&mut client));
    }
    faulty.wait_for("the next log file can't be prepared, writes will be slower");
    faulty.check();
}

#[test]
fn a_sync_that_hangs_is_told_of_while_it_does() {
    let mut faulty = Faulty::start(&["fsync.warningthresholdms=300"]);
    let mut client = faulty.session();
    let mut other = faulty.session();
    assert!(faulty.create(&mut client));
    faulty.set("sync version-2/log. stall 5000");
    client.send(2, 1, &create("/n2", b"", 0)).unwrap();
    faulty.wait_for("ms and is not done: the disk hangs while syncing; 1 txns and all writes behind them wait");
    let words = four_letter::ask(faulty.server.addr(), "mntr").unwrap();
    let under_way = words.lines().find_map(|line| line.strip_prefix("zk_ostler_log_sync_under_way_ms\t")).unwrap();
    assert!(under_way.parse::<i64>().unwrap() >= 300, "{under_way}");
    // Who only reads does not notice.
    assert_eq!(other.call(1, 3, &watch("/n1", false)).unwrap().err, 0);
    assert_eq!(other.call(2, 3, &watch("/n2", false)).unwrap().err, -101, "seen before it is durable");
    assert!(!faulty.log().contains("waited for it"), "it is over already");
    faulty.set("");
    assert_eq!(client.read().unwrap().err, 0);
    faulty.acknowledged += 1;
    faulty.wait_for("and 1 txns (");
    faulty.check();
}

/// While a server stops, nobody ticks any more, and somebody waits for its end.
#[test]
fn a_sync_that_hangs_while_the_server_stops_is_told_of_while_it_does() {
    // The last thing that is synced: the log without the room that it had. And a write that is under way.
    for (is_written, told_of) in [(false, "fsync log."), (true, "the disk hangs while syncing; 1 txns")] {
        let mut faulty = Faulty::start(&["fsync.warningthresholdms=300"]);
        let mut client = faulty.session();
        assert!(faulty.create(&mut client));
        faulty.set("sync version-2/log. stall 3000");
        if is_written {
            client.send(2, 1, &create("/n2", b"", 0)).unwrap();
            until("a sync that hangs", || {
                let words = four_letter::ask(faulty.server.addr(), "mntr").unwrap();
                let under_way = words.lines().find_map(|line| line.strip_prefix("zk_ostler_log_sync_under_way_ms\t"));
                under_way.is_some_and(|ms| ms != "0")
            });
        }
        faulty.server.process_mut().signal(Signal::TERM).unwrap();
        faulty.wait_for("ms and is not done: the disk hangs");
        let log = faulty.log();
        let told = log.lines().find(|line| line.contains("is not done: the disk hangs")).unwrap();
        assert!(told.contains(told_of), "{told}");
        assert!(faulty.server.process_mut().exited().unwrap().is_none(), "it is over already");
        if is_written {
            assert_eq!(client.read().unwrap().err, 0, "what was under way is finished and told");
            faulty.acknowledged += 1;
        }
        assert!(faulty.wait_for_end().success());
        assert!(word(&faulty).contains("closed log."), "a stop in order: {}", word(&faulty));
        faulty.check();
    }
}

/// A file system that does not keep the room that was allocated: the batch waits, and goes on.
#[test]
fn a_batch_that_finds_no_room_waits_for_it() {
    for (faults, killed) in [("write", false), ("half write", false), ("half write", true)] {
        let mut faulty = Faulty::start(&[]);
        let mut client = faulty.session();
        let mut other = faulty.session();
        for _ in 0..20 {
            assert!(faulty.create(&mut client));
        }
        faulty.set(&format!("{faults} version-2/log. errno {ENOSPC}"));
        client.send(21, 1, &create("/n21", b"", 0)).unwrap();
        faulty.wait_for("txns wait for room where dataLogDir is and are not acknowledged");
        assert_eq!(other.call(1, 3, &watch("/n20", false)).unwrap().err, 0, "reads go on");
        assert_eq!(other.call(2, 3, &watch("/n21", false)).unwrap().err, -101);
        assert_eq!(other.call(3, 1, &create("/other", b"", 0)).unwrap().err, -1, "other writes are refused");
        assert_eq!(other.call(-2, 11, &[]).unwrap().err, 0);
        if killed {
            faulty.check();
            continue;
        }
        faulty.set("");
        let reply = client.read().unwrap();
        assert_eq!((reply.xid, reply.err), (21, 0));
        faulty.acknowledged += 1;
        faulty.wait_for("the txn log's disk has room again");
        assert_eq!(other.call(4, 1, &create("/other", b"", 0)).unwrap().err, 0, "it was not done before");
        faulty.check();
    }
}

#[test]
fn a_stop_does_not_wait_for_room() {
    let mut faulty = Faulty::start(&[]);
    let mut client = faulty.session();
    assert!(faulty.create(&mut client));
    faulty.set(&format!("write version-2/log. errno {ENOSPC}"));
    client.send(2, 1, &create("/n2", b"", 0)).unwrap();
    faulty.wait_for("txns wait for room");
    let status = faulty.server.stop().unwrap();
    assert_eq!(status.code(), Some(1), "what was asked for could not be written");
    assert!(client.read().is_err(), "and was not acknowledged");
    faulty.check();
}

fn snapshots(faulty: &Faulty) -> Vec<PathBuf> {
    let files = std::fs::read_dir(faulty.server.data_dir().join("version-2")).unwrap().map(|it| it.unwrap().path());
    files.filter(|path| path.file_name().unwrap().to_str().unwrap().contains("snapshot")).collect()
}

#[test]
fn a_snapshot_that_fails_never_stops_the_server() {
    for (faults, named) in [
        (format!("write ostler.snapshot.tmp errno {ENOSPC}"), "No space left"),
        (format!("half write ostler.snapshot.tmp errno {EIO}"), "Input/output error"),
        (format!("sync ostler.snapshot.tmp errno {EIO}"), "fsync ostler.snapshot.tmp"),
        (format!("rename version-2/snapshot. errno {EIO}"), "rename ostler.snapshot.tmp to snapshot."),
    ] {
        let mut faulty = Faulty::start(&["snapCount=100"]);
        let mut client = faulty.session();
        faulty.set(&faults);
        let before = snapshots(&faulty);
        until("a snapshot that fails", || {
            assert!(faulty.create(&mut client), "{faults}");
            faulty.log().contains("the log keeps everything") || faulty.acknowledged > 5000
        });
        let log = faulty.log();
        let told = log.lines().find(|line| line.contains("the log keeps everything")).unwrap();
        assert!(told.contains(named), "{faults}: {told}");
        assert!(told.contains("the snapshot at 0x"), "{told}");
        until("the rest to be gone", || snapshots(&faulty) == before);
        // And when the disk is well, there is one.
        faulty.set("");
        until("a snapshot", || {
            assert!(faulty.create(&mut client));
            snapshots(&faulty).len() > before.len()
                && !snapshots(&faulty).iter().any(|path| path.ends_with("ostler.snapshot.tmp"))
        });
        faulty.check();
    }
}
